-- What passed, and which keys it names, in the order in which they appear.
CREATE TEMP VIEW accepted AS SELECT * FROM checked WHERE reason IS NULL;

CREATE TEMP TABLE accepted_users AS
WITH counted AS (SELECT user_code AS code, min(row_no) AS first, count(*) AS events FROM accepted GROUP BY user_code)
SELECT code, any_value(key) AS key, any_value(first) AS first, any_value(events) AS events
FROM counted JOIN user_keys USING (code) GROUP BY code;

CREATE TEMP TABLE accepted_items AS
WITH counted AS (SELECT item_code AS code, min(row_no) AS first, count(*) AS events FROM accepted GROUP BY item_code)
SELECT code, any_value(key) AS key, any_value(first) AS first, any_value(events) AS events
FROM counted JOIN item_keys USING (code) GROUP BY code;
