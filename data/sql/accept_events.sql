-- What passed, and which keys it names: those that are in more rows than were refused.
CREATE TEMP VIEW accepted AS SELECT * FROM checked WHERE reason IS NULL;

CREATE TEMP TABLE accepted_users AS
WITH named AS (SELECT code, any_value(key) AS key, sum(n) AS n FROM user_keys GROUP BY code),
lost AS (SELECT user_code AS code, count(*) AS lost FROM checked WHERE reason IS NOT NULL GROUP BY user_code)
SELECT code, key FROM named LEFT JOIN lost USING (code) WHERE n > coalesce(lost, 0);

CREATE TEMP TABLE accepted_items AS
WITH named AS (SELECT code, any_value(key) AS key, sum(n) AS n FROM item_keys GROUP BY code),
lost AS (SELECT item_code AS code, count(*) AS lost FROM checked WHERE reason IS NOT NULL GROUP BY item_code)
SELECT code, key FROM named LEFT JOIN lost USING (code) WHERE n > coalesce(lost, 0);
