-- Shares of the events' distinct keys that the catalogue files know, straight and crosswise.
SELECT
    (SELECT avg(CAST(key IN (SELECT key FROM known_users) AS DOUBLE)) FROM accepted_users) AS users_in_users,
    (SELECT avg(CAST(key IN (SELECT key FROM known_items) AS DOUBLE)) FROM accepted_items) AS items_in_items,
    (SELECT avg(CAST(key IN (SELECT key FROM known_items) AS DOUBLE)) FROM accepted_users) AS users_in_items,
    (SELECT avg(CAST(key IN (SELECT key FROM known_users) AS DOUBLE)) FROM accepted_items) AS items_in_users;
