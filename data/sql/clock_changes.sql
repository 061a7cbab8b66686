-- By source, local times that a zone has twice, or never: when clocks are put back, and forward.
WITH told AS (
    SELECT
        checked.file, checked.ts, coalesce(try_strptime(trim(f2), $format), try_cast(trim(f2) AS TIMESTAMP)) AS here
    FROM checked JOIN raw_events ON raw_events.rowid = checked.row_no
    WHERE unzoned AND reason IS NULL AND row_no < $of_files
)
SELECT file, count(*) AS n
FROM told
WHERE timezone($tz, ts) <> here OR timezone($tz, ts - INTERVAL 1 HOUR) = here OR timezone($tz, ts + INTERVAL 1 HOUR) = here
    OR timezone($tz, ts - INTERVAL 30 MINUTE) = here OR timezone($tz, ts + INTERVAL 30 MINUTE) = here  -- Lord Howe
GROUP BY file;
