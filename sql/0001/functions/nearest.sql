-- The photos most like a query, with a recall that is known.
--
-- PostgreSQL's planner does not know what an approximate index loses, so it never chooses between
-- the index and exact search here: the function does, by the rule of docs/retrieval.md and by what
-- was measured when the index was tuned. All goes through the parent table, so that rights on it,
-- and row-level security, hold; the model's id is a literal, which leaves one partition to plan for.

-- What PostgreSQL can be told from its catalogues about a model.
CREATE FUNCTION geosearch.find_model(
    name text, OUT id bigint, OUT dimension integer, OUT total bigint, OUT indexed boolean
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    -- As the command line: by id, or by name, and of several of a name the newest.
    SELECT m.id, m.dimension INTO find_model.id, find_model.dimension
    FROM models AS m
    WHERE m.name = find_model.name OR m.id::text = find_model.name
    ORDER BY m.id::text = find_model.name DESC, m.id DESC
    LIMIT 1;
    IF NOT FOUND THEN
        PERFORM refuse(
            format('nothing is embedded with the model %L', name),
            'Models here: ' || coalesce(
                (SELECT string_agg(m.name, ', ' ORDER BY m.id) FROM models AS m), 'none yet'
            )
        );
    END IF;
    SELECT c.reltuples::bigint INTO total
    FROM pg_class AS c WHERE c.oid = to_regclass(format('geosearch.embeddings_m%s', id));
    IF total IS NULL OR total <= 0 THEN  -- never analysed
        EXECUTE format('SELECT count(*) FROM embeddings WHERE model_id = %s', id) INTO total;
    END IF;
    indexed := EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indexrelid = to_regclass(format('geosearch.embeddings_m%s_hnsw', find_model.id))
            AND i.indisvalid
    );
END
$$;

COMMENT ON FUNCTION geosearch.find_model(text) IS
    'A model by name or id: dimension, embeddings (estimated), and whether it has a valid index.';

-- The planner's settings for one statement by the index (NULL: back to those for others). What is
-- switched off counts as very expensive. The functions that call this restore all when they are left.
CREATE FUNCTION geosearch.use_index(ef_search integer, hidden boolean) RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
SELECT
    set_config('hnsw.ef_search', coalesce(ef_search, 40)::text, true),
    set_config('hnsw.iterative_scan', CASE WHEN hidden THEN 'off' ELSE 'strict_order' END, true),
    set_config('enable_seqscan', CASE WHEN ef_search IS NULL THEN 'on' ELSE 'off' END, true),
    set_config('enable_bitmapscan', CASE WHEN ef_search IS NULL THEN 'on' ELSE 'off' END, true),
    set_config('enable_sort', CASE WHEN ef_search IS NULL THEN 'on' ELSE 'off' END, true);
END;

COMMENT ON FUNCTION geosearch.use_index(integer, boolean) IS
    'Sets the planner up for one search by the index, until the calling function is left.';

-- The photo's own embedding, and the photos that are the same file.
CREATE FUNCTION geosearch.embedding_of(photo bigint, model text) RETURNS halfvec
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    own halfvec;
    known CONSTANT bigint := (find_model(model)).id;
BEGIN
    SELECT e.embedding INTO own
    FROM embeddings AS e WHERE e.model_id = known AND e.photo_id = photo;
    IF NOT FOUND THEN
        PERFORM refuse(
            format(
                'photo %s is not embedded with the model %s', coalesce(photo::text, 'NULL'), model
            ),
            CASE
                WHEN EXISTS (SELECT FROM photos AS p WHERE p.id = photo)
                THEN 'Only photos with a position are. Run: geosearch embed --model ' || model
                ELSE 'There is no such photo. Ids: SELECT id, uri FROM geosearch.photos'
            END
        );
    END IF;
    RETURN own;
END
$$;

COMMENT ON FUNCTION geosearch.embedding_of(bigint, text) IS
    'The embedding of a stored photo by a model.';

CREATE FUNCTION geosearch.copies_of(photo bigint) RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT array_agg(other.id ORDER BY other.id)
FROM geosearch.photos AS own JOIN geosearch.photos AS other ON other.sha256 = own.sha256
WHERE own.id = photo;
END;

