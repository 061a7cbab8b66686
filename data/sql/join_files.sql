INSERT INTO build.lines
FROM old.lines ANTI JOIN gone ON lines.place >= gone.place AND lines.place < gone.beyond;
INSERT INTO build.files FROM old.files ANTI JOIN gone USING (source, place);
