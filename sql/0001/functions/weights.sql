-- How much each neighbour counts: weights that fall with the distance of the embeddings.

CREATE FUNCTION geosearch.neighbour_weights(distances float8[], weighting text DEFAULT 'power:10')
RETURNS float8[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    scheme CONSTANT text := split_part(weighting, ':', 1);
    given CONSTANT text := substr(weighting, length(scheme) + 2);
    number CONSTANT text := '^(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?$';
    parameter float8;
    nearest float8;
BEGIN
    IF weighting IS NULL OR scheme NOT IN ('power', 'softmax', 'uniform')
        OR weighting <> scheme AND (scheme = 'uniform' OR given !~ number OR given !~ '[1-9]')
    THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('no neighbour weighting is called %L', weighting),
            HINT = 'Use power:N, softmax:T (with N and T positive) or uniform, for example power:10.';
    END IF;
    parameter := CASE
        WHEN given <> '' THEN given::float8 WHEN scheme = 'power' THEN 10 ELSE 0.05
    END;
    IF EXISTS (SELECT FROM unnest(distances) AS d WHERE (d > '-Infinity' AND d <= 1e9) IS NOT TRUE)
    THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'distances are ' || left(array_to_string(distances, ', ', 'NULL'), 80),
            HINT = 'Give numbers, such as the cosine distances of geosearch.nearest.';
    END IF;
    -- Embeddings of half precision may come out a rounding error below zero apart.
    SELECT greatest(min(distance), 0) INTO nearest FROM unnest(distances) AS distance;

    -- Beside the nearest's, so that nothing overflows; below e^-690 any number is as good as 0.
    RETURN (
        SELECT array_agg(share / total ORDER BY rank)
        FROM (
            SELECT rank, share, sum(share) OVER () AS total
            FROM unnest(distances) WITH ORDINALITY AS neighbour (distance, rank)
            CROSS JOIN LATERAL (
                SELECT CASE
                    WHEN scheme = 'uniform' THEN 1
                    WHEN scheme = 'softmax'
                    THEN exp(greatest(-690, (nearest - greatest(distance, 0)) / parameter))
                    -- The limit of the formula: neighbours at distance 0 share all the weight.
                    WHEN nearest = 0 THEN (distance <= 0)::integer
                    ELSE exp(greatest(-690, parameter * ln(nearest / distance)))
                END AS share
            ) AS scheme_s
        ) AS shares
    );
END
$$;

COMMENT ON FUNCTION geosearch.neighbour_weights(float8[], text) IS
    'Weights, summing to 1, of neighbours at cosine distances: power:N is (2d)^-N, softmax:T is '
    'exp(-d/T), uniform is the same for all.';
