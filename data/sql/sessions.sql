-- One row a session, by user and time: one ends where no event of its user follows within $gap_us. Events lie by user and
-- time, so that an empty window keeps to that order, and needs neither sorting nor grouping: a session holds what stands
-- from its first event to the first of the next one.
CREATE TABLE build.sessions AS
WITH spaced AS (
    SELECT
        user_id, ts, row_number() OVER () AS place, lag(ts) OVER () AS before,
        user_id IS DISTINCT FROM lag(user_id) OVER () OR epoch_us(ts) - lag(epoch_us(ts)) OVER () > $gap_us AS begins
    FROM build.events
),
begun AS (
    SELECT user_id, ts, place, before FROM spaced WHERE begins
),
end_of_all AS (
    SELECT count(*) + 1 AS place, max(ts) FILTER (user_id = (SELECT max(user_id) FROM build.events)) AS before
    FROM build.events
)
SELECT
    row_number() OVER () - 1 AS session_id,
    user_id,
    ts AS first_ts,
    coalesce(lead(before) OVER (), (SELECT before FROM end_of_all)) AS last_ts,
    coalesce(lead(place) OVER (), (SELECT place FROM end_of_all)) - place AS events
FROM begun;

-- Sessions by the hour in which they began and that of the one before, as `returns` has events.
CREATE TABLE build.session_returns AS
WITH placed AS (
    SELECT
        epoch_us(first_ts) // 3600000000 AS hour,
        CASE WHEN user_id = lag(user_id) OVER () THEN lag(epoch_us(first_ts) // 3600000000) OVER () END AS previous
    FROM build.sessions
)
SELECT
    CAST(hour AS INTEGER) AS hour,
    CAST(CASE WHEN hour - previous <= 31 * 24 THEN previous END AS INTEGER) AS previous,
    count(*) AS events
FROM placed
GROUP BY ALL
ORDER BY hour, previous;

-- One row: how many there are, how many of one event alone, and the quartiles of their lengths and of their events.
CREATE TABLE build.session_facts AS
WITH found AS (
    SELECT
        count(*) AS sessions,
        (SELECT count(*) FROM build.people) AS users,
        count(*) FILTER (events = 1) AS alone,
        quantile_cont((epoch_us(last_ts) - epoch_us(first_ts)) / 1e6, [0.25, 0.5, 0.75]) AS seconds,
        quantile_cont(events, [0.25, 0.5, 0.75]) AS events
    FROM build.sessions
)
SELECT
    sessions, users, alone, seconds[1] AS low_s, seconds[2] AS median_s, seconds[3] AS high_s,
    events[1] AS low_events, events[2] AS median_events, events[3] AS high_events
FROM found;
