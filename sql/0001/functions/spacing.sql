-- The bandwidth of neighbours that are given none: how far apart they lie.

CREATE FUNCTION geosearch.neighbour_spacing(lats float8[], lons float8[], weights float8[])
RETURNS float8
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 100000
SET search_path = pg_catalog, geosearch, pg_temp
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    narrowest CONSTANT float8 := 0.001;
    widest CONSTANT float8 := pi() * 6371;
    -- Checked before anything is computed of them.
    shares CONSTANT float8[] := kernel_shares(lats, lons, weights);
    -- The fifth nearest other neighbour; of few neighbours a quarter, at least one.
    others CONSTANT integer := greatest(1, least(5, cardinality(lats) / 4));
    xs float8[]; ys float8[]; zs float8[];
    chord float8;
BEGIN
    SELECT
        array_agg(cos(radians(lat)) * cos(radians(lon)) ORDER BY number),
        array_agg(cos(radians(lat)) * sin(radians(lon)) ORDER BY number),
        array_agg(sin(radians(lat)) ORDER BY number)
    INTO xs, ys, zs
    FROM (
        -- Smaller angles are zero, lest their squares underflow.
        SELECT
            CASE WHEN abs(lat) < 1e-20 THEN 0 ELSE lat END AS lat,
            CASE WHEN abs(lon) < 1e-20 THEN 0 ELSE lon END AS lon,
            number
        FROM unnest(lats, lons) WITH ORDINALITY AS n (lat, lon, number)
    ) AS places;
    SELECT apart INTO chord
    FROM (
        SELECT
            apart,
            sum(sqrt(share)) OVER (ORDER BY apart, number) AS lighter,
            sum(sqrt(share)) OVER () AS total
        FROM (
            SELECT
                number,
                share,
                (
                    SELECT sqrt(square)
                    FROM (
                        SELECT
                            (n.x - p.x) * (n.x - p.x) + (n.y - p.y) * (n.y - p.y)
                            + (n.z - p.z) * (n.z - p.z) AS square
                        FROM unnest(xs, ys, zs) AS n (x, y, z)
                    ) AS squares
                    ORDER BY square LIMIT 1 OFFSET others
                ) AS apart
            FROM unnest(xs, ys, zs, shares) WITH ORDINALITY AS p (x, y, z, share, number)
            WHERE share > 0
        ) AS spaced
    ) AS ranked
    -- Equal weights need not sum to their half to the last digit.
    WHERE lighter >= 0.5 * total * (1 - 1e-9)
    ORDER BY lighter LIMIT 1;
    RETURN least(widest, greatest(narrowest, 2 * 6371 * asin(least(1, coalesce(chord, 0) / 2))));
END
$$;

COMMENT ON FUNCTION geosearch.neighbour_spacing IS
    'How far neighbours at positions in degrees typically are from their fifth nearest other one, '
    'kilometres, at least 0.001: the bandwidth where none is given.';
