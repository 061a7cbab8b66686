-- Every staged row of the event files, typed, with the first reason against it (NULL: accepted).
-- raw_events: f0 user, f1 item, f2 time, f3 kind, f4 value, rest context; rowid is the place in the files. A kind that is
-- there is taken also where the files have no column of kinds: feedback brings its own. The files' words for kinds,
-- $kind_words in small letters, are called by the $kind_names at their places.
CREATE TABLE checked AS
WITH trimmed AS (
    SELECT
        rowid AS row_no,
        coalesce(trim(f0), '') AS user_key,
        coalesce(trim(f1), '') AS item_key,
        coalesce(trim(f2), '') AS ts_text,
        CASE WHEN $has_kind OR f3 IS NOT NULL THEN coalesce(trim(f3), '') ELSE $kind_value END AS kind,
        nullif(trim(f4), '') AS value_text,
        rest,
        file AS source,
        rowid >= $of_files AS fed  -- feedback stands behind the files' rows
    FROM raw_events
),
numbered AS (
    SELECT
        *,
        try_cast(replace(ts_text, '_', '?') AS DOUBLE) * CAST($us_per_unit AS DOUBLE) AS ts_us,
        try_cast(replace(value_text, '_', '?') AS DOUBLE) AS value
    FROM trimmed
),
zoned AS (  -- whether a time tells its zone, by what follows the date
    SELECT
        *,
        ts_text <> '' AND $us_per_unit IS NULL AND NOT (
            suffix(ts_text, 'Z') OR contains(substr(ts_text, 11), '+') OR contains(substr(ts_text, 11), '-')
            OR regexp_matches(substr(ts_text, 9), '[0-9]\s*[A-Za-z][A-Za-z_/]+$')
        ) AS unzoned
    FROM numbered
),
timed AS (
    SELECT
        *,
        CASE
            WHEN $format IS NOT NULL AND NOT fed
            THEN timezone(CASE WHEN contains(lower($format), '%z') THEN 'UTC' ELSE $tz END, try_strptime(ts_text, $format))
            WHEN lower(ts_text) = 'epoch' THEN NULL  -- a word of DuckDB's for 1970
            WHEN $us_per_unit IS NULL AND unzoned AND $tz <> 'UTC' THEN timezone($tz, try_cast(ts_text AS TIMESTAMP))
            WHEN $us_per_unit IS NULL THEN try_cast(ts_text AS TIMESTAMPTZ)
            WHEN isfinite(ts_us) AND abs(ts_us) < 9e15 THEN make_timestamptz(CAST(ts_us AS BIGINT))
            WHEN ts_us IS NOT NULL AND NOT isnan(ts_us) THEN CAST('infinity' AS TIMESTAMPTZ)
        END AS ts
    FROM zoned
)
SELECT
    row_no, user_key, item_key, ts,
    CASE WHEN fed THEN kind
        ELSE coalesce(
            list_extract(
                CAST($kind_names AS VARCHAR[]), list_position(CAST($kind_words AS VARCHAR[]), lower(kind))
            ),
            kind
        )
    END AS kind,
    value, rest, source, unzoned,
    CASE
        WHEN user_key = '' THEN 'missing-user'
        WHEN regexp_matches(user_key, '[\x00-\x1f\x7f]') THEN 'unprintable-user'
        WHEN item_key = '' THEN 'missing-item'
        WHEN regexp_matches(item_key, '[\x00-\x1f\x7f]') THEN 'unprintable-item'
        WHEN ts_text = '' THEN 'missing-time'
        WHEN ts IS NULL THEN 'unreadable-time'
        WHEN ts < CAST('1970-01-01 00:00:00+00' AS TIMESTAMPTZ) OR ts > $latest THEN 'impossible-time'
        WHEN kind = '' THEN 'missing-kind'
        WHEN regexp_matches(kind, '[\x00-\x1f\x7f]') THEN 'unprintable-kind'
        WHEN value_text IS NOT NULL AND value IS NULL THEN 'unreadable-value'
        WHEN NOT isfinite(value) THEN 'infinite-value'
    END AS reason
FROM timed;
