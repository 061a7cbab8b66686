-- {table} of the older build under their numbers, the new ones after them. $renewed: whether what is told of a known one
-- takes the place of what was.
CREATE TABLE build.{table} AS
WITH known AS (SELECT incoming.*, old.{number} AS number FROM incoming LEFT JOIN old.{table} AS old USING (key)),
told AS (
    SELECT coalesce(
        number, (SELECT count(*) FROM old.{table}) + row_number() OVER (PARTITION BY number IS NULL ORDER BY {number}) - 1
    ) AS {number}, * EXCLUDE ({number}, number)
    FROM known
    WHERE number IS NULL OR $renewed
)
FROM told
UNION ALL BY NAME
FROM old.{table} ANTI JOIN told USING ({number})
ORDER BY {number};
