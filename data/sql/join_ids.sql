INSERT INTO build.ids
FROM old.ids
ANTI JOIN gone ON event_id >= place AND event_id < beyond
ANTI JOIN outdated USING (event_id);
