-- One row a user and kind, and one a user and month.
CREATE TEMP TABLE activity AS
WITH dated AS (SELECT user_id, kind, date_trunc('month', ts) AS month FROM build.events)
SELECT
    user_id,
    CASE WHEN grouping(kind) = 0 THEN 'kind' ELSE 'month' END AS slice,
    CASE WHEN grouping(kind) = 0 THEN kind ELSE strftime(month, '%Y-%m') END AS place
FROM dated
GROUP BY GROUPING SETS ((user_id, kind), (user_id, month));
