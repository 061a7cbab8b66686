-- Every household that bought something; 801 of them told who they are. Income in five bands, none tiny.
SELECT
    CAST(household_id AS VARCHAR) AS household,
    age AS age_group,
    CASE
        WHEN income IN ('Under 15K', '15-24K', '25-34K') THEN 'under 35K'
        WHEN income IN ('75-99K', '100-124K') THEN '75-124K'
        WHEN income IN ('125-149K', '150-174K', '175-199K', '200-249K', '250K+') THEN '125K+'
        ELSE income
    END AS income,
    household_size
FROM (SELECT DISTINCT household_id FROM read_parquet($transactions))
LEFT JOIN read_parquet($demographics) USING (household_id)
ORDER BY household_id;
