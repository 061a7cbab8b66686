CREATE TABLE build.events AS
SELECT
    CAST(accepted.rowid AS BIGINT) AS event_id,
    users.user_id,
    items.item_id,
    accepted.ts,
    accepted.kind,
    accepted.value,
    accepted.context,
    accepted.source
FROM accepted
JOIN build.users ON users.key = accepted.user_key
JOIN build.items ON items.key = accepted.item_key
ORDER BY event_id;