COMMENT ON FUNCTION geosearch.copies_of(bigint) IS
    'The photo and all that have the same bytes.';

CREATE FUNCTION geosearch.nearest(
    query halfvec,
    model text,
    k integer DEFAULT 20,
    within geometry DEFAULT NULL,
    taken_after timestamptz DEFAULT NULL,
    taken_before timestamptz DEFAULT NULL,
    collections text[] DEFAULT NULL,
    authors text[] DEFAULT NULL,
    not_authors text[] DEFAULT NULL,
    licences text[] DEFAULT NULL,
    accuracy_m real DEFAULT NULL,
    exact boolean DEFAULT false,
    near geometry DEFAULT NULL,
    near_km float8 DEFAULT NULL,
    not_photos bigint[] DEFAULT NULL
)
RETURNS TABLE (
    rank integer,
    photo_id bigint,
    uri text,
    geom geometry(Point, 4326),
    distance float8,
    strategy text,
    expected_recall float8,
    matches bigint,
    reason text
)
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
    few_least CONSTANT integer := 500;     -- bounds of what is compared at once
    few_most CONSTANT integer := 10000;
    first CONSTANT float8 := 2;            -- it may take the time of so many index searches
    looked_at CONSTANT float8 := 150;      -- photos in the sample that says how many pass
    margin CONSTANT float8 := 1.3;         -- candidates per neighbour beyond the share of matches
    gamble CONSTANT float8 := 0.15;        -- share of exact search's time that the index is worth,
    good_gamble CONSTANT float8 := 0.6;    -- and where most photos like the query pass,
    most CONSTANT float8 := 0.7;           -- which is so many,
    probed CONSTANT integer := 10;         -- of so many; unless most of all photos pass

    known record;
    tuned record;
    wanted photo_filter;
    condition text;
    filtered boolean;
    selects boolean;
    hidden boolean;
    compare text;
    by_index text;
    candidates text;
    met record;
    ef integer;
    ms float8;
    few integer;
    passing bigint;
    sampled float8;
    share float8 := 1;
    likes float8;
    exact_ms float8;
