-- Lines over the Earth as a map of degrees can draw them.

-- PostGIS divides a line along the great circle, which may jump from 180 to -180 degrees. A great
-- circle shorter than half the Earth crosses the antimeridian once at most: counted from 0 to 360
-- degrees it is in one piece, and is cut at 180. Between antipodes every way is the shortest, and
-- PostGIS has none; the one over the north pole is taken.
CREATE FUNCTION geosearch.great_circle_line(a geometry, b geometry) RETURNS geometry
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 5000
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
    SELECT ST_Multi(
        CASE
            WHEN ST_DistanceSphere(a, b) > 20015000 THEN
                ST_MakeLine(ARRAY[
                    a,
                    ST_SetSRID(ST_Point(ST_X(a), 90), 4326),
                    ST_SetSRID(ST_Point(ST_X(b), 90), 4326),
                    b
                ])
            WHEN abs(ST_X(a) - ST_X(b)) <= 180 THEN
                ST_Segmentize(ST_MakeLine(a, b)::geography, 100000)::geometry
            ELSE
                ST_WrapX(
                    ST_ShiftLongitude(
                        ST_Segmentize(ST_MakeLine(a, b)::geography, 100000)::geometry
                    ),
                    180,
                    -360
                )
        END
    )
$$;

COMMENT ON FUNCTION geosearch.great_circle_line(geometry, geometry) IS
    'The shortest way between two points (SRID 4326), with a vertex at least every 100 km, cut at '
    'the antimeridian: a MultiLineString.';
