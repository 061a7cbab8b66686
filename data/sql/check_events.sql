-- Every staged row of the event files, typed, with the first reason against it (NULL: accepted), its keys as numbers.
-- raw_events: f0 user, f1 item, f2 time, f3 kind, f4 value, rest context, file the source's number; rowid is the place in
-- the files. Texts that come often are looked at once: user_keys, item_keys and kind_keys hold each that there is (raw),
-- trimmed (key), with its fault and, of users and items, in how many rows it is (n). A kind that is there is taken also where the files have no column of kinds: feedback
-- brings its own. The files' words for kinds, $kind_words, whatever their letters' size, are called by the $kind_names at their places.
-- All is in temporary tables, which are not compressed: that alone would take longer than the rest.
-- A superseded or a duplicate row is sound, too. A fault that begins with clean- is none: a rule of the spec removed a sound row. These come last, in the rules' order.
CREATE TYPE fault AS ENUM (
    'missing-user', 'unprintable-user', 'missing-item', 'unprintable-item', 'missing-time', 'unreadable-time',
    'impossible-time', 'missing-kind', 'unprintable-kind', 'unreadable-value', 'infinite-value', 'superseded', 'duplicate',
    'clean-kind', 'clean-value', 'clean-repeat', 'clean-burst', 'clean-bot', 'clean-user-cap', 'clean-item-cap',
    'clean-k-core'
);

CREATE TEMP TABLE user_keys AS
WITH seen AS (SELECT f0 AS raw, count(*) AS n FROM raw_events GROUP BY f0),
trimmed AS (SELECT raw, n, coalesce(trim(raw), '') AS key FROM seen)
SELECT
    raw, n, key, CAST(dense_rank() OVER (ORDER BY key) AS INTEGER) AS code,
    CAST(CASE
        WHEN key = '' THEN 'missing-user' WHEN regexp_matches(key, '[\x00-\x1f\x7f]') THEN 'unprintable-user'
    END AS fault) AS fault
FROM trimmed;

CREATE TEMP TABLE item_keys AS
WITH seen AS (SELECT f1 AS raw, count(*) AS n FROM raw_events GROUP BY f1),
trimmed AS (SELECT raw, n, coalesce(trim(raw), '') AS key FROM seen)
SELECT
    raw, n, key, CAST(dense_rank() OVER (ORDER BY key) AS INTEGER) AS code,
    CAST(CASE
        WHEN key = '' THEN 'missing-item' WHEN regexp_matches(key, '[\x00-\x1f\x7f]') THEN 'unprintable-item'
    END AS fault) AS fault
FROM trimmed;

CREATE TEMP TABLE kind_keys AS
WITH seen AS (SELECT DISTINCT f3 AS raw, rowid >= $of_files AS fed FROM raw_events),
trimmed AS (
    SELECT
        raw, fed,
        CASE WHEN $has_kind OR raw IS NOT NULL THEN coalesce(trim(raw), '') ELSE $kind_value END AS word
    FROM seen
),
named AS (
    SELECT
        raw, fed,
        CASE WHEN fed THEN word
            ELSE coalesce(
                list_extract(
                    CAST($kind_names AS VARCHAR[]),
                    list_position(list_transform(CAST($kind_words AS VARCHAR[]), lambda told: lower(told)), lower(word))
                ),
                word
            )
        END AS key
    FROM trimmed
)
SELECT
    raw, fed, key, CAST(dense_rank() OVER (ORDER BY key) AS INTEGER) AS code,
    CAST(CASE
        WHEN key = '' THEN 'missing-kind' WHEN regexp_matches(key, '[\x00-\x1f\x7f]') THEN 'unprintable-kind'
    END AS fault) AS fault
FROM named;