BEGIN
    SELECT * INTO known FROM find_model(model);
    IF k IS NULL OR k NOT BETWEEN 1 AND 1000 THEN
        PERFORM refuse(format('k is %s', coalesce(k::text, 'NULL')), 'Choose 1 to 1000.');
    ELSIF query IS NULL OR l2_norm(query) = 0 THEN
        PERFORM refuse(
            'the query embedding is ' || CASE WHEN query IS NULL THEN 'NULL' ELSE 'zero' END,
            'Give an embedding by this model, for example that of a stored photo or localization.'
        );
    ELSIF vector_dims(query) <> known.dimension THEN
        PERFORM refuse(
            format('the query has %s dimensions, the model %s has %s',
                vector_dims(query), model, known.dimension),
            'Embed the query with the same model.'
        );
    END IF;
    SELECT t.target, coalesce(t.exact_fixed_ms, 0.5) AS fixed_ms,
        coalesce(t.exact_row_ms, 0.001) AS row_ms,
        (SELECT max(p.ms) FROM recall_points AS p WHERE p.tuning_id = t.id AND p.ef_search = 1000)
            AS slowest_ms
    INTO tuned
    FROM (VALUES (known.id)) AS m (id)
    LEFT JOIN tunings AS t
        ON t.model_id = m.id
        -- Of an index that was rebuilt since nothing is known.
        AND t.index_file = pg_relation_filenode(
            to_regclass(format('geosearch.embeddings_m%s_hnsw', m.id))
        );

    wanted := make_filter(
        within, near, near_km, taken_after, taken_before, collections, authors, not_authors,
        licences, accuracy_m, not_photos
    );
    condition := filter_condition(wanted);
    -- What row-level security hides takes up ranks among the candidates all the same.
    hidden := row_security_active('geosearch.embeddings');
    filtered := hidden OR condition <> 'true';
    -- Leaving out some photos or authors leaves nearly all.
    selects := hidden OR num_nonnulls(
        within, near, taken_after, taken_before, collections, authors, licences, accuracy_m
    ) > 0;

    -- Without the index's cast and operator the index does not apply: all that match are compared.
    compare := format(
        'WITH matching AS MATERIALIZED ('
        '    SELECT photo_id, geom, embedding <=> $1 AS distance'
        '    FROM geosearch.embeddings WHERE model_id = %s AND %s LIMIT $3'
        '), best AS ('
        '    SELECT * FROM matching ORDER BY distance, photo_id LIMIT %s'
        ') '
        'SELECT array_agg(photo_id ORDER BY distance, photo_id) AS photo_ids,'
        '    array_agg(geom ORDER BY distance, photo_id) AS geoms,'
        '    array_agg(distance ORDER BY distance, photo_id) AS distances,'
        '    (SELECT count(*) FROM matching) AS matches, 0::bigint AS place '
        'FROM best',
        known.id, condition, k
    );
    -- The expression of the index, ascending, with LIMIT: any other form is a sequential scan.
    -- Candidates, $3 of them, come without the filter, so that their places, and with them the recall,
    -- are known. Those of an index over signs are put in order by the whole embedding.
    by_index := format(
        CASE
            WHEN known.dimension <= 4000 THEN 'embedding::halfvec(%s) <=> $1'
            ELSE 'binary_quantize(embedding)::bit(%s) <~> binary_quantize($1)'
        END,
        known.dimension
    );
    candidates := format(
        'SELECT *, row_number() OVER (ORDER BY nearness) AS place FROM ('
        '    SELECT photo_id, collection_id, geom, accuracy_m, taken_at, author, licence,'
        '        embedding <=> $1 AS distance, %s AS nearness'
        '    FROM geosearch.embeddings WHERE model_id = %s ORDER BY %s LIMIT $3'
        ') AS candidate',
        CASE WHEN known.dimension <= 4000 THEN by_index ELSE 'embedding <=> $1' END,
        known.id,
        by_index
    );

    IF coalesce(exact, false) THEN
        reason := 'exact search was asked for';
    ELSIF NOT known.indexed THEN
        reason := 'the model has no index';
    ELSIF NOT filtered THEN
        SELECT * INTO ef, ms FROM search_setting(known.id, tuned.target, k);
        exact_ms := tuned.fixed_ms + tuned.row_ms * known.total;
        reason := 'no filter that selects';
        IF ms > exact_ms THEN
            ef := NULL;
        END IF;
    ELSE
        IF selects THEN
            -- A sample, always of the same pages, says how many pass. Few are compared at once.
            SELECT * INTO ef, ms FROM search_setting(known.id, tuned.target, least(2 * k, 1000));
            few := least(few_most, greatest(few_least, 2 * k, floor(
                (first * coalesce(ms, tuned.slowest_ms, 10) - tuned.fixed_ms) / tuned.row_ms
            )));
            sampled := least(1, looked_at / greatest(known.total, 1));
            EXECUTE format(
                'SELECT count(*) FROM geosearch.embeddings'
                ' TABLESAMPLE SYSTEM (%s) REPEATABLE (0) WHERE model_id = %s AND %s',
                100 * sampled, known.id, condition
            ) INTO passing USING query, wanted;
            share := least(1, passing / (sampled * greatest(known.total, 1)));
            IF passing <= ceil(few * sampled) THEN
                EXECUTE compare INTO met USING query, wanted, 2 * few;
                IF met.matches < 2 * few THEN
                    reason := 'few matching photos: all were compared';
                    strategy := 'exact';
                END IF;
                share := greatest(share, met.matches::float8 / greatest(known.total, 1));
            END IF;
        ELSE
            likes := 1;
        END IF;
        IF strategy IS NULL THEN
            -- Photos like the query may be just those that pass, or none of them: unless most pass,
            -- some are looked at.
            IF likes IS NULL AND share >= most THEN
                likes := share;
            ELSIF likes IS NULL THEN
                PERFORM use_index(probed, hidden);
                EXECUTE format(
                    'SELECT count(*) FILTER (WHERE %s) FROM (%s) AS probe', condition, candidates
                ) INTO passing USING query, wanted, probed;
                PERFORM use_index(NULL, hidden);
                likes := passing::float8 / probed;
            END IF;
            -- The setting is for the place at which the k-th match is expected.
            exact_ms := tuned.fixed_ms + tuned.row_ms * round(share * known.total);
            SELECT * INTO ef, ms FROM search_setting(
                known.id,
                tuned.target,
                least(ceil(margin * k / greatest(share, likes, 1e-5)) + 10, 1001)::integer
            );
            IF ms > exact_ms * (CASE WHEN likes >= most THEN good_gamble ELSE gamble END) THEN
                ef := NULL;
            END IF;
            reason := format(
                'about %s matching photos would cost %s ms',
                round(share * known.total), round(exact_ms::numeric, 1)
            );
        END IF;
    END IF;

    IF strategy IS NULL AND known.indexed AND NOT coalesce(exact, false) THEN
        IF ef IS NULL THEN
            reason := 'comparing the matching photos costs less than the index';
        ELSE
            PERFORM use_index(ef, hidden);
            EXECUTE format(
                'WITH candidate AS MATERIALIZED (%s),'
                ' best AS (SELECT * FROM candidate WHERE %s ORDER BY place LIMIT %s) '
                'SELECT array_agg(photo_id ORDER BY distance, photo_id) AS photo_ids,'
                '    array_agg(geom ORDER BY distance, photo_id) AS geoms,'
                '    array_agg(distance ORDER BY distance, photo_id) AS distances,'
                '    count(*) AS matches,'
                '    max(place) + $3 - (SELECT count(*) FROM candidate) AS place '
                'FROM best',
                candidates, condition, k
            ) INTO met USING query, wanted,
                CASE WHEN filtered OR known.dimension > 4000 THEN ef ELSE k END;
            PERFORM use_index(NULL, hidden);
            IF met.matches < k THEN
                reason := format('the index gave %s of %s', met.matches, k);
            ELSE
                expected_recall := (
                    SELECT c.recall
                    FROM recall_curve(known.id, greatest(k, met.place)::integer) AS c
                    WHERE c.ef_search = ef AND tuned.target IS NOT NULL
                );
                IF expected_recall < tuned.target THEN
                    reason := format(
                        'the index gave recall %s', round(expected_recall::numeric, 3)
                    );
                ELSE
                    strategy := 'ann';
                    matches := round(share * known.total);
                END IF;
            END IF;
            IF strategy IS NULL THEN
                reason := reason || ', so all matching photos were compared';
            END IF;
        END IF;
    END IF;
    IF strategy IS NULL THEN
        EXECUTE compare INTO met USING query, wanted, NULL::bigint;
        strategy := 'exact';
    END IF;
    IF strategy = 'exact' THEN
        matches := met.matches;
        expected_recall := 1;
    END IF;
    RETURN QUERY
    SELECT
        n.number::integer, n.photo_id, p.uri, n.geom, n.distance,
        nearest.strategy, nearest.expected_recall, nearest.matches, nearest.reason
    FROM unnest(met.photo_ids, met.geoms, met.distances)
        WITH ORDINALITY AS n (photo_id, geom, distance, number)
    JOIN photos AS p ON p.id = n.photo_id
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
    taken_after timestamptz DEFAULT NULL,
    taken_before timestamptz DEFAULT NULL,
    collections text[] DEFAULT NULL,
    authors text[] DEFAULT NULL,
    not_authors text[] DEFAULT NULL,
    licences text[] DEFAULT NULL,
    accuracy_m real DEFAULT NULL,
    exact boolean DEFAULT false,
    near geometry DEFAULT NULL,
    near_km float8 DEFAULT NULL,
    not_photos bigint[] DEFAULT NULL
)
RETURNS TABLE (
    rank integer,
    photo_id bigint,
    uri text,
    geom geometry(Point, 4326),
    distance float8,
    strategy text,
    expected_recall float8,
    matches bigint,
    reason text
)
LANGUAGE sql STABLE PARALLEL UNSAFE COST 100000 ROWS 20
BEGIN ATOMIC
SELECT n.*
FROM geosearch.nearest(
    geosearch.embedding_of(photo, model), model, k, within, taken_after, taken_before,
    collections, authors, not_authors, licences, accuracy_m, exact, near, near_km,
    not_photos || geosearch.copies_of(photo)
) AS n;
END;

COMMENT ON FUNCTION geosearch.nearest_to_photo IS
    'The k photos most like a stored photo, as geosearch.nearest, without itself and without files '
    'of the same bytes.';
