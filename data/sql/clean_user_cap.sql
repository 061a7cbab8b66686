-- Of users with more than $most events all but the latest; of what shares a moment, what stands further down is later.
WITH busy AS (
    SELECT user_code FROM checked WHERE reason IS NULL GROUP BY user_code HAVING count(*) > $most
)
UPDATE checked SET reason = 'clean-user-cap'
WHERE row_no IN (
    SELECT row_no
    FROM checked SEMI JOIN busy USING (user_code)
    WHERE reason IS NULL
    QUALIFY row_number() OVER (PARTITION BY user_code ORDER BY ts DESC, row_no DESC) > $most
);
