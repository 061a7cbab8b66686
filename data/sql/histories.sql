-- One row a user, those without events too (empty lists); time order, ties in file order.
-- One sorted list of whole events a user, taken apart after: one sort instead of four.
CREATE TABLE build.histories AS
WITH listed AS (
    SELECT
        user_id,
        list({'item_id': item_id, 'ts': ts, 'kind': kind, 'value': value} ORDER BY ts, event_id) AS event
    FROM build.events
    GROUP BY user_id
)
SELECT
    users.user_id,
    list_transform(coalesce(event, []), lambda e: e.item_id) AS item_id,
    list_transform(coalesce(event, []), lambda e: e.ts) AS ts,
    list_transform(coalesce(event, []), lambda e: e.kind) AS kind,
    list_transform(coalesce(event, []), lambda e: e.value) AS value
FROM build.users
LEFT JOIN listed USING (user_id)
ORDER BY user_id;
