-- A newer build from the attached `old` one and `fed` (feedback_id, user, item, ts, kind, value): what is refused of it
-- is left in `weighed` with its reason. $distinct: whether an act equal to an event, or to an act before it, is refused;
-- an event that has an id (`identified`) is told apart by it.
CREATE TABLE weighed AS
WITH known AS (
    SELECT fed.*, items.item_id, users.user_id
    FROM fed
    LEFT JOIN old.items ON items.key = fed.item
    LEFT JOIN old.users ON users.key = fed.user
)
SELECT
    *,
    CASE
        WHEN item_id IS NULL THEN 'unknown-item'
        WHEN $distinct AND (
            row_number() OVER (PARTITION BY "user", item, ts, kind, value ORDER BY feedback_id) > 1
            OR EXISTS (
                SELECT 1 FROM (FROM old.events ANTI JOIN identified USING (event_id)) AS e
                WHERE e.user_id = known.user_id AND e.item_id = known.item_id AND e.ts = known.ts
                    AND e.kind = known.kind AND e.value IS NOT DISTINCT FROM known.value
            )
        ) THEN 'duplicate'
    END AS reason
FROM known;

CREATE TABLE build.items AS FROM old.items ORDER BY item_id;

CREATE TABLE build.users AS FROM old.users ORDER BY user_id;
INSERT INTO build.users BY NAME
SELECT (SELECT count(*) FROM old.users) + row_number() OVER (ORDER BY first) - 1 AS user_id, "user" AS key
FROM (
    SELECT "user", min(feedback_id) AS first FROM weighed WHERE reason IS NULL AND user_id IS NULL GROUP BY "user"
);

CREATE TABLE build.events AS
WITH placed AS (SELECT *, row_number() OVER (ORDER BY feedback_id) - 1 AS place FROM weighed)
FROM old.events
UNION ALL
SELECT
    (SELECT places FROM old.facts) + place AS event_id,
    users.user_id,
    placed.item_id,
    placed.ts,
    placed.kind,
    placed.value,
    CASE WHEN len(CAST($context_names AS VARCHAR[])) = 0 THEN CAST(MAP {} AS MAP(VARCHAR, VARCHAR))
        ELSE map(CAST($context_names AS VARCHAR[]), CAST($no_context AS VARCHAR[])) END AS context
FROM placed
JOIN build.users ON users.key = placed."user"
WHERE reason IS NULL
ORDER BY user_id, ts, event_id;

CREATE TABLE build.files AS FROM old.files;
INSERT INTO build.files BY NAME
SELECT 'feedback' AS source, places AS place, count(feedback_id) AS staged, count(feedback_id) AS read, 0 AS unzoned,
    0 AS clock_changes, '' AS read_as, $build_id AS build_id
FROM old.facts LEFT JOIN weighed ON true GROUP BY places;

CREATE TABLE build.lines AS FROM old.lines;
INSERT INTO build.lines
SELECT (SELECT places FROM old.facts) + row_number() OVER (ORDER BY feedback_id) - 1 AS place, feedback_id AS line
FROM weighed;
