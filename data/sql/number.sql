-- {table} of the older build under their numbers, the new ones after them. $renewed: whether what is told of a known one
-- takes the place of what was; where it is told by events, only of those whose first row was in a file that is read anew.
CREATE TABLE build.{table} AS
WITH known AS (SELECT incoming.*, old.{number} AS number FROM incoming LEFT JOIN old.{table} AS old USING (key)),
first_rows AS (SELECT {number}, min(event_id) AS first FROM old.events GROUP BY {number}),
told AS (
    SELECT coalesce(
        number, (SELECT count(*) FROM old.{table}) + row_number() OVER (PARTITION BY number IS NULL ORDER BY {number}) - 1
    ) AS {number}, * EXCLUDE ({number}, number)
    FROM known
    WHERE number IS NULL OR $renewed
        OR number IN (SELECT {number} FROM first_rows JOIN gone ON first >= place AND first < beyond)
)
FROM told
UNION ALL BY NAME
FROM old.{table} ANTI JOIN told USING ({number})
ORDER BY {number};
