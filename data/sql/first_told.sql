-- Where the log itself tells of {table}, the first row of a key does, in the order of files. by_key: of known keys, whether
-- their first row is one that was read now (retold), or one of those that are not read again while the row that was first
-- is gone (unsure: what it tells is not kept). ranks: the order of the older build's sources; told_first: of each key that
-- was read now, the rank of its first row's source.
CREATE TEMP TABLE by_key AS
WITH spans AS (SELECT place, staged, rank FROM old.files JOIN ranks USING (source) WHERE sha256 IS NOT NULL),
rows_of AS (
    SELECT
        {number}, (rank, event_id) AS turn,
        event_id IN (SELECT event_id FROM outdated) OR gone.place IS NOT NULL AS away
    FROM old.events
    JOIN spans ON event_id >= spans.place AND event_id < spans.place + staged
    LEFT JOIN gone ON event_id >= gone.place AND event_id < beyond
),
firsts AS (
    SELECT {number}, arg_min(away, turn) AS away, min(turn) FILTER (NOT away) AS left_first FROM rows_of GROUP BY {number}
)
SELECT
    key,
    told_first.rank IS NOT NULL AND (left_first IS NULL OR told_first.rank < left_first[1]) AS retold,
    away AND left_first IS NOT NULL AND NOT coalesce(told_first.rank < left_first[1], false) AS unsure
FROM old.{table} AS old
LEFT JOIN firsts USING ({number})
LEFT JOIN told_first USING (key)
WHERE told_first.rank IS NOT NULL OR away;
