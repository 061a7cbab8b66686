-- Of sound rows with one id the last stands. What exports write for no id is none. event_ids: the ids of those that stand.
CREATE TEMP TABLE told_ids AS
SELECT row_no, key
FROM checked
JOIN (SELECT rowid AS row_no, trim(f5, concat(' ', chr(9), chr(10), chr(13))) AS key FROM raw_events) AS told USING (row_no)
WHERE reason IS NULL AND key <> '' AND NOT list_contains(CAST($placeholders AS VARCHAR[]), lower(key));

CREATE TEMP TABLE event_ids AS
FROM told_ids QUALIFY row_number() OVER (PARTITION BY key ORDER BY row_no DESC) = 1;

UPDATE checked SET reason = 'superseded'
WHERE row_no IN (SELECT row_no FROM told_ids ANTI JOIN event_ids USING (row_no));

DROP TABLE told_ids;
