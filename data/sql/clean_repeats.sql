-- Events that follow one of the same user, item and kind within so long: of a row of clicks in quick succession the first
-- stays, however long the row is.
UPDATE checked SET reason = 'clean-repeat'
WHERE row_no IN (
    SELECT row_no
    FROM checked
    WHERE reason IS NULL
    QUALIFY epoch_us(ts) - lag(epoch_us(ts)) OVER (PARTITION BY user_code, item_code, kind_code ORDER BY ts, row_no)
        <= $within_us
);
