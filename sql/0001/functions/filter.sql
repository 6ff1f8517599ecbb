-- Which photos may become neighbours.

CREATE TYPE geosearch.photo_filter AS (
    within geometry,
    near geography,
    near_m float8,
    taken_after timestamptz,
    taken_before timestamptz,
    collection_ids bigint[],
    authors text[],
    not_authors text[],
    licences text[],
    accuracy_m real,
    not_photos bigint[],
    more geosearch.expression
);

CALL pg_temp.describe('geosearch.photo_filter',
    'Conditions of geosearch.nearest, checked; NULL is no condition.', $$
    within: In this area, WGS 84.
    near: Near this point,
    near_m: at most so many metres from it.
    taken_after: Taken then or later.
    taken_before: Taken earlier.
    collection_ids: In one of these collections.
    authors: By one of these.
    not_authors: By none of these.
    licences: Under one of these licences.
    accuracy_m: Known to be located this well, metres.
    not_photos: None of these photos, by id.
    more: A filter in JSON, which must hold as well.
$$);

-- A literal would be read in the time zone of the session, had it been declared a timestamptz.
CREATE FUNCTION geosearch.utc(moment anycompatible) RETURNS timestamptz
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
BEGIN
    RETURN moment;
END
$$;

COMMENT ON FUNCTION geosearch.utc(anycompatible) IS
    'A moment, date or text of either as timestamptz: UTC without a zone.';

CREATE FUNCTION geosearch.make_filter(
    within geometry, near geometry, near_km float8,
    taken_after timestamptz, taken_before timestamptz,
    collections text[], authors text[], not_authors text[], licences text[],
    accuracy_m real, not_photos bigint[], filter jsonb DEFAULT NULL
)
RETURNS geosearch.photo_filter
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    wanted photo_filter;
BEGIN
    within := checked_area(within, 'within');
    near := wgs84_point(near, 'near');
    IF (near IS NULL) <> (near_km IS NULL) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'near and near_km go together',
            HINT = 'Give a point in WGS 84 and a distance in kilometres.';
    ELSIF NOT (near_km > 0 AND near_km <= 20016) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('near_km is %s', near_km),
            HINT = 'Give kilometres, at most half the globe, 20016.';
    ELSIF taken_after >= taken_before THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taken_after %s is not earlier than taken_before %s', taken_after, taken_before),
            HINT = 'Swap them, or leave one out.';
    ELSIF 0 IN (cardinality(collections), cardinality(authors), cardinality(licences)) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'collections, authors or licences is an empty array: nothing could pass',
            HINT = 'Give at least one name, or leave it out.';
    ELSIF NOT (accuracy_m >= 0 AND accuracy_m < 'Infinity') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('accuracy_m is %s', accuracy_m),
            HINT = 'Give metres, 0 or more.';
    END IF;

    wanted.within := within;
    wanted.near := near::geography;
    wanted.near_m := sphere_metres(near_km);
    wanted.taken_after := taken_after;
    wanted.taken_before := taken_before;
    wanted.collection_ids := collections_named(collections);
    wanted.authors := authors;
    wanted.not_authors := nullif(not_authors, '{}');
    wanted.licences := licences;
    wanted.accuracy_m := accuracy_m;
    wanted.not_photos := nullif(not_photos, '{}');
    IF filter <> '{}' THEN
        BEGIN
            wanted.more := read_filter(filter);
        EXCEPTION WHEN statement_too_complex THEN
            RAISE invalid_parameter_value USING
                MESSAGE = 'filter is nested too deep',
                HINT = 'Say it with fewer "and", "or" and "not" in one another.';
        END;
    END IF;
    RETURN wanted;
END
$$;

COMMENT ON FUNCTION geosearch.make_filter IS
    'Checks the conditions of geosearch.nearest.';

