-- Rows equal to an event that the older build has, of a source that is not read anew. Those with an id are told
-- apart by it.
UPDATE checked SET reason = 'duplicate'
WHERE row_no IN (
    SELECT row_no
    FROM (FROM checked ANTI JOIN event_ids USING (row_no)) AS checked
    JOIN (SELECT code, any_value(key) AS key FROM user_keys GROUP BY code) AS u ON u.code = user_code
    JOIN (SELECT code, any_value(key) AS key FROM item_keys GROUP BY code) AS i ON i.code = item_code
    JOIN (SELECT code, any_value(key) AS key FROM kind_keys GROUP BY code) AS k ON k.code = kind_code
    JOIN old.users AS users ON users.key = u.key
    JOIN old.items AS items ON items.key = i.key
    JOIN (
        FROM old.events ANTI JOIN gone ON event_id >= place AND event_id < beyond ANTI JOIN identified USING (event_id)
    ) AS e ON e.user_id = users.user_id AND e.item_id = items.item_id AND e.ts = checked.ts
        AND e.kind = k.key AND e.value IS NOT DISTINCT FROM checked.value
    WHERE reason IS NULL
);
