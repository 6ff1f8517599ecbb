-- Where a position is, in words: the one place that chooses them.

CREATE FUNCTION geosearch.initial_bearing(a geometry, b geometry) RETURNS float8
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    -- + 1 - 1 as in great_circle_km.
    lat1 CONSTANT float8 := radians(ST_Y(wgs84_point(a, 'initial_bearing: a point')) + 1 - 1);
    lat2 CONSTANT float8 := radians(ST_Y(wgs84_point(b, 'initial_bearing: a point')) + 1 - 1);
    east CONSTANT float8 := radians(ST_X(b) - ST_X(a) + 1 - 1);
BEGIN
    RETURN (degrees(atan2(
        sin(east) * cos(lat2), cos(lat1) * sin(lat2) - sin(lat1) * cos(lat2) * cos(east)
    )) + 360)::numeric % 360;
END
$$;

COMMENT ON FUNCTION geosearch.initial_bearing(geometry, geometry) IS
    'Direction in which the great circle from a to b starts, degrees clockwise from north.';

-- By the bounds of the largest piece of land: a third of them on either side is an end of it.
CREATE FUNCTION geosearch.part_of(area geometry, spot geometry, radius_km float8) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000
SET search_path = pg_catalog, geosearch, public, pg_temp
RETURN (
    WITH bounds AS (
        SELECT ST_XMin(piece.geom) AS west, ST_XMax(piece.geom) AS east,
            ST_YMin(piece.geom) AS south, ST_YMax(piece.geom) AS north
        FROM ST_Dump(area) AS piece
        ORDER BY ST_Area(piece.geom) DESC
        LIMIT 1
    ), middle AS (
        -- Half the extent in kilometres, and how far out of the middle, from -1 to 1.
        SELECT (east - west) / 2 * 111.2 * cos(radians((south + north) / 2)) AS width,
            (north - south) / 2 * 111.2 AS height,
            (ST_X(spot) - (west + east) / 2) / ((east - west) / 2) AS x,
            (ST_Y(spot) - (south + north) / 2) / ((north - south) / 2) AS y
        FROM bounds, geosearch.wgs84_point(part_of.spot, 'part_of: a position') AS spot
        WHERE east - west < 180
    ), side AS (
        SELECT
            CASE WHEN height > greatest(radius_km, width / 2)
                THEN CASE WHEN y > 1.0 / 3 THEN 'north' WHEN y < -1.0 / 3 THEN 'south' END END AS y,
            CASE WHEN width > greatest(radius_km, height / 2)
                THEN CASE WHEN x > 1.0 / 3 THEN 'east' WHEN x < -1.0 / 3 THEN 'west' END END AS x
        FROM middle
        WHERE abs(x) <= 1 AND abs(y) <= 1
    )
    SELECT coalesce(nullif(concat_ws('-', y, x), '') || 'ern ', 'central ') FROM side
);

COMMENT ON FUNCTION geosearch.part_of(geometry, geometry, float8) IS
    'The part of a country that a position is in, such as "northern "; NULL where none can be named.';

CREATE FUNCTION geosearch.country_at(spot geometry) RETURNS SETOF geosearch.borders
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE ROWS 1 COST 1000
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    -- Borders are coarse: a position so near to a country, in degrees, is in it.
    coast CONSTANT float8 := 0.05;
    here CONSTANT geometry := wgs84_point(spot, 'country_at: a position');
BEGIN
    RETURN QUERY SELECT b.* FROM borders AS b
    WHERE b.kind = 'country' AND ST_Intersects(b.geom, here)
    ORDER BY b.id LIMIT 1;
    IF NOT FOUND THEN
        RETURN QUERY SELECT b.* FROM borders AS b
        WHERE b.kind = 'country' AND ST_DWithin(b.geom, here, coast)
        ORDER BY ST_Distance(b.geom, here), b.id LIMIT 1;
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.country_at(geometry) IS
    'The country that a position is in, or next to, as a row of borders.';

