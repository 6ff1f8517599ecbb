-- Distances on the sphere, and the errors all functions share.
--
-- The Earth is a sphere of 6371 km here, as everywhere in geosearch: errors of photo geolocation
-- are measured so. ST_Distance on geography measures on the spheroid instead, up to 0.5 % apart.

CREATE FUNCTION geosearch.refuse(message text, hint text) RETURNS float8
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = message, HINT = hint;
END
$$;

COMMENT ON FUNCTION geosearch.refuse(text, text) IS
    'Raises the error with a hint; for expressions that cannot raise by themselves.';

-- IMMUTABLE, or what calls it would not be inlined.
CREATE FUNCTION geosearch.refuse_positions(VARIADIC lats_and_lons float8[]) RETURNS float8
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    RETURN refuse(
        concat('not on the Earth: ', array_to_string(lats_and_lons, ', ', 'NULL')),
        'Latitudes are -90 to 90, longitudes -180 to 180, in degrees.'
    );
END
$$;

COMMENT ON FUNCTION geosearch.refuse_positions(float8[]) IS
    'Raises the error that positions in degrees are not on the Earth.';

-- The haversine formula with the haversine of the antipode as its complement, so that nearly equal
-- and nearly antipodal points are both accurate to rounding. + 1 - 1 makes 0 of what is next to it:
-- PostgreSQL refuses to multiply what underflows. Bodies after RETURN are parsed here and now: they
-- depend on no search_path, and are inlined into the queries that call them: not if they are STRICT,
-- which CASE is not, or called with less than a column or a variable.
CREATE FUNCTION geosearch.great_circle_km(lat1 float8, lon1 float8, lat2 float8, lon2 float8)
RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 5
RETURN CASE
    WHEN abs(lat1) > 90 OR abs(lat2) > 90 OR abs(lon1) > 180 OR abs(lon2) > 180
    THEN geosearch.refuse_positions(lat1, lon1, lat2, lon2)
    ELSE 2 * 6371.0::float8 * atan2(
        sqrt(
            sin(radians(lat2 - lat1 + 1 - 1) / 2) ^ 2
            + cos(radians(lat1 + 1 - 1)) * cos(radians(lat2 + 1 - 1))
            * sin(radians(lon2 - lon1 + 1 - 1) / 2) ^ 2
        ),
        sqrt(
            sin(radians(lat2 + lat1 + 1 - 1) / 2) ^ 2
            + cos(radians(lat1 + 1 - 1)) * cos(radians(lat2 + 1 - 1))
            * cos(radians(lon2 - lon1 + 1 - 1) / 2) ^ 2
        )
    )
END;

COMMENT ON FUNCTION geosearch.great_circle_km(float8, float8, float8, float8) IS
    'Great-circle distance in kilometres between points in degrees, on a sphere of 6371 km.';

-- Every geometry that a user gives comes through here. One without an SRID, as ST_MakePoint makes
-- it, is taken as longitude and latitude.
CREATE FUNCTION geosearch.wgs84(geom geometry, name text) RETURNS geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    srid CONSTANT integer := ST_SRID(geom);
    -- NaN is greater than all numbers. That of one corner among several shows in ST_IsValid alone.
    beyond CONSTANT boolean := ST_XMin(geom) < -180 OR ST_XMax(geom) > 180
        OR ST_YMin(geom) < -90 OR ST_YMax(geom) > 90;
BEGIN
    IF srid NOT IN (0, 4326) OR srid = 0 AND beyond THEN
        RAISE invalid_parameter_value USING
            MESSAGE = CASE srid
                WHEN 0 THEN format('%s has no SRID and is beyond the Earth: %s', name, Box2D(geom))
                ELSE format('%s is in SRID %s', name, srid)
            END,
            HINT = 'Give it in WGS 84: ST_Transform(geom, 4326), or ST_SetSRID(geom, 4326) if it is.';
    ELSIF beyond THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s reaches beyond the Earth: %s', name, Box2D(geom)),
            HINT = 'Coordinates are longitude, latitude in degrees; cut polygons at 180 degrees.';
    END IF;
    RETURN ST_SetSRID(geom, 4326);
END
$$;

COMMENT ON FUNCTION geosearch.wgs84(geometry, text) IS
    'A geometry in SRID 4326, also of one without an SRID; `name` is what an error calls it.';

CREATE FUNCTION geosearch.wgs84_point(geom geometry, name text) RETURNS geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
BEGIN
    IF GeometryType(geom) <> 'POINT' OR ST_IsEmpty(geom) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format(
                '%s is %s %s', name, CASE WHEN ST_IsEmpty(geom) THEN 'an empty' ELSE 'a' END,
                GeometryType(geom)
            ),
            HINT = 'Give a point, for example ST_Point(8.54, 47.37, 4326): longitude, latitude.';
    END IF;
    RETURN wgs84(geom, name);
END
$$;

COMMENT ON FUNCTION geosearch.wgs84_point(geometry, text) IS 'As geosearch.wgs84, of a point alone.';

CREATE FUNCTION geosearch.great_circle_km(a geometry, b geometry) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10
RETURN CASE
    WHEN ST_SRID(a) = 4326 AND ST_SRID(b) = 4326
        AND GeometryType(a) = 'POINT' AND GeometryType(b) = 'POINT'
    THEN geosearch.great_circle_km(ST_Y(a), ST_X(a), ST_Y(b), ST_X(b))
    ELSE geosearch.great_circle_km(
        ST_Y(geosearch.wgs84_point(a, 'great_circle_km: a point')),
        ST_X(geosearch.wgs84_point(a, 'great_circle_km: a point')),
        ST_Y(geosearch.wgs84_point(b, 'great_circle_km: a point')),
        ST_X(geosearch.wgs84_point(b, 'great_circle_km: a point'))
    )
END;

COMMENT ON FUNCTION geosearch.great_circle_km(geometry, geometry) IS
    'Great-circle distance in kilometres between points in WGS 84, on a sphere of 6371 km.';
