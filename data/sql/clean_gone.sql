-- Keys of users and items all of whose rows that could be used were removed by a rule.
WITH sound AS (
    SELECT user_code, item_code, reason FROM checked
    WHERE reason IS NULL OR reason >= CAST('clean-kind' AS fault)
),
users AS (SELECT user_code AS code FROM sound GROUP BY user_code HAVING count(*) = count(reason)),
items AS (SELECT item_code AS code FROM sound GROUP BY item_code HAVING count(*) = count(reason))
SELECT DISTINCT 'users' AS "of", key FROM user_keys JOIN users USING (code)
UNION ALL
SELECT DISTINCT 'items', key FROM item_keys JOIN items USING (code);
