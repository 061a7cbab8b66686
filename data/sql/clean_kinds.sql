-- Events of kinds that are not wanted.
UPDATE checked SET reason = 'clean-kind'
WHERE reason IS NULL
    AND kind_code IN (SELECT code FROM kind_keys WHERE list_contains(CAST($kinds AS VARCHAR[]), key));
