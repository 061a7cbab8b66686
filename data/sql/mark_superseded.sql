-- Of sound rows with one id the last stands. event_ids: the ids of those.
CREATE TEMP TABLE event_ids AS
SELECT row_no, trim(f5) AS key FROM checked JOIN raw_events ON raw_events.rowid = row_no
WHERE reason IS NULL AND trim(f5) <> ''
QUALIFY row_number() OVER (PARTITION BY trim(f5) ORDER BY row_no DESC) = 1;

UPDATE checked SET reason = 'superseded'
WHERE row_no IN (
    SELECT row_no FROM checked JOIN raw_events ON raw_events.rowid = row_no WHERE reason IS NULL AND trim(f5) <> ''
) AND row_no NOT IN (SELECT row_no FROM event_ids);
