-- The densest mode of points as an aggregate. The state is an array: the bandwidth, then latitude,
-- longitude and weight of each point.

CREATE FUNCTION geosearch.kde_mode_add(
    state float8[], geom geometry, VARIADIC weight_and_bandwidth_km float8[]
)
RETURNS float8[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    weight CONSTANT float8 := weight_and_bandwidth_km[1];
    bandwidth_km CONSTANT float8 := weight_and_bandwidth_km[2];
BEGIN
    IF cardinality(weight_and_bandwidth_km) > 2 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'kde_mode has too many arguments',
            HINT = 'Give a point, its weight and a bandwidth in km.';
    ELSIF state IS NULL THEN
        state := ARRAY[bandwidth_km];
    ELSIF state[1] IS DISTINCT FROM bandwidth_km THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('kde_mode: bandwidths of %s and %s km in one group', state[1], bandwidth_km),
            HINT = 'Give one for all rows.';
    END IF;
    IF geom IS NULL OR weight IS NULL OR ST_IsEmpty(geom) THEN
        RETURN state;
    ELSIF NOT (weight >= 0 AND weight < 'Infinity') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('kde_mode: a weight of %s', weight),
            HINT = 'Give numbers, 0 or more.';
    END IF;
    geom := geosearch.wgs84_point(geom, 'kde_mode: a point');
    state := array_append(state, ST_Y(geom));
    state := array_append(state, ST_X(geom));
    state := array_append(state, weight);
    RETURN state;
END
$$;

COMMENT ON FUNCTION geosearch.kde_mode_add(float8[], geometry, float8[]) IS
    'Adds a point; for geosearch.kde_mode.';

CREATE FUNCTION geosearch.kde_mode_add(state float8[], geom geometry) RETURNS float8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN geosearch.kde_mode_add(state, geom, 1);

COMMENT ON FUNCTION geosearch.kde_mode_add(float8[], geometry) IS
    'Adds a point of weight 1; for geosearch.kde_mode.';

CREATE FUNCTION geosearch.kde_mode_of(state float8[]) RETURNS geometry(Point, 4326)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT ST_SetSRID(ST_MakePoint(m.lon, m.lat), 4326)
FROM (
    SELECT
        array_agg(state[i] ORDER BY i) AS lats,
        array_agg(state[i + 1] ORDER BY i) AS lons,
        array_agg(state[i + 2] ORDER BY i) AS weights
    FROM generate_series(2, cardinality(state), 3) AS i
) AS points
CROSS JOIN LATERAL geosearch.density_mode(lats, lons, weights, state[1]) AS m
WHERE m.lat IS NOT NULL;
END;

COMMENT ON FUNCTION geosearch.kde_mode_of(float8[]) IS 'The mode; for geosearch.kde_mode.';

CREATE AGGREGATE geosearch.kde_mode(
    geom geometry, VARIADIC weight_and_bandwidth_km float8[]
) (
    SFUNC = geosearch.kde_mode_add, STYPE = float8[], FINALFUNC = geosearch.kde_mode_of,
    PARALLEL = SAFE
);

CREATE AGGREGATE geosearch.kde_mode(geom geometry) (
    SFUNC = geosearch.kde_mode_add, STYPE = float8[], FINALFUNC = geosearch.kde_mode_of,
    PARALLEL = SAFE
);

COMMENT ON AGGREGATE geosearch.kde_mode(geometry) IS
    'Where points in WGS 84 are densest, all alike; NULL without points.';

COMMENT ON AGGREGATE geosearch.kde_mode(geometry, float8[]) IS
    'kde_mode(geom, weight) or kde_mode(geom, weight, bandwidth_km): where points in WGS 84 are '
    'densest, with kernels as wide as their spacing unless told otherwise; NULL without points.';
