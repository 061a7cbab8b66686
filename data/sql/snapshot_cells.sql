-- One row a group of users, slice and place in it: how many users, and how many events of theirs.
WITH grouped AS (SELECT user_id, COLUMNS(lambda name: name = $attribute) AS group_name FROM build.users)
SELECT 'all' AS slice, '' AS place, group_name, count(*) AS users, 0 AS events FROM grouped GROUP BY group_name
UNION ALL
SELECT slice, place, group_name, count(*) AS users, CAST(sum(events) AS BIGINT) AS events
FROM activity JOIN grouped USING (user_id)
GROUP BY slice, place, group_name;
