-- How a search for neighbours runs, exactly or by the index: the one place of the rule that
-- docs/retrieval.md describes. geosearch.nearest and the Python library both ask it.

CREATE FUNCTION geosearch.search_rule(
    OUT few_least integer,    -- bounds of how many matching photos are compared at once,
    OUT few_most integer,
    OUT few_searches float8,  -- which may take the time of so many searches by the index
    OUT places integer,       -- photos whose places say how many may pass a filter of places,
    OUT sample integer,       -- and photos of which any filter is asked
    OUT margin float8,        -- candidates per neighbour beyond the share of matches
    OUT gamble float8,        -- share of exact search's time that an index search is worth that may
    OUT good_gamble float8,   -- come back short, and where most photos like the query pass,
    OUT most float8,          -- which is so many,
    OUT probe integer,        -- of so many; unless most of all photos pass
    OUT leaf_gamble float8,   -- and that a search of leaves may cost;
    OUT deeper integer,       -- a leaf that was not searched deep enough is again, so much deeper,
    OUT deepest integer       -- but not beyond so many candidates
)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT
    500 AS few_least,
    10000 AS few_most,
    2::float8 AS few_searches,
    500 AS places,
    150 AS sample,
    1.15::float8 AS margin,
    0.15::float8 AS gamble,
    0.6::float8 AS good_gamble,
    0.7::float8 AS most,
    10 AS probe,
    0.7::float8 AS leaf_gamble,
    4 AS deeper,
    800 AS deepest;
END;

COMMENT ON FUNCTION geosearch.search_rule() IS
    'The numbers of the rule by which a search runs exactly or by the index.';

CREATE FUNCTION geosearch.rows_of(embeddings text) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    known CONSTANT regclass := to_regclass(format('geosearch.%I', embeddings));
    total bigint := (SELECT c.reltuples FROM pg_class AS c WHERE c.oid = known);
BEGIN
    IF total <= 0 THEN  -- never analysed
        EXECUTE format('SELECT count(photo_id) FROM %s', known) INTO total;
    END IF;
    RETURN coalesce(total, 0);
END
$$;

COMMENT ON FUNCTION geosearch.rows_of(text) IS 'Rows of a table of embeddings, estimated.';

