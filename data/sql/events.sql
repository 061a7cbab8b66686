CREATE TABLE build.events AS
SELECT
    CAST(accepted.rowid AS BIGINT) AS event_id,
    users.user_id,
    items.item_id,
    accepted.ts,
    accepted.kind,
    accepted.value,
    CASE WHEN len(CAST($context_names AS VARCHAR[])) = 0 THEN CAST(MAP {} AS MAP(VARCHAR, VARCHAR))
        ELSE map(CAST($context_names AS VARCHAR[]), accepted.rest) END AS context,
    accepted.source
FROM accepted
JOIN build.users ON users.key = accepted.user_key
JOIN build.items ON items.key = accepted.item_key
ORDER BY event_id;
