-- What a build's events and keys look like, beyond what a single row can be refused for: one row a check.
-- A duplicate is a row equal to an earlier one in everything that was mapped; a burst is more than $burst events of one
-- user within some minute (with $baskets, of their baskets); a placeholder is what exports write for no key; a key collides with another that differs in case, blanks, leading zeros, or the way in which its
-- characters are composed; a tie is an event whose moment its user has had before, so that only file order tells which
-- came first.
WITH repeated AS (
    SELECT user_id, count(*) - 1 AS more, min(event_id) AS event_id
    FROM build.events
    GROUP BY user_id, item_id, ts, kind, value
    HAVING count(*) > 1
),
moment AS (
    SELECT DISTINCT user_id, ts FROM build.events
),
minutes AS (
    SELECT user_id, len(times) AS n
    FROM (
        SELECT user_id, CASE WHEN $baskets THEN list_sort(list_distinct(ts)) ELSE ts END AS times FROM build.histories
    )
    WHERE len(times) > $burst AND list_min(
        list_transform(
            range(CAST($burst AS BIGINT) + 1, len(times) + 1),
            lambda place: epoch_us(times[place]) - epoch_us(times[place - CAST($burst AS BIGINT)])
        )
    ) < 60000000
),
moments AS (
    SELECT count(*) AS moments FROM moment
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
SELECT 'ties', events - moments, events, NULL FROM usual, moments
UNION ALL
SELECT 'colliding-users', coalesce(sum(n), 0)::BIGINT, (SELECT count(*) FROM build.users), min(example) FROM same_user
UNION ALL
SELECT 'colliding-items', coalesce(sum(n), 0)::BIGINT, (SELECT count(*) FROM build.items), min(example) FROM same_item
UNION ALL
SELECT 'midnight', count(*) FILTER (epoch_us(timezone($tz, ts)) % 86400000000 = 0), count(*), NULL
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
