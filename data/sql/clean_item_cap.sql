-- Of items with more than $most events all but so many, drawn by hash: the same rows of the same files each time, and
-- rows that come later change the draw only where they are drawn themselves.
WITH busy AS (
    SELECT item_code FROM checked WHERE reason IS NULL GROUP BY item_code HAVING count(*) > $most
)
UPDATE checked SET reason = 'clean-item-cap'
WHERE row_no IN (
    SELECT row_no
    FROM checked SEMI JOIN busy USING (item_code)
    WHERE reason IS NULL
    QUALIFY row_number() OVER (PARTITION BY item_code ORDER BY hash(row_no, CAST($seed AS BIGINT)), row_no) > $most
);
