-- What a build's events and keys look like, beyond what a single row can be refused for: one row a check.
-- A duplicate is a row equal to an earlier one in everything that was mapped, neither having an id; a burst is more than $burst events of one
-- user within some minute (with $baskets, of their baskets); a placeholder is what exports write for no key; a key
-- collides with another that differs in case, blanks, leading zeros, or the way in which its characters are composed; a
-- tie is an event whose moment its user has had before, so that only file order tells which came first.
-- Events lie by user and time, so that what they are compared with stands some rows before: an empty window keeps to
-- that order, and needs no sorting.
WITH placed AS NOT MATERIALIZED (
    SELECT
        *,
        user_id IS NOT DISTINCT FROM lag(user_id) OVER () AND ts = lag(ts) OVER () AS tied,
        user_id IS NOT DISTINCT FROM lead(user_id) OVER () AND ts = lead(ts) OVER () AS ties_next
    FROM build.events
),
together AS MATERIALIZED (
    SELECT user_id, item_id, ts, kind, value, event_id, tied FROM placed WHERE tied OR ties_next
),
repeated AS (
    SELECT user_id, count(*) - 1 AS more, min(event_id) AS event_id
    FROM together ANTI JOIN build.ids USING (event_id)
    GROUP BY user_id, item_id, ts, kind, value
    HAVING count(*) > 1
),
spaced AS (
    SELECT
        user_id,
        user_id = lag(user_id, $burst) OVER () AND epoch_us(ts) - lag(epoch_us(ts), $burst) OVER () < 60000000 AS dense
    FROM placed
    WHERE NOT ($baskets AND tied)
),
minutes AS (
    SELECT user_id, count(*) AS n FROM spaced WHERE dense GROUP BY user_id
),
ties AS (
    SELECT count(*) FILTER (tied) AS ties FROM together
),
quarters AS (  -- midnights are among them in all zones, and zones are slow to ask
    SELECT ts FROM build.events WHERE epoch_us(ts) % 900000000 = 0
),
per_user AS (
    SELECT user_id, count(*) AS n FROM build.events GROUP BY user_id
),
usual AS (
    SELECT sum(n) AS events, quantile_cont(n, 0.5) AS middle FROM per_user
),
nobody AS (
    SELECT user_id, key FROM build.users WHERE list_contains(CAST($placeholders AS VARCHAR[]), lower(key))
),
nothing AS (
    SELECT item_id, key FROM build.items WHERE list_contains(CAST($placeholders AS VARCHAR[]), lower(key))
),
same_user AS (
    SELECT min(key) AS example, count(*) AS n FROM build.users
    GROUP BY ltrim(lower(nfc_normalize(trim(key))), '0') HAVING count(*) > 1
),
same_item AS (
    SELECT min(key) AS example, count(*) AS n FROM build.items
    GROUP BY ltrim(lower(nfc_normalize(trim(key))), '0') HAVING count(*) > 1
)
SELECT 'duplicate-events' AS "check", coalesce(sum(more), 0)::BIGINT AS n, (SELECT events FROM usual)::BIGINT AS "of",
    (SELECT key FROM build.users WHERE user_id = arg_min(repeated.user_id, event_id)) AS example FROM repeated
UNION ALL
SELECT 'bursts', count(DISTINCT user_id), (SELECT count(*) FROM per_user),
    (SELECT key FROM build.users WHERE user_id = arg_max(minutes.user_id, n)) FROM minutes
UNION ALL
SELECT 'bots', count(*), (SELECT count(*) FROM per_user),
    (SELECT key FROM build.users WHERE user_id = arg_max(per_user.user_id, n))
FROM per_user, usual WHERE n > greatest($bot_events, $bot_times * middle)
UNION ALL
SELECT 'ties', ties, events, NULL FROM usual, ties
UNION ALL
SELECT 'colliding-users', coalesce(sum(n), 0)::BIGINT, (SELECT count(*) FROM build.users), min(example) FROM same_user
UNION ALL
SELECT 'colliding-items', coalesce(sum(n), 0)::BIGINT, (SELECT count(*) FROM build.items), min(example) FROM same_item
UNION ALL
SELECT 'midnight', count(*) FILTER (epoch_us(timezone($tz, ts)) % 86400000000 = 0),
    (SELECT events FROM usual)::BIGINT, NULL
FROM quarters
UNION ALL
SELECT 'early-times',  -- of a log that goes on in our days
    count(*) FILTER (ts < TIMESTAMPTZ '1971-01-01 00:00:00+00' AND (SELECT max(ts) FROM build.events) >= TIMESTAMPTZ '1980-01-01 00:00:00+00'),
    (SELECT events FROM usual)::BIGINT, NULL
FROM build.events
UNION ALL
SELECT 'placeholder-keys', count(*), (SELECT events FROM usual)::BIGINT,
    (SELECT min(key) FROM (SELECT key FROM nobody UNION ALL SELECT key FROM nothing)) FROM build.events
WHERE user_id IN (SELECT user_id FROM nobody) OR item_id IN (SELECT item_id FROM nothing)
UNION ALL
SELECT 'untitled-items', count(*) FILTER (title = key), count(*), min(key) FILTER (title = key) FROM build.items
UNION ALL
SELECT 'same-titles', count(*) - count(DISTINCT title), count(*),
    (SELECT title FROM build.items GROUP BY title HAVING count(*) > 1 ORDER BY count(*) DESC, title LIMIT 1) FROM build.items
