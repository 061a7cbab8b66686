-- Shares of the events' distinct keys that the catalogue files know, straight and crosswise.
WITH event_users AS (SELECT DISTINCT user_key AS key FROM accepted),
event_items AS (SELECT DISTINCT item_key AS key FROM accepted)
SELECT
    (SELECT avg(CAST(key IN (SELECT key FROM known_users) AS DOUBLE)) FROM event_users) AS users_in_users,
    (SELECT avg(CAST(key IN (SELECT key FROM known_items) AS DOUBLE)) FROM event_items) AS items_in_items,
    (SELECT avg(CAST(key IN (SELECT key FROM known_items) AS DOUBLE)) FROM event_users) AS users_in_items,
    (SELECT avg(CAST(key IN (SELECT key FROM known_users) AS DOUBLE)) FROM event_items) AS items_in_users;
