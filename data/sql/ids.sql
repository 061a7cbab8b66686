-- The ids of events, none where the spec names no column of them: by them a later build knows what was corrected.
CREATE TABLE build.ids AS
SELECT row_no + $places AS event_id, key FROM event_ids SEMI JOIN accepted USING (row_no) ORDER BY event_id;
