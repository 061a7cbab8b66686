-- Rows equal to an earlier accepted one in everything the caller mapped.
UPDATE checked SET reason = 'duplicate'
WHERE row_no IN (
    SELECT row_no
    FROM checked
    WHERE reason IS NULL
    QUALIFY row_number() OVER (PARTITION BY user_key, item_key, ts, kind, value ORDER BY row_no) > 1
);
