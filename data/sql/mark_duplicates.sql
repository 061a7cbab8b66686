-- Rows equal to an earlier accepted one in everything the caller mapped.
UPDATE checked SET reason = 'duplicate'
WHERE row_no IN (
    SELECT row_no
    FROM checked
    WHERE reason IS NULL
    QUALIFY row_number() OVER (PARTITION BY user_code, item_code, ts, kind_code, value ORDER BY row_no) > 1
);
