-- {table} of the older build under their numbers, the new ones after them. retold: keys of known ones that are told anew.
CREATE TABLE build.{table} AS
WITH known AS (SELECT incoming.*, old.{number} AS number FROM incoming LEFT JOIN old.{table} AS old USING (key)),
told AS (
    SELECT coalesce(
        number, (SELECT count(*) FROM old.{table}) + row_number() OVER (PARTITION BY number IS NULL ORDER BY {number}) - 1
    ) AS {number}, * EXCLUDE ({number}, number)
    FROM known
    WHERE number IS NULL OR key IN (SELECT key FROM retold)
)
FROM told
UNION ALL BY NAME
FROM old.{table} ANTI JOIN told USING ({number})
ORDER BY {number};
