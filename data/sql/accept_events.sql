-- What passed, in file order: a row's place here is its event_id.
CREATE TABLE accepted AS
SELECT user_key, item_key, ts, kind, value, rest, source
FROM checked
WHERE reason IS NULL
ORDER BY row_no;