-- Only the conditions given are asked: PostgreSQL then estimates and plans for these alone. The
-- filter itself is parameter $2 of the statement that the text becomes a part of.
CREATE FUNCTION geosearch.filter_condition(wanted geosearch.photo_filter) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT concat_ws(' AND ', 'true',
    CASE WHEN wanted.within IS NOT NULL THEN 'ST_Intersects(geom, ($2).within)' END,
    CASE WHEN wanted.near IS NOT NULL
        THEN 'ST_DWithin(geom::geography, ($2).near, ($2).near_m, false)' END,
    CASE WHEN wanted.taken_after IS NOT NULL THEN 'taken_at >= ($2).taken_after' END,
    CASE WHEN wanted.taken_before IS NOT NULL THEN 'taken_at < ($2).taken_before' END,
    CASE WHEN wanted.collection_ids IS NOT NULL
        THEN 'collection_id = ANY (($2).collection_ids)' END,
    CASE WHEN wanted.authors IS NOT NULL THEN 'author = ANY (($2).authors)' END,
    CASE WHEN wanted.licences IS NOT NULL THEN 'licence = ANY (($2).licences)' END,
    CASE WHEN wanted.accuracy_m IS NOT NULL THEN 'accuracy_m <= ($2).accuracy_m' END,
    -- Photos without an author pass.
    CASE WHEN wanted.not_authors IS NOT NULL
        THEN '(author = ANY (($2).not_authors)) IS NOT TRUE' END,
    CASE WHEN wanted.not_photos IS NOT NULL
        THEN '(photo_id = ANY (($2).not_photos)) IS NOT TRUE' END,
    (wanted.more).condition
);
END;

COMMENT ON FUNCTION geosearch.filter_condition(geosearch.photo_filter) IS
    'The conditions as SQL over the columns of embeddings, with the filter as parameter $2.';

-- What a filter asks of places alone, and roughly: none is left out that passes.
CREATE FUNCTION geosearch.place_condition(wanted geosearch.photo_filter) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT concat_ws(' AND ', 'true',
    CASE WHEN wanted.within IS NOT NULL THEN 'geom && ($2).within' END,
    CASE WHEN wanted.near IS NOT NULL
        THEN 'ST_DWithin(geom::geography, ($2).near, ($2).near_m, false)' END,
    nullif((wanted.more).may_pass, 'true')
);
END;

COMMENT ON FUNCTION geosearch.place_condition(geosearch.photo_filter) IS
    'As filter_condition, of places alone: a polygon by its box.';

-- A box ends at ±180°; those of a circle are a little wide, and of two where it crosses that.
CREATE FUNCTION geosearch.circle_boxes(lat float8, lon float8, radius float8)
RETURNS TABLE (west float8, south float8, east float8, north float8)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reach CONSTANT float8 := 1.000001 * radius;
    half float8 := 180;
BEGIN
    south := greatest(lat - reach, -90);
    north := least(lat + reach, 90);
    IF south > -90 AND north < 90 THEN
        half := 1.000001 * degrees(asin(least(1, sin(radians(reach)) / cos(radians(lat)))));
    END IF;
    west := greatest(lon - half, -180);
    east := least(lon + half, 180);
    RETURN NEXT;
    IF lon - half < -180 THEN
        west := lon - half + 360;
        east := 180;
        RETURN NEXT;
    ELSIF lon + half > 180 THEN
        west := -180;
        east := lon + half - 360;
        RETURN NEXT;
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.circle_boxes(float8, float8, float8) IS
    'Boxes that hold a circle; all in degrees, the radius too.';

CREATE FUNCTION geosearch.filter_places(wanted geosearch.photo_filter) RETURNS float8[]
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
SELECT boxes_in_common(
    boxes_in_common(boxes_of(wanted.within), (wanted.more).boxes),
    (
        SELECT array_agg(ARRAY[b.west, b.south, b.east, b.north])
        FROM circle_boxes(
            ST_Y(wanted.near::geometry), ST_X(wanted.near::geometry),
            degrees(wanted.near_m / sphere_metres(6371))
        ) AS b
        WHERE wanted.near IS NOT NULL
    )
)
$$;

COMMENT ON FUNCTION geosearch.filter_places(geosearch.photo_filter) IS
    'Boxes that hold the places that pass a filter: west, south, east, north; NULL: all may.';

CREATE FUNCTION geosearch.border(name text) RETURNS geometry
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    area geometry;
    wanted CONSTANT text := lower(btrim(name));
BEGIN
    SELECT b.geom INTO area
    FROM borders AS b
    WHERE wanted IN (lower(b.name), lower(b.iso_a2), lower(b.iso_a3))
        OR wanted IN (SELECT lower(alias) FROM unnest(b.aliases) AS alias)
    ORDER BY b.kind, lower(b.name) = wanted DESC, b.id
    LIMIT 1;
    IF area IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no country or region %L', name),
            HINT = CASE
                WHEN EXISTS (SELECT FROM borders)
                THEN 'Names: SELECT name FROM geosearch.borders ORDER BY name'
                ELSE 'No borders are loaded. Run: geosearch borders load'
            END;
    END IF;
    RETURN area;
END
$$;

COMMENT ON FUNCTION geosearch.border(text) IS
    'Area of a country or region by name, alias or ISO code, for the parameter `within`.';
