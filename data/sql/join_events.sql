-- The older build's events, but those of sources that are read anew, and the new ones among them.
CREATE TABLE build.joined AS
FROM old.events
ANTI JOIN gone ON event_id >= place AND event_id < beyond
ANTI JOIN outdated USING (event_id)
UNION ALL
FROM build.events
ORDER BY user_id, ts, event_id;
DROP TABLE build.events;
ALTER TABLE build.joined RENAME TO events;
