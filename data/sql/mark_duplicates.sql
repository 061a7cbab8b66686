-- Rows equal to an earlier accepted one in everything the caller mapped. Those with an id are told apart by it.
UPDATE checked SET reason = 'duplicate'
WHERE row_no IN (
    SELECT row_no
    FROM checked ANTI JOIN event_ids USING (row_no)
    WHERE reason IS NULL
    QUALIFY row_number() OVER (PARTITION BY user_code, item_code, ts, kind_code, value ORDER BY row_no) > 1
);