-- A town counts for more the larger and the nearer it is; how near matters less where the
-- position is uncertain. Those of another country, which a reader would not expect, count less.
CREATE FUNCTION geosearch.town_at(spot geometry, home text, radius_km float8)
RETURNS TABLE (
    name text, admin1 text, country text, iso_a2 text, geom geometry, km float8, reach_km float8
)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1 COST 10000
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    here CONSTANT geometry := wgs84_point(spot, 'town_at: a position');
BEGIN
    RETURN QUERY SELECT found.name, found.admin1, found.country, found.iso_a2, found.geom, found.km,
        -- By 3,000 people per square kilometre: what population makes of the size of a town.
        greatest(sqrt(found.population / 3000::float8 / pi()), 1)
    FROM (
        SELECT p.*, great_circle_km(p.geom, here) AS km
        FROM (
            (SELECT * FROM places AS p
            ORDER BY p.geom::geography <-> here::geography LIMIT 20)
            UNION
            (SELECT * FROM places AS p WHERE p.population >= 100000
            ORDER BY p.geom::geography <-> here::geography LIMIT 8)
            UNION
            (SELECT * FROM places AS p WHERE p.population >= 1000000
            ORDER BY p.geom::geography <-> here::geography LIMIT 4)
        ) AS p
    ) AS found
    ORDER BY (found.population + 1000) ^ 0.12 / (found.km + greatest(radius_km, 2))
        * CASE WHEN found.iso_a2 <> home THEN 0.3 ELSE 1 END DESC, found.id
    LIMIT 1;
END
$$;

COMMENT ON FUNCTION geosearch.town_at(geometry, text, float8) IS
    'The town by which one names a position in a country (ISO 3166-1 alpha-2) that is known within '
    'a radius in kilometres: how far it is, and how far it reaches.';

CREATE FUNCTION geosearch.place_name(geom geometry, radius_km float8 DEFAULT 0) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 10000
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    compass CONSTANT text[] := '{N, NE, E, SE, S, SW, W, NW}';
    -- Within so many kilometres of a position there is a town to speak of, ...
    near CONSTANT float8 := 300;
    -- ... and an answer less sure than this is about a part of a country, ...
    region CONSTANT float8 := 150;
    -- ... or of a continent, or of the world.
    wide CONSTANT float8 := 1500;
    radius CONSTANT float8 := coalesce(greatest(radius_km, 0), 0);
    spot geometry;
    country record;
    town record;
    home text;
BEGIN
    IF ST_SRID(geom) IN (0, 4326) THEN
        spot := ST_SetSRID(geom, 4326);
    ELSIF EXISTS (SELECT FROM spatial_ref_sys WHERE srid = ST_SRID(geom)) THEN
        spot := ST_Transform(geom, 4326);
    END IF;
    IF GeometryType(spot) <> 'POINT' THEN
        spot := ST_Centroid(spot);
    END IF;
    IF (ST_X(spot) BETWEEN -180 AND 180 AND ST_Y(spot) BETWEEN -90 AND 90) IS NOT TRUE THEN
        RETURN NULL;
    END IF;
    -- Next to nothing, squared, is less than a float8 can hold.
    spot := ST_SetSRID(ST_Point(round(ST_X(spot)::numeric, 9), round(ST_Y(spot)::numeric, 9)), 4326);

    SELECT * INTO country FROM country_at(spot);
    SELECT * INTO town FROM town_at(spot, country.iso_a2, radius);

    home := concat_ws(
        ', ',
        CASE WHEN town.admin1 <> town.name AND NOT starts_with(town.country, town.admin1)
            THEN town.admin1 END,
        town.country
    );
    IF country.id IS NOT NULL AND (
        radius >= region OR (town.km > greatest(near, radius)) IS NOT FALSE
    ) THEN
        IF radius >= wide THEN
            RETURN 'around ' || coalesce(
                CASE WHEN radius < 2 * wide THEN country.subregion END, country.continent, country.name
            );
        ELSIF radius > 111.2 * sqrt(
            ST_Area(country.geom)
            * cos(radians((ST_YMin(country.geom) + ST_YMax(country.geom)) / 2)) / pi()
        ) THEN
            RETURN 'around ' || country.name;
        END IF;
        RETURN coalesce(
            part_of(country.geom, spot, radius) || country.name,
            CASE WHEN town.km <= near THEN home END,
            country.name
        );
    ELSIF town.km <= greatest(town.reach_km, radius) THEN
        RETURN CASE WHEN radius <= 2 * town.reach_km THEN 'in ' ELSE 'around ' END
            || town.name || ', ' || home;
    END IF;
    RETURN format(
        '%s%s km %s of %s, %s',
        CASE WHEN country.id IS NULL THEN 'at sea, ' END,
        to_char(town.km, 'FM999,990'),
        compass[1 + round(initial_bearing(town.geom, spot) / 45)::int % 8],
        town.name,
        town.country
    );
END
$$;

COMMENT ON FUNCTION geosearch.place_name(geometry, float8) IS
    'Where a position is, e.g. "23 km SW of Al Ubaylah, Saudi Arabia"; in words that fit the radius '
    'in kilometres within which it is known. Place names: GeoNames, CC BY 4.0.';
