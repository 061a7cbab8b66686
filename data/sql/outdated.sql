-- identified: events of the older build that have an id; outdated: those whose id a new row has (by_row), with where they
-- came from and what they told.
CREATE TEMP VIEW identified AS SELECT event_id FROM old.ids;

CREATE TEMP TABLE outdated AS
SELECT
    e.event_id, event_ids.row_no AS by_row, files.source, line + e.event_id - lines.place AS line,
    concat_ws(chr(9), users.key, items.key, CAST(e.ts AS VARCHAR), e.kind, CAST(e.value AS VARCHAR)) AS raw
FROM old.ids
JOIN event_ids USING (key)
JOIN (FROM old.events ANTI JOIN gone ON event_id >= place AND event_id < beyond) AS e USING (event_id)
JOIN old.users AS users USING (user_id)
JOIN old.items AS items USING (item_id)
JOIN old.files AS files ON e.event_id >= files.place AND e.event_id < files.place + staged
ASOF JOIN old.lines AS lines ON e.event_id >= lines.place;
