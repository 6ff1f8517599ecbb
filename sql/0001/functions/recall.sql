-- What was measured of a model's index (tables tunings and recall_points): the recall of the first
-- so many neighbours by search setting, and what searches cost. docs/retrieval.md says how.

-- Between the measured ranks, recall goes with the logarithm of the rank; beyond them it is 0.
CREATE FUNCTION geosearch.recall_curve(model_id bigint, rank integer)
RETURNS TABLE (ef_search integer, recall float8, ms float8)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 11
BEGIN ATOMIC
SELECT
    ef_search,
    CASE
        WHEN recall_above IS NULL THEN 0
        WHEN rank_above = rank_below THEN recall_above
        ELSE
            recall_below + (recall_above - recall_below)
            * (ln(recall_curve.rank::float8) - ln(rank_below::float8))
            / (ln(rank_above::float8) - ln(rank_below::float8))
    END,
    ms
FROM (
    SELECT
        p.ef_search,
        min(p.ms) AS ms,
        max(p.rank) FILTER (WHERE p.rank <= recall_curve.rank) AS rank_below,
        min(p.rank) FILTER (WHERE p.rank >= recall_curve.rank) AS rank_above,
        (array_agg(p.recall ORDER BY p.rank DESC) FILTER (WHERE p.rank <= recall_curve.rank))[1]
            AS recall_below,
        (array_agg(p.recall ORDER BY p.rank) FILTER (WHERE p.rank >= recall_curve.rank))[1]
            AS recall_above
    FROM geosearch.tunings AS t
    JOIN geosearch.recall_points AS p ON p.tuning_id = t.id
    WHERE t.model_id = recall_curve.model_id
    GROUP BY p.ef_search
) AS points;
END;

COMMENT ON FUNCTION geosearch.recall_curve(bigint, integer) IS
    'Recall of the first `rank` neighbours, and milliseconds of a search, by hnsw.ef_search, as '
    'geosearch index measured them.';

-- The least setting that finds the first `rank` neighbours at the recall the index was tuned for,
-- and the time it takes; NULL where none does. Without a measurement, a careful rule of thumb.
CREATE FUNCTION geosearch.search_setting(
    model_id bigint, target float8, rank integer, OUT ef_search integer, OUT ms float8
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    IF rank > 1000 THEN
        RETURN;
    ELSIF target IS NULL THEN
        ef_search := least(1000, greatest(2 * rank, 200));
        ms := 0.01 * ef_search;
    ELSE
        SELECT c.ef_search, c.ms INTO ef_search, ms
        FROM recall_curve(model_id, rank) AS c
        WHERE c.ef_search >= rank AND c.recall >= target
        ORDER BY c.ef_search LIMIT 1;
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.search_setting(bigint, float8, integer) IS
    'The least hnsw.ef_search that finds the first `rank` neighbours at a recall, and its '
    'milliseconds; NULL where none does.';
