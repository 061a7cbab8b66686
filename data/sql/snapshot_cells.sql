-- One row a group of users, slice and place in it: how many users, and a number that is the same for the same users.
WITH grouped AS (
    SELECT user_id, md5_number_lower(concat($secret, key)) AS own, COLUMNS(lambda name: name = $attribute) AS group_name
    FROM build.users
)
SELECT 'all' AS slice, '' AS place, group_name, count(*) AS users, bit_xor(own) AS cell_key FROM grouped GROUP BY group_name
UNION ALL
SELECT slice, place, group_name, count(*) AS users, bit_xor(own) AS cell_key
FROM activity JOIN grouped USING (user_id)
GROUP BY slice, place, group_name;
