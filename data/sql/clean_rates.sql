-- All events of users who have more than $most within some span of $span_us: they stand $most places apart, less than that
-- long. With $baskets, a basket counts once, as in the quality report. Who has no more than $most at all needs no look.
WITH busy AS (
    SELECT user_code FROM checked WHERE reason IS NULL GROUP BY user_code HAVING count(*) > $most
),
acts AS (
    SELECT user_code, epoch_us(ts) AS moment
    FROM checked SEMI JOIN busy USING (user_code)
    WHERE reason IS NULL
    QUALIFY NOT ($baskets AND row_number() OVER (PARTITION BY user_code, ts) > 1)
),
machines AS (
    SELECT user_code FROM acts
    QUALIFY moment - lag(moment, $most) OVER (PARTITION BY user_code ORDER BY moment) < $span_us
)
UPDATE checked SET reason = CAST($reason AS fault)
WHERE reason IS NULL AND user_code IN (SELECT user_code FROM machines);
