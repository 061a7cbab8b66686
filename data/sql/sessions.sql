-- One row a session, by user and time: one ends where no event of its user follows within $gap_us. Events lie by user and
-- time, so that an empty window keeps to that order, and needs no sorting.
CREATE TABLE build.sessions AS
WITH spaced AS (
    SELECT
        user_id, ts,
        user_id IS DISTINCT FROM lag(user_id) OVER () OR epoch_us(ts) - lag(epoch_us(ts)) OVER () > $gap_us AS begins
    FROM build.events
),
numbered AS (
    SELECT
        user_id, ts,
        count(*) FILTER (begins) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - 1 AS session_id
    FROM spaced
)
SELECT
    session_id, any_value(user_id) AS user_id, min(ts) AS first_ts, max(ts) AS last_ts, count(*) AS events
FROM numbered
GROUP BY session_id
ORDER BY session_id;
