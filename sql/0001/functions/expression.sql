-- Filters as JSON, in the form of --filter, as conditions in SQL: geosearch.retrieval.algebra and
-- conditions do the same in Python. docs/filters.md says what each means.

CREATE TYPE geosearch.expression AS (
    condition text,
    may_pass text,
    boxes float8[],
    selects boolean,
    names_few boolean,
    canonical jsonb,
    since timestamptz,
    until timestamptz,
    by_authors text[]
);

CALL pg_temp.describe('geosearch.expression',
    'A filter in JSON, checked, as SQL over the columns of embeddings.', $$
    condition: What a photo must meet.
    may_pass: The same of places alone, and roughly: true for all that pass.
    boxes: Boxes that hold all that pass: west, south, east, north; NULL: they may be anywhere.
    selects: Not only some named photos or authors are left out.
    names_few: Only some named photos or authors may pass.
    canonical: As answers and calibrations keep it.
    since: All that pass were taken then or later; NULL: at any time.
    until: All that pass were taken earlier; NULL: at any time.
    by_authors: All that pass are by one of these; NULL: by anybody.
$$);

CREATE FUNCTION geosearch.mistaken(at text, what text, given jsonb) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN format('%s: expected %s, found %s', at, what, left(given::text, 100));

COMMENT ON FUNCTION geosearch.mistaken(text, text, jsonb) IS
    'That a filter has something else at some place, for errors.';

