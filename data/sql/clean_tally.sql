-- What each rule removed: events, and the users and items that had their last event removed by it, since rules stand in
-- the type in the order in which they run. A row without a reason is what is left. (As text, reasons would compare by
-- letter.)
WITH sound AS (
    SELECT user_code, item_code, reason FROM checked
    WHERE reason IS NULL OR reason >= CAST('clean-kind' AS fault)
),
users AS (
    SELECT CASE WHEN count(*) = count(reason) THEN max(reason) END AS reason
    FROM sound GROUP BY user_code
),
items AS (
    SELECT CASE WHEN count(*) = count(reason) THEN max(reason) END AS reason
    FROM sound GROUP BY item_code
),
counted AS (
    SELECT reason, count(*) AS events, 0 AS users, 0 AS items FROM sound GROUP BY reason
    UNION ALL SELECT reason, 0, count(*), 0 FROM users GROUP BY reason
    UNION ALL SELECT reason, 0, 0, count(*) FROM items GROUP BY reason
)
SELECT
    CAST(reason AS VARCHAR) AS reason, CAST(sum(events) AS BIGINT) AS events, CAST(sum(users) AS BIGINT) AS users,
    CAST(sum(items) AS BIGINT) AS items
FROM counted
GROUP BY reason;
