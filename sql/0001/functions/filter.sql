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
    not_photos bigint[]
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
    accuracy_m real, not_photos bigint[]
)
RETURNS geosearch.photo_filter
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    wanted photo_filter;
    problem text;
    remedy text;
    -- Metres of PostGIS's sphere, the mean radius of WGS 84, for a kilometre of ours.
    sphere_m CONSTANT float8 := (2 * 6378137.0 + 6356752.314245179) / 3 / 6371.0;
BEGIN
    within := wgs84(within, 'within');
    near := wgs84_point(near, 'near');
    IF GeometryType(within) NOT IN ('POLYGON', 'MULTIPOLYGON') OR ST_IsEmpty(within) THEN
        PERFORM refuse(
            format('within is %s %s', CASE WHEN ST_IsEmpty(within) THEN 'an empty' ELSE 'a' END,
                GeometryType(within)),
            'Give a Polygon or MultiPolygon with an area.'
        );
    ELSIF NOT ST_IsValid(within) THEN
        PERFORM refuse(
            'within is not valid: ' || ST_IsValidReason(within), 'Repair it with ST_MakeValid.'
        );
    ELSIF (near IS NULL) <> (near_km IS NULL) THEN
        PERFORM refuse(
            'near and near_km go together', 'Give a point in WGS 84 and a distance in kilometres.'
        );
    ELSIF NOT (near_km > 0 AND near_km <= 20016) THEN
        PERFORM refuse(
            format('near_km is %s', near_km), 'Give kilometres, at most half the globe, 20016.'
        );
    ELSIF taken_after >= taken_before THEN
        PERFORM refuse(
            format('taken_after %s is not earlier than taken_before %s', taken_after, taken_before),
            'Swap them, or leave one out.'
        );
    ELSIF 0 IN (cardinality(collections), cardinality(authors), cardinality(licences)) THEN
        PERFORM refuse(
            'collections, authors or licences is an empty array: nothing could pass',
            'Give at least one name, or leave it out.'
        );
    ELSIF NOT (accuracy_m >= 0 AND accuracy_m < 'Infinity') THEN
        PERFORM refuse(format('accuracy_m is %s', accuracy_m), 'Give metres, 0 or more.');
    END IF;

    SELECT format('there is no collection %L', name) INTO problem
    FROM unnest(collections) AS name
    WHERE NOT EXISTS (SELECT FROM collections AS c WHERE c.name = name.name);
    IF FOUND THEN
        SELECT 'Collections here: ' || coalesce(string_agg(name, ', ' ORDER BY name), 'none yet')
        INTO remedy
        FROM (SELECT name FROM collections ORDER BY name LIMIT 20) AS known;
        PERFORM refuse(problem, remedy);
    END IF;

    wanted.within := within;
    wanted.near := near::geography;
    wanted.near_m := near_km * sphere_m;
    wanted.taken_after := taken_after;
    wanted.taken_before := taken_before;
    wanted.collection_ids := (
        SELECT array_agg(id) FROM collections AS c WHERE c.name = ANY (make_filter.collections)
    );
    wanted.authors := authors;
    wanted.not_authors := nullif(not_authors, '{}');
    wanted.licences := licences;
    wanted.accuracy_m := accuracy_m;
    wanted.not_photos := nullif(not_photos, '{}');
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
        THEN '(photo_id = ANY (($2).not_photos)) IS NOT TRUE' END
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
        THEN 'ST_DWithin(geom::geography, ($2).near, ($2).near_m, false)' END
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
WITH area AS (
    SELECT ST_XMin(p.geom) AS west, ST_YMin(p.geom) AS south, ST_XMax(p.geom) AS east,
        ST_YMax(p.geom) AS north
    FROM ST_Dump(wanted.within) AS p
    UNION ALL
    SELECT -180, -90, 180, 90 WHERE wanted.within IS NULL
), circle AS (
    SELECT b.west, b.south, b.east, b.north
    FROM circle_boxes(
        ST_Y(wanted.near::geometry), ST_X(wanted.near::geometry),
        degrees(wanted.near_m / ((2 * 6378137.0 + 6356752.314245179) / 3))
    ) AS b
    WHERE wanted.near IS NOT NULL
    UNION ALL
    SELECT -180, -90, 180, 90 WHERE wanted.near IS NULL
)
SELECT array_agg(ARRAY[
    greatest(a.west, c.west), greatest(a.south, c.south), least(a.east, c.east), least(a.north, c.north)
])
FROM area AS a, circle AS c
WHERE a.west <= c.east AND c.west <= a.east AND a.south <= c.north AND c.south <= a.north
    AND num_nonnulls(wanted.within, wanted.near) > 0
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
        PERFORM refuse(
            format('there is no country or region %L', name),
            CASE
                WHEN EXISTS (SELECT FROM borders)
                THEN 'Names: SELECT name FROM geosearch.borders ORDER BY name'
                ELSE 'No borders are loaded. Run: geosearch borders load'
            END
        );
    END IF;
    RETURN area;
END
$$;

COMMENT ON FUNCTION geosearch.border(text) IS
    'Area of a country or region by name, alias or ISO code, for the parameter `within`.';
