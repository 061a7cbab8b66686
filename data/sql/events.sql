-- By user, time and place in the files, which is the event_id: a gap in these is a row in quarantine. A user's events lie
-- together, so that they are found without an index and need no sorting. Names take the place of numbers after the sort.
-- $places: how many an older build has; the braces: the map of what a row has besides.
CREATE TABLE build.events AS
WITH ordered AS (
    SELECT row_no + $places AS event_id, users.user_id, items.item_id, ts, kind_code, value, rest
    FROM accepted
    JOIN accepted_users AS u ON u.code = user_code
    JOIN build.users AS users ON users.key = u.key
    JOIN accepted_items AS i ON i.code = item_code
    JOIN build.items AS items ON items.key = i.key
    ORDER BY users.user_id, ts, event_id
)
SELECT
    event_id,
    user_id,
    item_id,
    ts,
    CAST($kinds AS VARCHAR[])[kind_code] AS kind,
    value,
    {context} AS context
FROM ordered;
