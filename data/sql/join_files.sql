INSERT INTO build.lines
SELECT lines.* FROM old.lines JOIN old.files ON lines.place >= files.place AND lines.place < files.place + files.staged
WHERE NOT list_contains(CAST($replaced AS VARCHAR[]), source);
INSERT INTO build.files FROM old.files WHERE NOT list_contains(CAST($replaced AS VARCHAR[]), source);
