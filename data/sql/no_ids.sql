-- What `mark_superseded` and `outdated` leave, of events without ids.
CREATE TEMP TABLE event_ids (row_no BIGINT, key VARCHAR);
CREATE TEMP TABLE identified (event_id BIGINT);
CREATE TEMP TABLE outdated (event_id BIGINT, source VARCHAR, line BIGINT, raw VARCHAR);