CREATE TEMP TABLE checked AS
WITH trimmed AS (
    SELECT
        raw_events.rowid AS row_no,
        user_keys.code AS user_code,
        item_keys.code AS item_code,
        kind_keys.code AS kind_code,
        coalesce(user_keys.fault, item_keys.fault) AS key_fault,
        kind_keys.fault AS kind_fault,
        CASE WHEN $us_per_unit IS NULL THEN trim(f2) ELSE f2 END AS ts_text,  -- numbers are read with blanks around
        f4 AS value_text,
        rest,
        file,
        raw_events.rowid >= $of_files AS fed  -- feedback stands behind the files' rows
    FROM raw_events
    JOIN user_keys ON user_keys.raw IS NOT DISTINCT FROM f0
    JOIN item_keys ON item_keys.raw IS NOT DISTINCT FROM f1
    JOIN kind_keys ON kind_keys.raw IS NOT DISTINCT FROM f3 AND kind_keys.fed = (raw_events.rowid >= $of_files)
),
numbered AS (
    SELECT
        *,
        CASE WHEN $us_per_unit IS NOT NULL AND NOT contains(ts_text, '_')
            THEN try_cast(ts_text AS DOUBLE) * CAST($us_per_unit AS DOUBLE) END AS ts_us,
        CASE WHEN NOT contains(value_text, '_') THEN try_cast(value_text AS DOUBLE) END AS value
    FROM trimmed
),
zoned AS (  -- whether a time tells its zone: by its format, where there is one, else by what follows the date
    SELECT
        *,
        CASE
            WHEN $format IS NOT NULL AND NOT fed THEN NOT regexp_matches($format, '%[zZ]|Z(\W|$)|UTC|GMT')
            WHEN $us_per_unit IS NULL AND ts_text <> '' THEN NOT (
                suffix(ts_text, 'Z') OR contains(substr(ts_text, 11), '+') OR contains(substr(ts_text, 11), '-')
                OR regexp_matches(substr(ts_text, 9), '[0-9]\s*[A-Za-z][A-Za-z_/]+$')
            )
            ELSE false
        END AS unzoned,
        -- letters behind a time that many zones share (CST, IST), or that summer changes (PST, PDT): no zone is taken from them
        CASE WHEN $format IS NOT NULL AND NOT fed THEN contains($format, '%Z') ELSE $us_per_unit IS NULL END AND right(ts_text, 1) > '@' AND NOT suffix(ts_text, 'Z')
        AND regexp_matches(ts_text, '[0-9]\s*[A-Za-z]{2,5}$') AND NOT regexp_matches(ts_text, '(?i)(UTC|GMT)$') AS abbreviated
    FROM numbered
),
timed AS (
    SELECT
        *,
        CASE
            WHEN abbreviated THEN NULL
            WHEN $format IS NOT NULL AND NOT fed
            THEN timezone(CASE WHEN unzoned THEN $tz ELSE 'UTC' END, try_strptime(ts_text, $format))
            WHEN $us_per_unit IS NULL AND lower(ts_text) = 'epoch' THEN NULL  -- a word of DuckDB's for 1970
            WHEN $us_per_unit IS NULL AND unzoned AND $tz <> 'UTC' THEN timezone($tz, try_cast(ts_text AS TIMESTAMP))
            WHEN $us_per_unit IS NULL THEN try_cast(ts_text AS TIMESTAMPTZ)
            WHEN abs(ts_us) < 9e15 THEN make_timestamptz(CAST(ts_us AS BIGINT))
            WHEN ts_us IS NOT NULL AND NOT isnan(ts_us) THEN CAST('infinity' AS TIMESTAMPTZ)
        END AS ts
    FROM zoned
)
SELECT
    row_no, user_code, item_code, ts, kind_code, value, rest, file, unzoned,
    CASE
        WHEN key_fault IS NOT NULL THEN key_fault
        WHEN ts IS NULL AND coalesce(trim(ts_text), '') = '' THEN CAST('missing-time' AS fault)
        WHEN ts IS NULL THEN CAST('unreadable-time' AS fault)
        WHEN ts < CAST('1970-01-01 00:00:00+00' AS TIMESTAMPTZ) OR ts > $latest THEN CAST('impossible-time' AS fault)
        WHEN kind_fault IS NOT NULL THEN kind_fault
        WHEN value IS NULL AND trim(value_text) <> '' THEN CAST('unreadable-value' AS fault)
        WHEN NOT isfinite(value) THEN CAST('infinite-value' AS fault)
    END AS reason
FROM timed;