CREATE FUNCTION geosearch.json_texts(value jsonb) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT CASE WHEN bool_and(jsonb_typeof(e.item) = 'string' AND e.item <> '""') THEN
    array_agg(e.item #>> '{}' ORDER BY e.number)
END
FROM jsonb_array_elements(
    CASE jsonb_typeof(value) WHEN 'array' THEN value ELSE jsonb_build_array(value) END
) WITH ORDINALITY AS e (item, number)
$$;

COMMENT ON FUNCTION geosearch.json_texts(jsonb) IS
    'A text or a list of texts, none of them empty, as an array; NULL if it is neither.';

CREATE FUNCTION geosearch.json_numbers(value jsonb, count integer) RETURNS float8[]
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    numbers float8[];
BEGIN
    numbers := CASE jsonb_typeof(value)
        WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(value)::float8)
        ELSE string_to_array(value #>> '{}', ',')::float8[]
    END;
    RETURN CASE
        WHEN cardinality(numbers) = count AND 'Infinity' > ALL (SELECT abs(n) FROM unnest(numbers) AS n)
        THEN numbers
    END;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION geosearch.json_numbers(jsonb, integer) IS
    'So many numbers, in a list or as text with commas; NULL if it is anything else.';

CREATE FUNCTION geosearch.boxes_of(area geometry) RETURNS float8[]
LANGUAGE sql STABLE PARALLEL SAFE STRICT
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
SELECT array_agg(
    ARRAY[ST_XMin(p.geom), ST_YMin(p.geom), ST_XMax(p.geom), ST_YMax(p.geom)] ORDER BY p.path
)
FROM ST_Dump(area) AS p
$$;

COMMENT ON FUNCTION geosearch.boxes_of(geometry) IS 'The box of each part of an area.';

CREATE FUNCTION geosearch.boxes_in_common(one float8[], other float8[]) RETURNS float8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT CASE
    WHEN one IS NULL THEN other
    WHEN other IS NULL THEN one
    ELSE coalesce(array_agg(
        ARRAY[
            greatest(one[i][1], other[j][1]), greatest(one[i][2], other[j][2]),
            least(one[i][3], other[j][3]), least(one[i][4], other[j][4])
        ] ORDER BY i, j
    ) FILTER (
        WHERE one[i][1] <= other[j][3] AND other[j][1] <= one[i][3]
            AND one[i][2] <= other[j][4] AND other[j][2] <= one[i][4]
    ), '{}')
END
FROM generate_subscripts(one, 1) AS i, generate_subscripts(other, 1) AS j
$$;

COMMENT ON FUNCTION geosearch.boxes_in_common(float8[], float8[]) IS
    'What two lists of boxes have in common; NULL is everywhere.';

CREATE FUNCTION geosearch.texts_in_common(one text[], other text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN one IS NULL THEN other
    WHEN other IS NULL THEN one
    ELSE ARRAY(SELECT unnest(one) INTERSECT SELECT unnest(other) ORDER BY 1)
END;

COMMENT ON FUNCTION geosearch.texts_in_common(text[], text[]) IS
    'What two lists have in common; NULL is all there is.';

CREATE FUNCTION geosearch.checked_area(area geometry, name text) RETURNS geometry
LANGUAGE plpgsql STABLE PARALLEL SAFE STRICT
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
BEGIN
    area := wgs84(area, name);
    IF GeometryType(area) NOT IN ('POLYGON', 'MULTIPOLYGON') OR ST_IsEmpty(area) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format(
                '%s is %s %s', name, CASE WHEN ST_IsEmpty(area) THEN 'an empty' ELSE 'a' END,
                GeometryType(area)
            ),
            HINT = 'Give a Polygon or MultiPolygon with an area.';
    ELSIF NOT ST_IsValid(area) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s is not valid: %s', name, ST_IsValidReason(area)),
            HINT = 'Repair it with ST_MakeValid.';
    END IF;
    RETURN area;
END
$$;

COMMENT ON FUNCTION geosearch.checked_area(geometry, text) IS
    'A polygon or multipolygon in WGS 84; `name` is what an error calls it.';

CREATE FUNCTION geosearch.collections_named(names text[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE PARALLEL SAFE STRICT
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    problem text;
BEGIN
    SELECT format('there is no collection %L', name) INTO problem
    FROM unnest(names) AS name
    WHERE NOT EXISTS (SELECT FROM collections AS c WHERE c.name = name.name);
    IF FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = problem,
            HINT = (
            SELECT 'Collections here: ' || coalesce(string_agg(name, ', ' ORDER BY name), 'none yet')
            FROM (SELECT name FROM collections ORDER BY name LIMIT 20) AS known
        );
    END IF;
    RETURN ARRAY(SELECT c.id FROM collections AS c WHERE c.name = ANY (names));
END
$$;

COMMENT ON FUNCTION geosearch.collections_named(text[]) IS 'Ids of collections.';

-- Metres of PostGIS's sphere, the mean radius of WGS 84, for so many kilometres of ours.
CREATE FUNCTION geosearch.sphere_metres(km float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN km * ((2 * 6378137.0 + 6356752.314245179) / 3 / 6371.0);

COMMENT ON FUNCTION geosearch.sphere_metres(float8) IS
    'Kilometres on the sphere of 6371 km as metres of that of PostGIS.';

CREATE FUNCTION geosearch.json_moment(value text, at text) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE STRICT
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    -- Not all that PostgreSQL reads: "now" is another moment later, 1/2/2014 another day elsewhere.
    IF value ~ '^\s*\d{4}-?\d\d-?\d\d([ T]\d\d:?\d\d[0-9:.]*\s*(Z|[-+]\d\d:?(\d\d)?)?)?\s*$' THEN
        RETURN utc(value);
    END IF;
    RAISE invalid_datetime_format;
EXCEPTION WHEN data_exception THEN
    RAISE invalid_parameter_value USING
        MESSAGE = mistaken(at, 'a date or time, as in ISO 8601', to_jsonb(value)),
        HINT = 'For example 2015-06-30, or 2015-06-30T12:00:00+02:00.';
END
$$;

COMMENT ON FUNCTION geosearch.json_moment(text, text) IS
    'A date or time in ISO 8601 as timestamptz: UTC without a zone.';

-- One condition, by its name. Values are quoted as literals: what they say is never run.
CREATE FUNCTION geosearch.read_condition(name text, value jsonb, at text)
RETURNS geosearch.expression
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
-- Values are written out as they are read again, however the session likes to see them: IST is
-- read as Israel's, and 15 digits are another number.
SET datestyle = 'ISO'
SET extra_float_digits = 1
AS $$
DECLARE
    made expression := ROW('', 'true', NULL, true, false, NULL, NULL, NULL, NULL);
    n float8[];
    texts text[];
    area geometry;
    moment timestamptz;
    ids bigint[];
    piece float8[];
    remedy CONSTANT text := 'What a filter may say: docs/filters.md. For example '
        '{"not": {"country": ["CH", "AT"]}}.';
BEGIN
    IF name IN ('country', 'collections', 'authors', 'licences', 'sha256') THEN
        texts := json_texts(value);
        IF texts IS NULL THEN
            RAISE invalid_parameter_value USING
                MESSAGE = mistaken(at, 'names', value), HINT = remedy;
        END IF;
        made.canonical := to_jsonb(texts);
    END IF;
    CASE name
    WHEN 'bbox' THEN
        n := json_numbers(value, 4);
        IF (abs(n[1]) <= 180 AND abs(n[3]) <= 180 AND -90 <= n[2] AND n[2] <= n[4] AND n[4] <= 90)
            IS NOT TRUE
        THEN
            RAISE invalid_parameter_value USING
                MESSAGE = mistaken(at, 'west, south, east, north in degrees, south below north', value), HINT = remedy;
        END IF;
        made.canonical := to_jsonb(n);
        -- 180 and -180 are one meridian: a box that ends there holds photos on either side.
        IF n[1] = -180 AND n[3] < 180 THEN
            n[1] := 180;
        ELSIF n[3] = 180 AND n[1] > -180 THEN
            n[3] := -180;
        END IF;
        made.boxes := CASE
            WHEN n[1] <= n[3] THEN ARRAY[n]
            ELSE ARRAY[ARRAY[n[1], n[2], 180, n[4]], ARRAY[-180, n[2], n[3], n[4]]]
        END;
        -- Boxes for the index, which rounds them to float32; coordinates to be exact.
        FOREACH piece SLICE 1 IN ARRAY made.boxes LOOP
            made.condition := concat_ws(' OR ', nullif(made.condition, ''), format(
                '(geom && %L::geometry AND geom::point <@ %L::box)',
                format('SRID=4326;MULTIPOINT(%s %s,%s %s)', piece[1], piece[2], piece[3], piece[4]),
                format('(%s,%s),(%s,%s)', piece[3], piece[4], piece[1], piece[2])
            ));
        END LOOP;
        made.condition := format('(%s)', made.condition);
        made.may_pass := made.condition;
    WHEN 'near' THEN
        n := json_numbers(value, 3);
        IF (abs(n[1]) <= 90 AND abs(n[2]) <= 180 AND n[3] > 0 AND n[3] <= 20016) IS NOT TRUE THEN
            RAISE invalid_parameter_value USING
                MESSAGE = mistaken(at, 'latitude, longitude and kilometres, at most 20016', value), HINT = remedy;
        END IF;
        made.canonical := to_jsonb(n);
        made.boxes := (
            SELECT array_agg(ARRAY[b.west, b.south, b.east, b.north])
            FROM circle_boxes(n[1], n[2], degrees(n[3] / 6371.0)) AS b
        );
        made.condition := format(
            'ST_DWithin(geom::geography, %L::geography, %s, false)',
            format('SRID=4326;POINT(%s %s)', n[2], n[1]), sphere_metres(n[3])
        );
        made.may_pass := made.condition;
    WHEN 'within' THEN
        BEGIN
            area := CASE jsonb_typeof(value)
                WHEN 'object' THEN ST_GeomFromGeoJSON(value)
                ELSE ST_GeomFromEWKT(value #>> '{}')
            END;
        EXCEPTION WHEN internal_error OR data_exception THEN
            RAISE invalid_parameter_value USING
                MESSAGE = mistaken(at, 'a geometry as GeoJSON or WKT', value), HINT = remedy;
        END;
        -- PostGIS takes a coordinate that is no number as 0.
        IF area IS NULL OR jsonb_path_exists(
            value, 'lax $.coordinates[*][*][*][*] ? (@.type() != "number")'
        ) THEN
            RAISE invalid_parameter_value USING
                MESSAGE = mistaken(at, 'a geometry as GeoJSON or WKT', value), HINT = remedy;
        END IF;
        area := checked_area(area, at);
        made.canonical := ST_AsGeoJSON(area, 20, 0)::jsonb;
        made.boxes := boxes_of(area);
        made.condition := format('ST_Intersects(geom, %L::geometry)', area);
        made.may_pass := format('geom && %L::geometry', area);
    WHEN 'country' THEN
        SELECT
            format('(%s)', string_agg(format('ST_Intersects(geom, %L::geometry)', border(t)), ' OR ')),
            ST_Collect(border(t))
        INTO made.condition, area FROM unnest(texts) AS t;
        made.boxes := boxes_of(area);
    WHEN 'after', 'before' THEN
        moment := json_moment(coalesce(value #>> '{}', 'null'), at);
        made.canonical := to_jsonb(moment);
        made.since := CASE name WHEN 'after' THEN moment END;
        made.until := CASE name WHEN 'before' THEN moment END;
        made.condition := format(
            'taken_at %s %L::timestamptz', CASE name WHEN 'after' THEN '>=' ELSE '<' END, moment
        );
    WHEN 'accuracy_m' THEN
        n := json_numbers(value, 1);
        IF (n[1] >= 0) IS NOT TRUE THEN
            RAISE invalid_parameter_value USING
                MESSAGE = mistaken(at, 'metres, 0 or more', value), HINT = remedy;
        END IF;
        made.canonical := to_jsonb(n[1]);
        -- In the column's own precision: 10.1 is not less accurate than 10.1.
        made.condition := format(
            'accuracy_m <= %L::real',
            CASE WHEN n[1] > 3.4e38 THEN 'Infinity' WHEN n[1] < 1e-37 THEN '0' ELSE n[1]::real::text END
        );
    WHEN 'collections' THEN
        made.condition := format('collection_id = ANY (%L::bigint[])', collections_named(texts));
    WHEN 'authors', 'licences' THEN
        made.names_few := name = 'authors';
        made.by_authors := CASE name WHEN 'authors' THEN texts END;
        made.condition := format('%I = ANY (%L::text[])', left(name, -1), texts);
    WHEN 'sha256' THEN
        IF EXISTS (SELECT FROM unnest(texts) AS t WHERE t !~* '^[0-9a-f]{64}$') THEN
            RAISE invalid_parameter_value USING
                MESSAGE = mistaken(at, 'sha256 of 64 hex digits', value), HINT = remedy;
        END IF;
        made.names_few := true;
        made.condition := format('photo_id = ANY (%L::bigint[])', ARRAY(
            SELECT id FROM photos WHERE sha256 IN (SELECT decode(t, 'hex') FROM unnest(texts) AS t)
        ));
    WHEN 'photos' THEN
        BEGIN
            ids := CASE jsonb_typeof(value)
                WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(value)::bigint)
                ELSE ARRAY[(value #>> '{}')::bigint]
            END;
        EXCEPTION WHEN data_exception THEN
            ids := '{}';
        END;
        IF ids = '{}' OR array_position(ids, NULL) IS NOT NULL THEN
            RAISE invalid_parameter_value USING
                MESSAGE = mistaken(at, 'ids of photos', value), HINT = remedy;
        END IF;
        made.canonical := to_jsonb(ids);
        made.names_few := true;
        made.condition := format('photo_id = ANY (%L::bigint[])', ids);
    WHEN 'include_estimated' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s: it is an argument of its own in SQL', at),
            HINT = 'Give include_estimated => true.';
    ELSE
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s: there is no such condition', at),
            HINT = 'Conditions: accuracy_m, after, and, authors, bbox, before, collections, country, '
            'exclude_authors, exclude_sha256, licences, near, not, or, photos, sha256, within.';
    END CASE;
    made.canonical := jsonb_build_object(name, made.canonical);
    RETURN made;
END
$$;

COMMENT ON FUNCTION geosearch.read_condition(text, jsonb, text) IS
    'One condition of a filter; `at` is what an error calls its place.';

-- Several as one, in whatever order: all must hold, or one.
CREATE FUNCTION geosearch.join_expressions(parts geosearch.expression[], word text)
RETURNS geosearch.expression
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    conjunction CONSTANT boolean := word = 'and';
    made expression;
    part expression;
BEGIN
    IF cardinality(parts) = 1 THEN
        RETURN parts[1];
    END IF;
    SELECT
        format('(%s)', coalesce(string_agg(condition, format(' %s ', word)), (conjunction)::text)),
        CASE WHEN conjunction AND count(*) = 0 THEN 'true'
            ELSE format('(%s)', coalesce(string_agg(may_pass, format(' %s ', word)), 'false')) END,
        CASE WHEN conjunction THEN coalesce(bool_or(selects), false) ELSE coalesce(bool_and(selects), true) END,
        CASE WHEN conjunction THEN coalesce(bool_or(names_few), false)
            ELSE coalesce(bool_and(names_few), true) END
    INTO made.condition, made.may_pass, made.selects, made.names_few
    FROM unnest(parts);
    IF made.may_pass ~ '^[( ]*true( and true)*[) ]*$' THEN
        made.may_pass := 'true';
    END IF;
    IF conjunction THEN
        FOREACH part IN ARRAY parts LOOP
            made.boxes := boxes_in_common(made.boxes, part.boxes);
            made.by_authors := texts_in_common(made.by_authors, part.by_authors);
        END LOOP;
    ELSIF cardinality(parts) > 0 AND NOT EXISTS (SELECT FROM unnest(parts) WHERE boxes IS NULL) THEN
        made.boxes := '{}';
        FOREACH part IN ARRAY parts LOOP
            made.boxes := made.boxes || part.boxes;
        END LOOP;
    END IF;
    SELECT
        CASE WHEN conjunction THEN max(since) WHEN count(*) = count(since) THEN min(since) END,
        CASE WHEN conjunction THEN min(until) WHEN count(*) = count(until) THEN max(until) END,
        CASE WHEN conjunction THEN made.by_authors WHEN count(*) = count(by_authors) THEN
            ARRAY(SELECT DISTINCT unnest(p.by_authors) FROM unnest(parts) AS p ORDER BY 1) END
    INTO made.since, made.until, made.by_authors
    FROM unnest(parts);
    made.canonical := CASE
        WHEN conjunction AND cardinality(parts) = 0 THEN '{}'
        ELSE jsonb_build_object(word, coalesce((
            SELECT jsonb_agg(inner_part ORDER BY p.number, i.number)
            FROM unnest(parts) WITH ORDINALITY
                AS p (
                    condition, may_pass, boxes, selects, names_few, canonical, since, until,
                    by_authors, number
                ),
            -- Without needless nesting, as filters are kept.
            LATERAL jsonb_array_elements(
                CASE WHEN conjunction AND p.canonical = '{}' THEN '[]'
                    WHEN p.canonical ? word THEN p.canonical -> word
                    ELSE jsonb_build_array(p.canonical) END
            ) WITH ORDINALITY AS i (inner_part, number)
        ), '[]'))
    END;
    RETURN made;
END
$$;

COMMENT ON FUNCTION geosearch.join_expressions(geosearch.expression[], text) IS
    'Several filters as one, by and, or by or.';

CREATE FUNCTION geosearch.read_filter(filter jsonb, at text DEFAULT 'filter')
RETURNS geosearch.expression
LANGUAGE plpgsql STABLE PARALLEL SAFE STRICT
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    parts expression[] := '{}';
    made expression;
    name text;
    value jsonb;
    here text;
BEGIN
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = mistaken(at, 'an object', filter), HINT = 'For example {"country": "CH"}.';
    END IF;
    FOR name, value IN SELECT * FROM jsonb_each(filter) LOOP
        here := at || '.' || name;
        -- Where several names may be given, one may be, and many.
        name := CASE name
            WHEN 'collection' THEN 'collections' WHEN 'author' THEN 'authors'
            WHEN 'licence' THEN 'licences' WHEN 'photo' THEN 'photos' WHEN 'countries' THEN 'country'
            WHEN 'exclude_author' THEN 'exclude_authors' ELSE name
        END;
        IF name IN ('and', 'or') THEN
            IF jsonb_typeof(value) <> 'array' THEN
                RAISE invalid_parameter_value USING
                    MESSAGE = mistaken(here, 'a list', value),
                    HINT = 'For example {"or": [{"author": "ada"}, {"country": "CH"}]}.';
            END IF;
            made := join_expressions(ARRAY(
                SELECT read_filter(e.part, format('%s[%s]', here, e.number - 1))
                FROM jsonb_array_elements(value) WITH ORDINALITY AS e (part, number)
                ORDER BY e.number
            ), name);
        ELSIF name IN ('not', 'exclude_authors', 'exclude_sha256') THEN
            made := CASE name
                WHEN 'not' THEN read_filter(value, here)
                ELSE read_condition(substr(name, 9), value, here)
            END;
            made := ROW(
                -- What lacks what is asked about meets the negation.
                format('(%s) IS NOT TRUE', made.condition), 'true', NULL, NOT made.names_few,
                NOT made.selects, jsonb_build_object('not', made.canonical), NULL, NULL, NULL
            );
        ELSE
            made := read_condition(name, value, here);
        END IF;
        parts := parts || made;
    END LOOP;
    RETURN join_expressions(parts, 'and');
END
$$;

COMMENT ON FUNCTION geosearch.read_filter(jsonb, text) IS
    'A filter in JSON, checked, as SQL: docs/filters.md says what it may ask for.';
