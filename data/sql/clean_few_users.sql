-- Events of users who have fewer than $least of those that are left.
UPDATE checked SET reason = 'clean-k-core'
WHERE reason IS NULL AND user_code IN (
    SELECT user_code FROM checked WHERE reason IS NULL GROUP BY user_code HAVING count(*) < $least
);
