-- What was measured of a model's index (tables tunings and recall_points): the recall of the first
-- so many neighbours by search setting, and what searches cost. docs/retrieval.md says how.

-- Between the measured ranks, recall goes with the logarithm of the rank; beyond them it is 0, and
-- no row is given.
CREATE FUNCTION geosearch.recall_curve(tuning bigint, rank integer)
RETURNS TABLE (ef_search integer, recall float8, ms float8)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 11
BEGIN ATOMIC
SELECT
    ef_search,
    part * recall + (1 - part) * coalesce(recall_below, 0),
    ms
FROM (
    SELECT
        *,
        CASE WHEN rank_below IS NULL THEN 1
            ELSE ln(recall_curve.rank::float8 / rank_below) / ln(rank_above::float8 / rank_below)
        END AS part
    FROM (
        SELECT
            p.ef_search, p.ms, p.recall, p.rank AS rank_above,
            lag(p.rank) OVER by_rank AS rank_below,
            lag(p.recall) OVER by_rank AS recall_below
        FROM geosearch.recall_points AS p
        WHERE p.tuning_id = recall_curve.tuning
        WINDOW by_rank AS (PARTITION BY p.ef_search ORDER BY p.rank)
    ) AS points
    WHERE recall_curve.rank <= rank_above
        AND (recall_curve.rank > rank_below OR rank_below IS NULL)
) AS here;
END;

COMMENT ON FUNCTION geosearch.recall_curve(bigint, integer) IS
    'Recall of the first `rank` neighbours, and milliseconds of a search, by hnsw.ef_search, as '
    'geosearch index measured them.';
