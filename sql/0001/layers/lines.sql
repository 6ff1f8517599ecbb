-- Lines over the Earth as a map of degrees can draw them. On the sphere, as all distances here:
-- PostGIS would divide a line on the spheroid, and cut it at the antimeridian where the chord of
-- degrees between two vertices is, which near a pole is far from the way.

CREATE FUNCTION geosearch.great_circle_arc(lat1 float8, lon1 float8, lat2 float8, lon2 float8)
RETURNS geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 2000
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    angle CONSTANT float8 := great_circle_km(lat1, lon1, lat2, lon2) / 6371;
    steps CONSTANT integer := greatest(1, ceil(angle * 63.71));
    -- Beside the antimeridian rounding may give a vertex the longitude of the other side.
    side CONSTANT integer := CASE WHEN lon1 + lon2 < 0 THEN -1 ELSE 1 END;
    x1 CONSTANT float8 := cos(radians(lat1)) * cos(radians(lon1));
    y1 CONSTANT float8 := cos(radians(lat1)) * sin(radians(lon1));
    z1 CONSTANT float8 := sin(radians(lat1));
    x2 CONSTANT float8 := cos(radians(lat2)) * cos(radians(lon2));
    y2 CONSTANT float8 := cos(radians(lat2)) * sin(radians(lon2));
    z2 CONSTANT float8 := sin(radians(lat2));
BEGIN
    RETURN ST_SetSRID(
        ST_MakeLine(ST_Point(lon1, lat1) || ARRAY(
            SELECT ST_Point(
                CASE WHEN abs(lon) > 179.999 THEN side * abs(lon) ELSE lon END,
                degrees(atan2(a * z1 + b * z2, |/ (x ^ 2 + y ^ 2)))
            )
            FROM generate_series(1, steps - 1) AS step,
                LATERAL (SELECT sin(angle * (steps - step) / steps), sin(angle * step / steps))
                    AS weights (a, b),
                LATERAL (SELECT a * x1 + b * x2, a * y1 + b * y2) AS vertex (x, y),
                LATERAL (SELECT degrees(atan2(y, x))) AS place (lon)
        ) || ST_Point(lon2, lat2)),
        4326
    );
END
$$;

COMMENT ON FUNCTION geosearch.great_circle_arc(float8, float8, float8, float8) IS
    'The shortest way between two positions in degrees, with a vertex at least every 100 km, as one '
    'LineString: for a way that does not cross the antimeridian.';

-- A great circle shorter than half the Earth crosses the antimeridian once at most. Between
-- antipodes every way is the shortest; the one over the north pole is taken.
CREATE FUNCTION geosearch.great_circle_line(a geometry, b geometry) RETURNS geometry
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 5000
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    -- PostgreSQL refuses to square what underflows; to all other degrees this adds nothing.
    tiny CONSTANT float8 := 1e-30;
    lat1 CONSTANT float8 := ST_Y(wgs84_point(a, 'great_circle_line: a point')) + tiny;
    lat2 CONSTANT float8 := ST_Y(wgs84_point(b, 'great_circle_line: a point')) + tiny;
    -- An end on the antimeridian has two longitudes: the one on the side of the other end.
    lon1 CONSTANT float8 := CASE
        WHEN abs(ST_X(a)) < 180 THEN ST_X(a) + tiny ELSE CASE WHEN ST_X(b) < 0 THEN -180 ELSE 180 END
    END;
    lon2 CONSTANT float8 := CASE
        WHEN abs(ST_X(b)) < 180 THEN ST_X(b) + tiny ELSE CASE WHEN lon1 < 0 THEN -180 ELSE 180 END
    END;
    -- How far the ends are from the plane of the antimeridian, each to weigh the other with: in that
    -- plane is the point where the way crosses it.
    weight1 CONSTANT float8 := abs(cos(radians(lat2)) * sin(radians(lon2)));
    weight2 CONSTANT float8 := abs(cos(radians(lat1)) * sin(radians(lon1)));
    crossing CONSTANT float8 := degrees(atan2(
        weight1 * sin(radians(lat1)) + weight2 * sin(radians(lat2)),
        - weight1 * cos(radians(lat1)) * cos(radians(lon1))
            - weight2 * cos(radians(lat2)) * cos(radians(lon2))
    ));
BEGIN
    -- Seven metres from the antipode, where the way over the pole is as short as any.
    IF great_circle_km(lat1, lon1, lat2, lon2) > 20015.08 THEN
        RETURN ST_Multi(ST_SetSRID(
            ST_MakeLine(ARRAY[
                ST_Point(lon1, lat1), ST_Point(lon1, 90), ST_Point(lon2, 90), ST_Point(lon2, lat2)
            ]),
            4326
        ));
    ELSIF abs(lon1 - lon2) <= 180 THEN
        RETURN ST_Multi(great_circle_arc(lat1, lon1, lat2, lon2));
    END IF;
    RETURN ST_Collect(
        great_circle_arc(lat1, lon1, crossing, 180 * sign(lon1)),
        great_circle_arc(crossing, 180 * sign(lon2), lat2, lon2)
    );
END
$$;

COMMENT ON FUNCTION geosearch.great_circle_line(geometry, geometry) IS
    'The shortest way between two points (SRID 4326), with a vertex at least every 100 km, cut at '
    'the antimeridian: a MultiLineString.';
