-- What pages ask of all events at once, counted beforehand. Events lie by user and time, so that an event's predecessor
-- is the row before: an empty window keeps to that order, and needs no sorting.

-- One row a user and kind: events, their first and last moment, the sum of their values.
CREATE TABLE build.user_kinds AS
SELECT user_id, kind, count(*) AS events, min(ts) AS first_ts, max(ts) AS last_ts, sum(value) AS total_value,
    count(value) AS valued
FROM build.events
GROUP BY user_id, kind
ORDER BY user_id, kind;

-- One row a user who has events, with quintiles of how lately and of how often; 5 is the latest and the most. Equal
-- users are of one quintile: by how lately that of their middle, since in a log of days many share the last one; by how
-- often the lowest, since most have one event.
CREATE TABLE build.people AS
WITH counted AS (
    SELECT user_id, min(first_ts) AS first_ts, max(last_ts) AS last_ts, CAST(sum(events) AS BIGINT) AS events,
        sum(total_value) AS total_value
    FROM build.user_kinds
    GROUP BY user_id
)
SELECT
    *,
    CAST(least(floor(2.5 * (
        percent_rank() OVER (ORDER BY last_ts) + 1 - percent_rank() OVER (ORDER BY last_ts DESC)
    )) + 1, 5) AS INTEGER) AS recency,
    CAST(least(floor(5 * percent_rank() OVER (ORDER BY events)) + 1, 5) AS INTEGER) AS frequency
FROM counted
ORDER BY user_id;

-- One row an item, those without events too: events, and the first one's moment.
CREATE TABLE build.item_counts AS
WITH counted AS (SELECT item_id, count(*) AS events, min(ts) AS first_ts FROM build.events GROUP BY item_id)
SELECT item_id, coalesce(events, 0) AS events, first_ts FROM build.items LEFT JOIN counted USING (item_id) ORDER BY item_id;

-- Events by the hour (since 1970, UTC) they were in and the hour of the event that their user had before (NULL: none
-- within 63 days). Who was there in any period is who has an event in it whose predecessor is older than the period: so
-- distinct users of days, weeks and months are counted exactly, in every zone of whole hours; and who of these was there
-- in the week or month before is whose predecessor lies in that one: two months are 62 days at most. An hour further
-- back than a day only has to tell on which side of the beginnings of weeks and months it lies: $cells has, from
-- $first_hour on, the last hour until each that may be such a beginning.
-- Windows over a whole order run on one processor: so eighths of the users are looked at beside one another.
CREATE TEMP MACRO returned(eighth, n_users) AS TABLE
SELECT
    epoch_us(ts) // 3600000000 AS hour,
    CASE WHEN user_id = lag(user_id) OVER () THEN lag(epoch_us(ts) // 3600000000) OVER () END AS previous
FROM build.events
WHERE user_id >= eighth * n_users // 8 AND user_id < (eighth + 1) * n_users // 8;

CREATE TEMP TABLE cells AS
SELECT unnest(range($first_hour, $first_hour + len($cells))) AS hour, unnest(CAST($cells AS BIGINT[])) AS cell;

CREATE TABLE build.returns AS
WITH placed AS (
    FROM returned(0, $n_users) UNION ALL FROM returned(1, $n_users) UNION ALL FROM returned(2, $n_users)
    UNION ALL FROM returned(3, $n_users) UNION ALL FROM returned(4, $n_users) UNION ALL FROM returned(5, $n_users)
    UNION ALL FROM returned(6, $n_users) UNION ALL FROM returned(7, $n_users)
)
SELECT
    CAST(placed.hour AS INTEGER) AS hour,
    CAST(CASE WHEN placed.hour - previous < 25 THEN previous
        WHEN placed.hour - previous <= 63 * 24 THEN cell END AS INTEGER) AS previous,
    count(*) AS events
FROM placed LEFT JOIN cells ON cells.hour = previous
GROUP BY ALL
ORDER BY hour, previous;

-- One row a user, those without events too (empty lists); time order, ties in file order. A view, since events lie so.
USE build;
CREATE VIEW histories AS
SELECT
    user_id,
    coalesce(list(item_id ORDER BY ts, event_id) FILTER (event_id IS NOT NULL), []) AS item_id,
    coalesce(list(ts ORDER BY ts, event_id) FILTER (event_id IS NOT NULL), []) AS ts,
    coalesce(list(kind ORDER BY ts, event_id) FILTER (event_id IS NOT NULL), []) AS kind,
    coalesce(list(value ORDER BY ts, event_id) FILTER (event_id IS NOT NULL), []) AS value
FROM users LEFT JOIN events USING (user_id)
GROUP BY user_id;
USE work;