CREATE FUNCTION geosearch.search_facts(
    model_id bigint,
    OUT dimension integer,
    OUT total bigint,        -- embeddings, estimated
    OUT private bigint[],    -- shelves beside the open one, whose index this is, that the caller may
                             -- read: these are compared
    OUT index_name text,     -- of a valid index, else NULL
    OUT index_file bigint,
    OUT quantized boolean,   -- the index is over signs: its candidates are to be ranked again
    OUT index_definition text,
    OUT tuning bigint,       -- what was measured of an index built in this way, else NULL
    OUT leaves boolean       -- there are leaves that were measured
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    name CONSTANT text := format('embeddings_m%s', model_id);
BEGIN
    dimension := (SELECT m.dimension FROM models AS m WHERE m.id = model_id);
    IF dimension IS NULL THEN
        RETURN;
    END IF;
    total := rows_of(name);
    private := private_shelves();
    SELECT c.relname, pg_relation_filenode(c.oid), dimension > 4000, pg_get_indexdef(c.oid)
    INTO index_name, index_file, quantized, index_definition
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE i.indexrelid = to_regclass(format('geosearch.%s_hnsw', name)) AND i.indisvalid;
    -- REINDEX and a restored backup build it again in the same way, of the same rows. Of an index
    -- that was built in another way nothing is known.
    tuning := (
        SELECT t.id FROM tunings AS t
        WHERE t.model_id = search_facts.model_id AND t.family IS NULL
            AND t.index_definition = search_facts.index_definition
    );
    leaves := EXISTS (
        SELECT FROM tunings AS t
        WHERE t.model_id = search_facts.model_id AND t.family IS NOT NULL
    );
END
$$;

COMMENT ON FUNCTION geosearch.search_facts(bigint) IS
    'What the plan of a search rests on: a model''s dimension, embeddings, index and measurements.';

-- Facts are kept for a moment, and every search asks in its own statement whether they still are:
-- which shelves there are, which of them the caller may read, the file of the index. Only the first
-- is asked of a table: PostgreSQL's caches learn of a commit a little after its rows are seen.
CREATE FUNCTION geosearch.watch_facts(model_id bigint) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    index CONSTANT regclass := to_regclass(format('geosearch.embeddings_m%s_hnsw', model_id));
BEGIN
    RETURN (
        SELECT format(
            '(SELECT %s FROM geosearch.shelf_changes AS s)', string_agg(condition, ' AND ')
        )
        FROM (
            SELECT format('s.number = %s', s.number) FROM geosearch.shelf_changes AS s
            UNION ALL
            SELECT format(
                'pg_catalog.pg_relation_filenode(%s) = %s', index::oid, pg_relation_filenode(index)
            )
            WHERE index IS NOT NULL
            UNION ALL
            SELECT format(
                '%s pg_catalog.has_table_privilege(%s, ''SELECT'')',
                CASE WHEN has_table_privilege(i.inhrelid, 'SELECT') THEN '' ELSE 'NOT' END, i.inhrelid
            )
            FROM pg_inherits AS i
            WHERE i.inhparent = 'geosearch.all_photos'::regclass
                AND i.inhrelid <> 'geosearch.photos_open'::regclass
        ) AS conditions (condition)
    );
END
$$;

COMMENT ON FUNCTION geosearch.watch_facts(bigint) IS
    'SQL that is true for as long as the facts of a model are.';

CREATE FUNCTION geosearch.exact_cost(tuning bigint, OUT fixed_ms float8, OUT row_ms float8)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    SELECT exact_fixed_ms, exact_row_ms INTO fixed_ms, row_ms FROM tunings WHERE id = tuning;
    fixed_ms := coalesce(fixed_ms, 0.5);
    row_ms := coalesce(row_ms, 0.001);
END
$$;

COMMENT ON FUNCTION geosearch.exact_cost(bigint) IS
    'Milliseconds of exact search, and of each photo compared, as measured, or as is usual.';

CREATE FUNCTION geosearch.search_setting(
    tuning bigint, rank integer, OUT ef_search integer, OUT ms float8
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    IF rank > 1000 THEN  -- pgvector's largest hnsw.ef_search
        RETURN;
    ELSIF tuning IS NULL THEN
        ef_search := least(1000, greatest(2 * rank, 200));
        ms := 0.01 * ef_search;
    ELSE
        SELECT c.ef_search, c.ms INTO ef_search, ms
        FROM recall_curve(tuning, rank) AS c
        WHERE c.ef_search >= rank
            AND c.recall >= (SELECT t.target FROM tunings AS t WHERE t.id = tuning)
        ORDER BY c.ef_search LIMIT 1;
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.search_setting(bigint, integer) IS
    'The least hnsw.ef_search that finds the first `rank` neighbours at the recall the index was '
    'tuned for, and its milliseconds; NULL where none does. Where nothing was measured, a careful '
    'rule of thumb.';

CREATE FUNCTION geosearch.few_enough(tuning bigint, k integer) RETURNS integer
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    rule record := search_rule();
    cost record := exact_cost(tuning);
    -- By leaves too, where they take less.
    ms float8 := coalesce(
        (
            SELECT min((search_setting(other.id, least(2 * few_enough.k, 1000))).ms)
            FROM tunings AS t JOIN tunings AS other ON other.model_id = t.model_id
            WHERE t.id = few_enough.tuning
        ),
        (search_setting(tuning, least(2 * k, 1000))).ms,
        (SELECT max(p.ms) FROM recall_points AS p WHERE p.tuning_id = tuning AND p.ef_search = 1000),
        10
    );
BEGIN
    RETURN least(rule.few_most, greatest(
        rule.few_least, 2 * k, floor((rule.few_searches * ms - cost.fixed_ms) / cost.row_ms)
    ));
END
$$;

COMMENT ON FUNCTION geosearch.few_enough(bigint, integer) IS
    'Up to so many matching photos are compared before an index search is thought of.';

CREATE FUNCTION geosearch.index_plan(
    tuning bigint,
    total bigint,
    k integer,
    share float8 DEFAULT NULL,  -- of all photos that pass the filter; NULL: there is no filter
    likes float8 DEFAULT NULL,  -- of those most like the query
    leaf_ms float8 DEFAULT NULL,  -- what a search of leaves would cost; NULL: that is none
    OUT ef_search integer,
    OUT matches bigint,
    OUT reason text
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    rule record := search_rule();
    cost record := exact_cost(tuning);
    exact_ms float8;
    index_ms float8;
    rank integer := k;
    worth float8 := 1;
BEGIN
    matches := round(coalesce(share, 1) * total);
    exact_ms := cost.fixed_ms + cost.row_ms * matches;
    reason := 'no filter that selects';
    IF share IS NOT NULL THEN
        -- The setting is for the place at which the k-th match is expected.
        -- Those most like the query are few: what they say is believed less its standard error.
        rank := least(ceil(rule.margin * k / greatest(
            share, likes - sqrt(likes * (1 - likes) / rule.probe), 1e-9
        )) + 10, 1001);
        worth := CASE WHEN likes >= rule.most THEN rule.good_gamble ELSE rule.gamble END;
        reason := format(
            'about %s matching photos of %s would cost %s ms',
            matches, total, round(exact_ms::numeric, 1)
        );
    END IF;
    SELECT s.ef_search, s.ms INTO ef_search, index_ms FROM search_setting(tuning, rank) AS s;
    -- Where photos like the query pass more seldom than others, the index hardly meets enough.
    IF ef_search IS NULL OR index_ms > worth * exact_ms
        OR index_ms > leaf_ms * (CASE WHEN likes >= share / 2 THEN 1 ELSE rule.gamble END)
    THEN
        ef_search := NULL;
        reason := 'the index would cost more, or find less than the recall asked for';
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.index_plan IS
    'The hnsw.ef_search of a search by the index, NULL if exact search is to be preferred, by what '
    'was measured of both; the photos expected to match; and why.';

CREATE FUNCTION geosearch.found_recall(
    tuning bigint, ef_search integer, rank integer, OUT recall float8, OUT enough boolean
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    IF tuning IS NULL THEN
        enough := true;
        RETURN;
    END IF;
    recall := coalesce((
        SELECT c.recall FROM recall_curve(tuning, rank) AS c
        WHERE c.ef_search = found_recall.ef_search
    ), 0);
    enough := recall >= (SELECT t.target FROM tunings AS t WHERE t.id = tuning);
END
$$;

COMMENT ON FUNCTION geosearch.found_recall(bigint, integer, integer) IS
    'The recall of a search by the index whose last neighbour stood at `rank` among all photos, NULL '
    'where nothing was measured, and whether that is what the index was tuned for.';

-- Leaves. A filter reaches only so far in place, time and authors: whatever passes is in the leaves
-- that it touches.

CREATE FUNCTION geosearch.leaf_name(leaf geosearch.leaves) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN format('embeddings_m%s_%s%s_hnsw', leaf.model_id, leaf.family, leaf.id);

COMMENT ON FUNCTION geosearch.leaf_name(geosearch.leaves) IS 'Name of a leaf''s index.';

CREATE FUNCTION geosearch.leaf_condition(family text, bounds float8[]) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET extra_float_digits = 1
-- Operators that imply nothing but themselves: of leaves within leaves, one index is meant.
RETURN CASE family
    WHEN 'place' THEN format(
        'geom::point <@ %L::box', box(point(bounds[3], bounds[4]), point(bounds[1], bounds[2]))
    )
    WHEN 'time' THEN format(
        'taken_at <@ %L::tstzrange', tstzrange(to_timestamp(bounds[1]), to_timestamp(bounds[3]))
    )
    WHEN 'author' THEN format(
        'hashtext(author)::bigint <@ %L::int8range',
        int8range(ceil(bounds[1])::bigint, ceil(bounds[3])::bigint)
    )
END;

COMMENT ON FUNCTION geosearch.leaf_condition(text, float8[]) IS
    'The condition of a leaf''s index, which a search repeats so that it is taken.';

CREATE FUNCTION geosearch.leaf_setting(
    tuning bigint,      -- of the whole index: what exact search costs
    leaf_tuning bigint,
    matches bigint,
    leaves bigint,
    rank integer,
    OUT ef_search integer,
    OUT ms float8
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    rule record := search_rule();
    cost record := exact_cost(tuning);
BEGIN
    SELECT s.ef_search, leaves * s.ms INTO ef_search, ms
    FROM search_setting(leaf_tuning, rank) AS s
    WHERE leaves * s.ms <= rule.leaf_gamble * (cost.fixed_ms + cost.row_ms * matches);
END
$$;

COMMENT ON FUNCTION geosearch.leaf_setting IS
    'The hnsw.ef_search that finds the first `rank` in each of some leaves at the recall aimed at, '
    'and the milliseconds of all; NULL where none does, or comparing all that match costs less.';

CREATE FUNCTION geosearch.leaf_plan(
    model_id bigint,
    tuning bigint,
    total bigint,
    k integer,
    share float8,
    places float8[],  -- boxes that hold all that pass: least x, y, greatest x, y; NULL: anywhere
    taken_after timestamptz,
    taken_before timestamptz,
    authors text[],
    OUT leaf_tuning bigint,
    OUT conditions text[],  -- of each leaf, by which its index is taken
    OUT rank integer,       -- candidates of each
    OUT ef_search integer,
    OUT ms float8,
    OUT matches bigint,
    OUT reason text
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
SET extra_float_digits = 1
AS $$
BEGIN
    matches := round(share * total);
    SELECT
        touched.tuning, touched.conditions, deep.rank, setting.ef_search, setting.ms,
        format(
            'about %s matching photos of %s are in %s leaves by %s', matches, total, touched.leaves,
            touched.family
        )
    INTO leaf_tuning, conditions, rank, ef_search, ms, reason
    FROM (
        SELECT
            t.id AS tuning, t.family, count(*) AS leaves,
            array_agg(pg_get_expr(i.indpred, i.indrelid) ORDER BY l.id) AS conditions,
            max(c.reltuples) AS largest
        FROM tunings AS t
        JOIN leaves AS l ON l.model_id = t.model_id AND l.family = t.family AND l.level = t.level
        LEFT JOIN pg_index AS i
            ON i.indexrelid = to_regclass('geosearch.' || leaf_name(l)) AND i.indisvalid
        LEFT JOIN pg_class AS c ON c.oid = i.indexrelid
            AND array_to_string(c.reloptions, ', ') = t.index_definition
        WHERE t.model_id = leaf_plan.model_id AND l.replaces IS NULL AND CASE l.family
            WHEN 'place' THEN EXISTS (
                SELECT FROM generate_subscripts(places, 1) AS n
                WHERE l.bounds[1] <= places[n][3] AND l.bounds[3] >= places[n][1]
                    AND l.bounds[2] <= places[n][4] AND l.bounds[4] >= places[n][2]
            )
            WHEN 'time' THEN num_nonnulls(taken_after, taken_before) > 0
                AND coalesce(extract(epoch FROM taken_after) <= l.bounds[3], true)
                AND coalesce(extract(epoch FROM taken_before) >= l.bounds[1], true)
            WHEN 'author' THEN EXISTS (
                SELECT FROM unnest(authors) AS author
                WHERE hashtext(author) BETWEEN l.bounds[1] AND l.bounds[3]
            )
        END
        GROUP BY t.id
        HAVING count(*) = count(c.oid)
    ) AS touched
    -- As many of each leaf as are expected to be nearer than the k-th that passes.
    CROSS JOIN LATERAL (
        SELECT least(
            ceil((search_rule()).margin * k * touched.largest / greatest(matches, 1)) + 10, 1001
        )::integer AS rank
    ) AS deep
    CROSS JOIN LATERAL leaf_setting(
        leaf_plan.tuning, touched.tuning, matches, touched.leaves, deep.rank
    ) AS setting
    WHERE setting.ef_search IS NOT NULL
    ORDER BY setting.ms, touched.tuning
    LIMIT 1;
END
$$;

COMMENT ON FUNCTION geosearch.leaf_plan IS
    'The leaves to be searched for what passes a filter that reaches so far, and how; NULL where '
    'there are none, or comparing all that match is to be preferred.';

CREATE FUNCTION geosearch.leaf_deeper(
    tuning bigint,
    leaf_tuning bigint,
    matches bigint,
    leaves bigint,
    searched integer,
    OUT rank integer,
    OUT ef_search integer
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    rule record := search_rule();
BEGIN
    rank := least(rule.deeper * searched, rule.deepest);
    IF rank > searched THEN
        ef_search := (leaf_setting(tuning, leaf_tuning, matches, leaves, rank)).ef_search;
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.leaf_deeper IS
    'How some leaves are searched again of which `searched` candidates were too few; NULL: that '
    'does not pay.';

-- Parameter $1 is the query. The order is another than that of the index over all, so that no other
-- than one of leaves is taken; embeddings have length 1, and so it is the same. Without the index the
-- rows are found all the same, only slower.
CREATE FUNCTION geosearch.leaf_candidates(
    embeddings text, dimension integer, conditions text[], rank integer
)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
SELECT string_agg(
    format(
        '(SELECT %s AS leaf, photo_id, collection_id, geom, accuracy_m, taken_at, author, licence, '
        'embedding <=> $1 AS distance '
        'FROM %s WHERE %s ORDER BY embedding::halfvec(%s) <#> $1 LIMIT %s)',
        number, embeddings, condition, dimension, rank
    ),
    ' UNION ALL ' ORDER BY number
)
FROM unnest(conditions) WITH ORDINALITY AS leaf (condition, number);
END;

COMMENT ON FUNCTION geosearch.leaf_candidates(text, integer, text[], integer) IS
    'SQL of the first `rank` candidates of each of these leaves of a table of embeddings.';
