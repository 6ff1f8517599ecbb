-- The photos most like a query, with a recall that is known.
--
-- PostgreSQL's planner does not know what an approximate index loses, so it never chooses between
-- the index and exact search here: the function does, by the rule of plan.sql. Only the open shelf
-- has an index; private ones, as far as the caller may read them, are compared.

CREATE TYPE geosearch.neighbour AS (
    rank integer,
    photo_id bigint,
    uri text,
    geom geometry(Point, 4326),
    distance float8,
    strategy text,
    expected_recall float8,
    matches bigint,
    reason text
);

CALL pg_temp.describe('geosearch.neighbour',
    'A photo like the query, its rank among them, its cosine distance, and how the search ran.', $$
    rank: 1 for the photo most like the query.
    photo_id: The photo.
    uri: Its path or URL.
    geom: Where it was taken.
    distance: Cosine distance of its embedding to the query.
    strategy: exact, or ann: by the index.
    expected_recall: Share of the nearest photos that such a search finds; NULL if not measured.
    matches: Photos that pass the conditions: exact with exact, an estimate with ann.
    reason: Why the search ran so, for people.
$$);

CREATE FUNCTION geosearch.find_model(name text) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    id bigint;
BEGIN
    -- As the command line: by id, or by name, and of several of a name the newest.
    SELECT m.id INTO id
    FROM models AS m
    WHERE m.name = find_model.name OR m.id::text = find_model.name
    ORDER BY m.id::text = find_model.name DESC, m.id DESC
    LIMIT 1;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('nothing is embedded with the model %L', name),
            HINT = 'Models here: ' || coalesce(
                (SELECT string_agg(m.name, ', ' ORDER BY m.id) FROM models AS m), 'none yet'
            );
    END IF;
    RETURN id;
END
$$;

COMMENT ON FUNCTION geosearch.find_model(text) IS 'The id of a model, by its name or id.';

-- The planner's settings for one statement by the index (NULL: back to those for others). What is
-- switched off counts as very expensive. The functions that call this restore all when they are left.
CREATE FUNCTION geosearch.use_index(ef_search integer) RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
SELECT
    set_config('hnsw.ef_search', coalesce(ef_search, 40)::text, true),
    set_config('hnsw.iterative_scan', 'strict_order', true),
    set_config('enable_seqscan', CASE WHEN ef_search IS NULL THEN 'on' ELSE 'off' END, true),
    set_config('enable_bitmapscan', CASE WHEN ef_search IS NULL THEN 'on' ELSE 'off' END, true),
    set_config('enable_sort', CASE WHEN ef_search IS NULL THEN 'on' ELSE 'off' END, true);
END;

COMMENT ON FUNCTION geosearch.use_index(integer) IS
    'Sets the planner up for one search by the index, until the calling function is left.';

-- The photo's own embedding, and the photos that are the same file.
CREATE FUNCTION geosearch.embedding_of(photo bigint, model text) RETURNS halfvec
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    own halfvec;
    known CONSTANT bigint := find_model(model);
BEGIN
    SELECT e.embedding INTO own
    FROM embeddings AS e WHERE e.model_id = known AND e.photo_id = photo;
    IF NOT FOUND THEN
        SELECT q.embedding INTO own
        FROM queries AS q WHERE q.model_id = known AND q.photo_id = photo;
    END IF;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format(
                'photo %s is not embedded with the model %s', coalesce(photo::text, 'NULL'), model
            ),
            HINT = CASE
                WHEN EXISTS (SELECT FROM photos AS p WHERE p.id = photo)
                THEN 'Run: geosearch embed --model ' || model
                ELSE 'There is no such photo. Ids: SELECT id, uri FROM geosearch.photos'
            END;
    END IF;
    RETURN own;
END
$$;

COMMENT ON FUNCTION geosearch.embedding_of(bigint, text) IS
    'The embedding of a stored photo by a model.';

