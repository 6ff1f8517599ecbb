-- Checks of kernels: their bandwidth, positions and weights. And what lies between given points.

CREATE FUNCTION geosearch.usable_bandwidth(km float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN km BETWEEN 0.001 AND pi() * 6371 THEN km
    ELSE geosearch.refuse(
        'a bandwidth of ' || coalesce(km::text, 'NULL') || ' km cannot be used',
        'Give one between 0.001 and 20015 km.'
    )
END;

COMMENT ON FUNCTION geosearch.usable_bandwidth(float8) IS
    'The bandwidth, or an error if it is out of range.';

CREATE FUNCTION geosearch.usable_levels(levels float8[]) RETURNS float8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN NOT EXISTS (SELECT FROM unnest(levels) AS p WHERE (p > 0 AND p < 1) IS NOT TRUE)
        AND levels IS NOT NULL
    THEN levels
    ELSE ARRAY[geosearch.refuse(
        'levels are ' || coalesce(array_to_string(levels, ', ', 'NULL'), 'NULL'),
        'Give shares of the density above 0 and below 1, for example 0.5 and 0.9.'
    )]
END;

COMMENT ON FUNCTION geosearch.usable_levels(float8[]) IS
    'The levels, or an error if one is out of range.';

-- Checks kernels at positions in degrees, and makes their weights sum to 1.
CREATE FUNCTION geosearch.kernel_shares(lats float8[], lons float8[], weights float8[])
RETURNS float8[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    heaviest CONSTANT float8 := (SELECT max(w) FROM unnest(weights) AS w);
    wrong record;
BEGIN
    SELECT lat, lon, w INTO wrong
    FROM unnest(lats, lons, weights) AS kernel (lat, lon, w)
    WHERE (abs(lat) <= 90 AND abs(lon) <= 180 AND w >= 0 AND w <= 1e100) IS NOT TRUE
    LIMIT 1;
    IF FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format(
                'a kernel at latitude %s, longitude %s has a weight of %s', coalesce(wrong.lat::text,
                'NULL'), coalesce(wrong.lon::text, 'NULL'), coalesce(wrong.w::text, 'NULL')
            ),
            HINT = 'Give as many latitudes, -90 to 90, longitudes, -180 to 180, and weights, 0 to 1e100.';
    ELSIF heaviest < 1e-100 AND heaviest > 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('the largest weight is %s', heaviest),
            HINT = 'Give 0, or 1e-100 to 1e100.';
    END IF;
    -- The lightest would underflow.
    RETURN (
        WITH shares AS (
            SELECT number, CASE WHEN w > heaviest / 1e40 THEN w / heaviest ELSE 0 END AS share
            FROM unnest(weights) WITH ORDINALITY AS kernel (w, number)
        )
        SELECT array_agg(share / total ORDER BY number)
        FROM shares, (SELECT sum(share) AS total FROM shares) AS sums
        WHERE total > 0
    );
END
$$;

COMMENT ON FUNCTION geosearch.kernel_shares IS
    'The weights of kernels at positions in degrees, summing to 1; NULL without weight. Refuses what '
    'is not on the Earth or no weight.';

CREATE FUNCTION geosearch.interpolated(x float8, xs float8[], ys float8[]) RETURNS float8
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at CONSTANT integer := (
        SELECT coalesce(max(number), 0) FROM unnest(xs) WITH ORDINALITY AS p (x, number)
        WHERE p.x <= interpolated.x
    );
BEGIN
    RETURN CASE
        WHEN at = 0 OR at = cardinality(xs) THEN ys[greatest(at, 1)]
        WHEN xs[at + 1] > xs[at]
        THEN ys[at] + (ys[at + 1] - ys[at]) * (x - xs[at]) / (xs[at + 1] - xs[at])
        ELSE ys[at + 1]
    END;
END
$$;

COMMENT ON FUNCTION geosearch.interpolated(float8, float8[], float8[]) IS
    'The y at x on the line through points in ascending order of x; that of the end beyond one.';
