-- Of a file whose events were corrected by another no more times are in doubt than it has events left.
UPDATE build.files SET unzoned = least(unzoned, n), clock_changes = least(clock_changes, n)
FROM (
    SELECT files.source, files.place, count(event_id) AS n
    FROM build.files LEFT JOIN build.events ON event_id >= files.place AND event_id < files.place + staged
    WHERE files.source IN (SELECT source FROM outdated)
    GROUP BY ALL
) AS left_over
WHERE files.source = left_over.source AND files.place = left_over.place;
