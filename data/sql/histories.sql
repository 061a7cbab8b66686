-- One row a user, those without events too (empty lists); time order, ties in file order.
CREATE TABLE build.histories AS
WITH listed AS (
    SELECT
        user_id,
        list(item_id ORDER BY ts, event_id) AS item_id,
        list(ts ORDER BY ts, event_id) AS ts,
        list(kind ORDER BY ts, event_id) AS kind,
        list(value ORDER BY ts, event_id) AS value
    FROM build.events
    GROUP BY user_id
)
SELECT
    users.user_id,
    coalesce(listed.item_id, []) AS item_id,
    coalesce(listed.ts, []) AS ts,
    coalesce(listed.kind, []) AS kind,
    coalesce(listed.value, []) AS value
FROM build.users
LEFT JOIN listed USING (user_id)
ORDER BY user_id;
