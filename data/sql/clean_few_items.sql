-- Events of items that have fewer than $least of those that are left.
UPDATE checked SET reason = 'clean-k-core'
WHERE reason IS NULL AND item_code IN (
    SELECT item_code FROM checked WHERE reason IS NULL GROUP BY item_code HAVING count(*) < $least
);