-- An embedding by the model that a whitened one comes of, as that one has it.
CREATE FUNCTION geosearch.whiten(query halfvec, model text) RETURNS halfvec
LANGUAGE plpgsql STABLE PARALLEL UNSAFE STRICT
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    known record;
    whitened real[];
BEGIN
    SELECT w.mean, w.axes, w.eigenvalues, w.power INTO known
    FROM whitenings AS w WHERE w.model_id = find_model(model);
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('the model %s is not a whitened one', model),
            HINT = 'Ids of those: SELECT model_id FROM geosearch.whitenings';
    ELSIF vector_dims(query) <> vector_dims(known.mean) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('the query has %s dimensions, what the model %s whitens has %s',
                vector_dims(query), model, vector_dims(known.mean)),
            HINT = 'Embed the query with the model that it comes of.';
    END IF;
    SELECT array_agg(
        -((query::vector - known.mean) <#> a.axis) / power(a.eigenvalue, known.power) ORDER BY a.number
    ) INTO whitened
    FROM unnest(known.axes, known.eigenvalues) WITH ORDINALITY AS a (axis, eigenvalue, number);
    RETURN l2_normalize(whitened::vector)::halfvec;
END
$$;

COMMENT ON FUNCTION geosearch.whiten(halfvec, text) IS
    'An embedding by the model that a whitened one comes of, whitened as that one has it.';

CREATE FUNCTION geosearch.copies_of(photo bigint) RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT array_agg(other.id ORDER BY other.id)
FROM geosearch.photos AS own JOIN geosearch.photos AS other ON other.sha256 = own.sha256
WHERE own.id = photo;
END;

COMMENT ON FUNCTION geosearch.copies_of(bigint) IS
    'The photo and all that have the same bytes.';

-- A leaf was searched deep enough if it gave a candidate beyond the k-th of all that pass.
CREATE FUNCTION geosearch.search_leaves(
    query halfvec,
    wanted geosearch.photo_filter,
    embeddings text,
    k integer,
    tuning bigint,
    leaf_tuning bigint,
    conditions text[],
    rank integer,
    ef_search integer,
    matches bigint,
    OUT photo_ids bigint[],
    OUT geoms geometry[],
    OUT distances float8[],
    OUT recall float8,
    OUT complete boolean
)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    reached record;
BEGIN
    recall := 1;
    complete := false;
    WHILE ef_search IS NOT NULL LOOP
        PERFORM use_index(ef_search);
        EXECUTE format(
            'WITH candidate AS MATERIALIZED (%1$s),'
            ' best AS MATERIALIZED ('
            '    SELECT DISTINCT ON (distance, photo_id) photo_id, geom, distance FROM ('
            '        SELECT photo_id, geom, distance FROM candidate WHERE %2$s'
            '        UNION ALL SELECT * FROM unnest($3, $4, $5)'
            '    ) AS found ORDER BY distance, photo_id LIMIT %3$s'
            '), reached AS ('
            '    SELECT candidate.leaf,'
            '        count(*) FILTER (WHERE candidate.distance <= last.distance) AS rank'
            '    FROM candidate, ('
            '        SELECT CASE count(*) WHEN %3$s THEN max(distance) ELSE ''Infinity'' END FROM best'
            '    ) AS last (distance) GROUP BY leaf'
            ') '
            'SELECT array_agg(photo_id ORDER BY distance, photo_id) AS photo_ids,'
            '    array_agg(geom ORDER BY distance, photo_id) AS geoms,'
            '    array_agg(distance ORDER BY distance, photo_id) AS distances,'
            '    (SELECT max(rank) FROM reached WHERE rank < %4$s) AS rank,'
            '    (SELECT array_agg(leaf ORDER BY leaf) FROM reached WHERE rank >= %4$s) AS short '
            'FROM best',
            leaf_candidates(embeddings, vector_dims(query), conditions, rank),
            filter_condition(wanted), k, rank
        ) INTO reached USING query, wanted, photo_ids, geoms, distances;
        PERFORM use_index(NULL);
        photo_ids := reached.photo_ids;
        geoms := reached.geoms;
        distances := reached.distances;
        IF reached.rank > 0 THEN
            recall := least(
                recall, (found_recall(leaf_tuning, ef_search, reached.rank::integer)).recall
            );
        END IF;
        IF reached.short IS NULL THEN
            complete := cardinality(photo_ids) = k;
            RETURN;
        END IF;
        conditions := ARRAY(SELECT conditions[leaf] FROM unnest(reached.short) AS leaf);
        SELECT d.rank, d.ef_search INTO rank, ef_search
        FROM leaf_deeper(tuning, leaf_tuning, matches, cardinality(conditions), rank) AS d;
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.search_leaves IS
    'The k nearest that pass a filter, from the leaves of a plan, and the recall to be expected; '
    'not complete if these hold fewer, or would have to be searched deeper than pays.';

CREATE FUNCTION geosearch.nearest(
    query halfvec,
    model text,
    k integer DEFAULT 20,
    within geometry DEFAULT NULL,
    taken_after anycompatible DEFAULT NULL,
    taken_before anycompatible DEFAULT NULL,
    collections text[] DEFAULT NULL,
    authors text[] DEFAULT NULL,
    not_authors text[] DEFAULT NULL,
    licences text[] DEFAULT NULL,
    accuracy_m real DEFAULT NULL,
    exact boolean DEFAULT false,
    near geometry DEFAULT NULL,
    near_km float8 DEFAULT NULL,
    not_photos bigint[] DEFAULT NULL,
    include_estimated boolean DEFAULT false,
    filter jsonb DEFAULT NULL,
    also text DEFAULT NULL  -- a further condition: SQL over the columns of embeddings
)
RETURNS SETOF geosearch.neighbour
LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 100000 ROWS 20
SET search_path = pg_catalog, geosearch, public, pg_temp
SET jit = off
-- Changed below for single statements: what a function sets, it restores when it is left.
SET hnsw.ef_search = 40
SET hnsw.iterative_scan = off
SET enable_seqscan = on
SET enable_bitmapscan = on
SET enable_sort = on
AS $$
DECLARE
    id CONSTANT bigint := find_model(model);
    rule record := search_rule();
    known record := search_facts(id);
    total CONSTANT bigint := greatest(known.total, 1);
    wanted CONSTANT photo_filter := and_also(make_filter(
        within, near, near_km, utc(taken_after), utc(taken_before), collections, authors, not_authors,
        licences, accuracy_m, not_photos, filter
    ), also);
    -- An answer that does not rest on a collection says nothing of it.
    private CONSTANT bigint[] := ARRAY(
        SELECT shelf FROM unnest(known.private) AS shelf
        WHERE (wanted.collection_ids IS NULL OR shelf = ANY (wanted.collection_ids))
            AND (
                wanted.more IS NULL
                OR shelf = ANY (admitted_collections((wanted.more).canonical))
            )
    ) || CASE WHEN include_estimated THEN '{-1}'::bigint[] ELSE '{}' END;  -- as if of a shelf
    condition CONSTANT text := filter_condition(wanted);
    may_pass CONSTANT text := place_condition(wanted);
    filtered CONSTANT boolean := condition <> 'true';
    -- Leaving out some photos or authors leaves nearly all.
    selects CONSTANT boolean := num_nonnulls(
        within, near, taken_after, taken_before, collections, authors, licences, accuracy_m
    ) > 0 OR coalesce((wanted.more).selects, false);
    by_places CONSTANT boolean := condition = may_pass;
    open_shelf CONSTANT text := format('geosearch.embeddings_m%s', id);
    compare text;
    compare_open text;
    by_index text;
    candidates text;
    met record;
    plan record;
    found record;
    few integer;
    few_pass boolean := false;
    sampled float8;
    passing bigint;
    share float8 := 1;
    likes float8 := 1;
    leaf record;
    leaf_ms float8;
    expected_recall float8;
    strategy text;
    matches bigint;
    reason text;
    uris jsonb := '{}';  -- of what shards found
BEGIN
    IF k IS NULL OR k NOT BETWEEN 1 AND 1000 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('k is %s', coalesce(k::text, 'NULL')),
            HINT = 'Choose 1 to 1000.';
    ELSIF query IS NULL OR l2_norm(query) = 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'the query embedding is ' || CASE WHEN query IS NULL THEN 'NULL' ELSE 'zero' END,
            HINT = 'Give an embedding by this model, for example that of a stored photo or localization.';
    ELSIF vector_dims(query) <> known.dimension THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('the query has %s dimensions, the model %s has %s',
                vector_dims(query), model, known.dimension),
            HINT = 'Embed the query with the same model.';
    END IF;

    -- Without the index's cast and operator the index does not apply: all that match are compared.
    compare := format(
        'WITH matching AS MATERIALIZED ('
        '    SELECT photo_id, geom, embedding <=> $1 AS distance'
        '    FROM %%s AS embeddings WHERE %s LIMIT $3'
        '), best AS ('
        '    SELECT * FROM matching ORDER BY distance, photo_id LIMIT %s'
        ') '
        'SELECT array_agg(photo_id ORDER BY distance, photo_id) AS photo_ids,'
        '    array_agg(geom ORDER BY distance, photo_id) AS geoms,'
        '    array_agg(distance ORDER BY distance, photo_id) AS distances,'
        '    (SELECT count(*) FROM matching) AS matches '
        'FROM best',
        replace(condition, '%', '%%'), k
    );
    compare_open := format(compare, open_shelf);
    -- The expression of the index, ascending, with LIMIT: any other form is a sequential scan.
    -- Candidates, $3 of them, come without the filter, so that their places, and with them the recall,
    -- are known. Those of an index over signs are put in order by the whole embedding.
    by_index := format(
        CASE
            WHEN known.quantized THEN 'binary_quantize(embedding)::bit(%s) <~> binary_quantize($1)'
            ELSE 'embedding::halfvec(%s) <=> $1'
        END,
        known.dimension
    );
    candidates := format(
        'SELECT *, row_number() OVER (ORDER BY nearness) AS place FROM ('
        '    SELECT photo_id, collection_id, geom, accuracy_m, taken_at, author, licence,'
        '        embedding <=> $1 AS distance, %s AS nearness'
        '    FROM %s ORDER BY %s LIMIT $3'
        ') AS candidate',
        CASE WHEN known.quantized THEN 'embedding <=> $1' ELSE by_index END,
        open_shelf,
        by_index
    );

    IF EXISTS (SELECT FROM shards) THEN
        PERFORM FROM nearest_on_shards(
            query, id, k, nullif(literal_condition(wanted), 'true'), filter_places(wanted), exact,
            hidden_on(), wants_part(), ahead => true
        );
    END IF;
    IF coalesce(exact, false) THEN
        reason := 'exact search was asked for';
    ELSIF known.index_name IS NULL THEN
        reason := 'the model has no index';
    ELSE
        IF NOT filtered THEN
            share := NULL;
        ELSIF selects THEN
            -- Samples, always of the same pages, say how many pass. Few are compared at once.
            few := few_enough(known.tuning, k);
            IF may_pass <> 'true' THEN
                EXECUTE format(
                    'SELECT coalesce(count(*) FILTER (WHERE %s)::float8 / nullif(count(*), 0), 1)'
                    ' FROM %s TABLESAMPLE SYSTEM (%s) REPEATABLE (0)',
                    may_pass, open_shelf, 100 * least(1, rule.places::float8 / total)
                ) INTO share USING query, wanted;
            END IF;
            IF share * total <= few THEN
                few_pass := true;
                share := 0;
            ELSIF NOT by_places THEN
                sampled := least(1, rule.sample::float8 / total);
                EXECUTE format(
                    'SELECT count(*) FROM %s TABLESAMPLE SYSTEM (%s) REPEATABLE (0) WHERE %s',
                    open_shelf, 100 * sampled, condition
                ) INTO passing USING query, wanted;
                few_pass := passing <= ceil(few * sampled);
                share := least(1, passing / (sampled * total));
            END IF;
            IF few_pass THEN
                EXECUTE compare_open INTO met USING query, wanted, 2 * few;
                IF met.matches < 2 * few THEN
                    reason := 'few matching photos: all were compared';
                    strategy := 'exact';
                END IF;
                share := greatest(share, met.matches::float8 / total);
            END IF;
            likes := share;
            IF strategy IS NULL AND share < rule.most THEN
                -- Photos like the query may be just those that pass, or none of them.
                PERFORM use_index(rule.probe);
                EXECUTE format(
                    'SELECT count(*) FILTER (WHERE %s) FROM (%s) AS probe', condition, candidates
                ) INTO passing USING query, wanted, rule.probe;
                PERFORM use_index(NULL);
                likes := passing::float8 / rule.probe;
            END IF;
            IF strategy IS NULL AND known.leaves THEN
                leaf := leaf_plan(
                    id, known.tuning, known.total, k, share, filter_places(wanted),
                    greatest(wanted.taken_after, (wanted.more).since),
                    least(wanted.taken_before, (wanted.more).until),
                    texts_in_common(wanted.authors, (wanted.more).by_authors)
                );
                leaf_ms := leaf.ms;
            END IF;
        END IF;
        IF strategy IS NULL THEN
            plan := index_plan(known.tuning, known.total, k, share, likes, leaf_ms);
            reason := plan.reason;
            IF plan.ef_search IS NOT NULL THEN
                PERFORM use_index(plan.ef_search);
                EXECUTE format(
                    'WITH candidate AS MATERIALIZED (%s),'
                    ' best AS (SELECT * FROM candidate WHERE %s ORDER BY place LIMIT %s) '
                    'SELECT array_agg(photo_id ORDER BY distance, photo_id) AS photo_ids,'
                    '    array_agg(geom ORDER BY distance, photo_id) AS geoms,'
                    '    array_agg(distance ORDER BY distance, photo_id) AS distances,'
                    '    count(*) AS matches,'
                    '    max(place) AS place '
                    'FROM best',
                    candidates, condition, k
                ) INTO met USING query, wanted,
                    CASE WHEN filtered OR known.quantized THEN plan.ef_search ELSE k END;
                PERFORM use_index(NULL);
                found := found_recall(known.tuning, plan.ef_search, met.place::integer);
                IF met.matches < k THEN
                    reason := format('the index gave %s of %s', met.matches, k);
                ELSIF NOT found.enough THEN
                    reason := format('the index gave recall %s', round(found.recall::numeric, 3));
                ELSE
                    strategy := 'ann';
                    matches := plan.matches;
                    expected_recall := found.recall;
                END IF;
            END IF;
            IF strategy IS NULL AND leaf_ms IS NOT NULL THEN
                found := search_leaves(
                    query, wanted, open_shelf, k, known.tuning, leaf.leaf_tuning, leaf.conditions,
                    leaf.rank, leaf.ef_search, leaf.matches
                );
                IF found.complete THEN
                    met := found;
                    strategy := 'leaves';
                    matches := leaf.matches;
                    expected_recall := found.recall;
                    reason := leaf.reason;
                ELSE
                    reason := 'leaves would have to be searched deeper than pays';
                END IF;
            END IF;
            IF strategy IS NULL AND (leaf_ms IS NOT NULL OR plan.ef_search IS NOT NULL) THEN
                reason := reason || ', so all matching photos were compared';
            END IF;
        END IF;
    END IF;
    IF strategy IS NULL THEN
        EXECUTE compare_open INTO met USING query, wanted, NULL::bigint;
        strategy := 'exact';
    END IF;
    IF strategy = 'exact' THEN
        matches := met.matches;
        expected_recall := 1;
    END IF;
    IF private <> '{}' THEN
        EXECUTE format(compare, embeddings_on(id, private))
        INTO found USING query, wanted, NULL::bigint;
        matches := matches + found.matches;
        reason := format(
            '%s; %s %s photos were compared', reason, found.matches,
            CASE WHEN include_estimated THEN 'private or estimated' ELSE 'private' END
        );
        SELECT
            array_agg(n.photo_id ORDER BY n.distance, n.photo_id) AS photo_ids,
            array_agg(n.geom ORDER BY n.distance, n.photo_id) AS geoms,
            array_agg(n.distance ORDER BY n.distance, n.photo_id) AS distances
        INTO met
        FROM (
            SELECT * FROM unnest(
                met.photo_ids || found.photo_ids, met.geoms || found.geoms,
                met.distances || found.distances
            ) AS both_of_them (photo_id, geom, distance)
            ORDER BY distance, photo_id LIMIT k
        ) AS n;
    END IF;
    IF EXISTS (SELECT FROM shards) THEN
        SELECT * INTO met FROM with_shards(
            met.photo_ids, met.geoms, met.distances, strategy, expected_recall, matches, reason,
            query, id, k, literal_condition(wanted), filter_places(wanted), exact
        );
        uris := met.uris;
        strategy := met.strategy;
        expected_recall := met.expected_recall;
        matches := met.matches;
        reason := met.reason;
    END IF;
    RETURN QUERY
    SELECT
        n.number::integer, n.photo_id, coalesce(p.uri, uris ->> n.photo_id::text),
        n.geom::geometry(Point, 4326), n.distance,
        strategy, expected_recall, matches, reason
    FROM unnest(met.photo_ids, met.geoms, met.distances)
        WITH ORDINALITY AS n (photo_id, geom, distance, number)
    LEFT JOIN photos_here AS p ON p.id = n.photo_id
    WHERE p.id IS NOT NULL OR uris ? n.photo_id::text
    ORDER BY n.number;
END
$$;

COMMENT ON FUNCTION geosearch.nearest IS
    'The k photos most like a query embedding that pass the conditions, nearest first, with the '
    'strategy taken and the recall to be expected of it. Fewer than k only if fewer match.';

CREATE FUNCTION geosearch.nearest_to_photo(
    photo bigint,
    model text,
    k integer DEFAULT 20,
    within geometry DEFAULT NULL,
    taken_after anycompatible DEFAULT NULL,
    taken_before anycompatible DEFAULT NULL,
    collections text[] DEFAULT NULL,
    authors text[] DEFAULT NULL,
    not_authors text[] DEFAULT NULL,
    licences text[] DEFAULT NULL,
    accuracy_m real DEFAULT NULL,
    exact boolean DEFAULT false,
    near geometry DEFAULT NULL,
    near_km float8 DEFAULT NULL,
    not_photos bigint[] DEFAULT NULL,
    include_estimated boolean DEFAULT false,
    filter jsonb DEFAULT NULL
)
RETURNS SETOF geosearch.neighbour
LANGUAGE sql STABLE PARALLEL UNSAFE COST 100000 ROWS 20
SET search_path = pg_catalog, geosearch, public, pg_temp
-- Not BEGIN ATOMIC, which knows no anycompatible.
AS $$
SELECT n.*
FROM geosearch.nearest(
    geosearch.embedding_of(photo, model), model, k, within, taken_after, taken_before,
    collections, authors, not_authors, licences, accuracy_m, exact, near, near_km,
    ARRAY(SELECT unnest(not_photos)) || geosearch.copies_of(photo), include_estimated, filter
) AS n
$$;

COMMENT ON FUNCTION geosearch.nearest_to_photo IS
    'The k photos most like a stored photo, as geosearch.nearest, without itself and without files '
    'of the same bytes.';
