-- Searches on shards: each answers by its own geosearch.nearest, with its own index and a recall of its
-- own that is known; all at once, by dblink over the foreign servers.

CREATE FUNCTION geosearch.and_also(wanted geosearch.photo_filter, also text)
RETURNS geosearch.photo_filter
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    more expression := wanted.more;
BEGIN
    IF also IS NOT NULL THEN
        EXECUTE format('SELECT FROM embeddings_open AS embeddings WHERE false AND (%s)', also);
        more.condition := concat_ws(' AND ', more.condition, '(' || also || ')');
        more.selects := true;
        wanted.more := more;
    END IF;
    RETURN wanted;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE;
    WHEN OTHERS THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'also is no condition: ' || SQLERRM,
            HINT = 'Give SQL over the columns of geosearch.embeddings, such as: taken_at IS NOT NULL';
END
$$;

COMMENT ON FUNCTION geosearch.and_also(geosearch.photo_filter, text) IS
    'A filter whose photos meet a condition besides, in SQL over the columns of embeddings.';

CREATE FUNCTION geosearch.literal_condition(wanted geosearch.photo_filter) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
SET datestyle = 'ISO'
SET extra_float_digits = 1
AS $$
DECLARE
    written CONSTANT text := (wanted.more).condition;
BEGIN
    -- In one pass, over a text in which nothing is a user's: a name may look like a parameter.
    wanted.more := NULL;
    RETURN concat_ws(' AND ', (
        SELECT string_agg(
            CASE WHEN p.number = 1 THEN p.piece
                ELSE format('%L::%s', v.value, v.type) || substr(p.piece, length(v.name) + 1) END,
            '' ORDER BY p.number
        )
        FROM regexp_split_to_table(filter_condition(wanted), '\(\$2\)\.')
            WITH ORDINALITY AS p (piece, number)
        LEFT JOIN (
            VALUES
            ('within', 'geometry', wanted.within::text), ('near_m', 'float8', wanted.near_m::text),
            ('near', 'geography', wanted.near::text),
            ('taken_after', 'timestamptz', wanted.taken_after::text),
            ('taken_before', 'timestamptz', wanted.taken_before::text),
            ('collection_ids', 'bigint[]', wanted.collection_ids::text),
            ('not_authors', 'text[]', wanted.not_authors::text),
            ('authors', 'text[]', wanted.authors::text), ('licences', 'text[]', wanted.licences::text),
            ('accuracy_m', 'real', wanted.accuracy_m::text),
            ('not_photos', 'bigint[]', wanted.not_photos::text)
        ) AS v (name, type, value) ON p.number > 1 AND v.name = substring(p.piece FROM '^\w+')
    ), written);
END
$$;

COMMENT ON FUNCTION geosearch.literal_condition(geosearch.photo_filter) IS
    'As filter_condition, with the values written out.';

-- Connections of this session to a shard. That for quick questions is waited for so that nothing can
-- cancel it, which takes no time, where the other is looked at every millisecond; and so its questions
-- are given up by the shard when they take long.
CREATE FUNCTION geosearch.shard_link(shard text, quick boolean) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN geosearch.shard_server(shard) || CASE WHEN quick THEN ' quick' ELSE '' END;

COMMENT ON FUNCTION geosearch.shard_link(text, boolean) IS
    'Name of a connection to a shard.';

-- A connection on which questions are on their way; or why not. The limit is set before each, as one of
-- them may set another.
CREATE FUNCTION geosearch.ask_shard(shard text, quick boolean, VARIADIC questions text[])
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, geosearch, public, pg_temp
SET client_min_messages = error
AS $$
DECLARE
    link CONSTANT text := shard_link(shard, quick);
    asked CONSTANT text := (
        SELECT string_agg(CASE WHEN quick THEN 'SET statement_timeout = 5000; ' ELSE '' END || q, '; ')
        FROM unnest(questions) AS q
    );
    said text;
BEGIN
    IF link = ANY (coalesce(dblink_get_connections(), '{}')) THEN
        -- One that was left in the middle of a question takes no other.
        IF dblink_is_busy(link) = 0 AND dblink_send_query(link, asked) = 1 THEN
            RETURN NULL;
        END IF;
        PERFORM dblink_disconnect(link);
    END IF;
    PERFORM dblink_connect(link, shard_server(shard) || ' search');
    IF dblink_send_query(link, asked) = 1 THEN
        RETURN NULL;
    END IF;
    RETURN dblink_error_message(link);
EXCEPTION
    WHEN sqlclient_unable_to_establish_sqlconnection OR connection_exception OR connection_failure
    THEN
        GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
        RETURN regexp_replace(btrim(coalesce(nullif(said, ''), SQLERRM)), '\s+', ' ', 'g');
END
$$;

COMMENT ON FUNCTION geosearch.ask_shard(text, boolean, text[]) IS
    'Sends questions to a shard; why not, or NULL.';

CREATE FUNCTION geosearch.await_shard(shard text, quick boolean) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    link CONSTANT text := shard_link(shard, quick);
    read record;
    answer text;
BEGIN
    LOOP
        WHILE NOT quick AND dblink_is_busy(link) = 1 LOOP
            PERFORM pg_sleep(0.0005);  -- in which it can be cancelled
        END LOOP;
        SELECT r.answer INTO read FROM dblink_get_result(link) AS r (answer text);
        IF NOT FOUND THEN
            RETURN answer;
        END IF;
        answer := read.answer;
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.await_shard(text, boolean) IS
    'What a shard answers: one text, of several questions to the last.';

-- For the library, which searches shards by the statements that it has for this database. What is
-- asked is a reader's, there as here, and nothing but a query: without a semicolon there is no second
-- statement, and nothing else can be prepared. By itself, so that no open quote of it reaches values.
CREATE FUNCTION geosearch.put_to_shard(
    shard text,
    quick boolean,
    afresh boolean,   -- nothing is prepared
    questions jsonb,  -- name; statement, unless it is prepared; types of its parameters; their values,
    query text        -- of which that with the number "query" is this one
)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    question record;
    preparing text[] := CASE WHEN afresh THEN '{DEALLOCATE ALL}'::text[] ELSE '{}' END;
    asked text[] := '{}';
    trouble text;
BEGIN
    FOR question IN
        SELECT * FROM jsonb_to_recordset(questions)
            AS q (name text, statement text, types oid[], "values" text[], query integer)
    LOOP
        IF question.statement LIKE '%;%' THEN
            RAISE invalid_parameter_value USING
                MESSAGE = 'a statement for a shard has a semicolon',
                HINT = 'Give one query.';
        ELSIF question.statement IS NOT NULL THEN
            preparing := preparing || format(
                'PREPARE %I%s AS %s', question.name,
                (
                    SELECT '(' || string_agg(
                        CASE type WHEN 0 THEN 'unknown' ELSE format_type(type, NULL) END, ', '
                        ORDER BY number
                    ) || ')'
                    FROM unnest(question.types) WITH ORDINALITY AS t (type, number)
                ),
                question.statement
            );
        END IF;
        asked := asked || format(
            'EXECUTE %I%s', question.name,
            (
                SELECT '(' || string_agg(quote_nullable(
                    CASE v.number WHEN question.query THEN put_to_shard.query ELSE v.value END
                ), ', ' ORDER BY v.number) || ')'
                FROM unnest(question."values") WITH ORDINALITY AS v (value, number)
            )
        );
    END LOOP;
    FOR number IN 1..cardinality(preparing) LOOP
        trouble := ask_shard(shard, quick, preparing[number]);
        IF trouble IS NOT NULL THEN
            RETURN trouble;
        END IF;
        PERFORM await_shard(shard, quick);
    END LOOP;
    RETURN ask_shard(shard, quick, VARIADIC asked);
END
$$;

COMMENT ON FUNCTION geosearch.put_to_shard(text, boolean, boolean, jsonb, text) IS
    'Sends queries of the library to a shard; why not, or NULL.';

CREATE FUNCTION geosearch.put_to_shards(
    asked jsonb,  -- of each: shard, afresh, questions
    quick boolean,
    query halfvec
)
RETURNS text[]
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    written CONSTANT text := query;
    each record;
    troubles text[] := '{}';
BEGIN
    FOR each IN
        SELECT s.name, a.afresh, a.questions
        FROM jsonb_to_recordset(asked) AS a (shard text, afresh boolean, questions jsonb)
        LEFT JOIN shards AS s ON s.name = a.shard
    LOOP
        troubles := troubles || CASE
            WHEN each.name IS NULL THEN 'there is no such shard'
            ELSE put_to_shard(each.name, quick, each.afresh, each.questions, written)
        END;
    END LOOP;
    RETURN troubles;
END
$$;

COMMENT ON FUNCTION geosearch.put_to_shards(jsonb, boolean, halfvec) IS
    'Sends queries of the library to shards; for each why not, or NULL.';

CREATE FUNCTION geosearch.answers_of_shards(names text[], quick boolean) RETURNS text[]
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    name text;
    answer text;
    answers text[] := '{}';
BEGIN
    FOR name IN
        SELECT s.name FROM unnest(names) WITH ORDINALITY AS n (name, place)
        LEFT JOIN shards AS s ON s.name = n.name ORDER BY n.place
    LOOP
        answer := NULL;
        IF name IS NOT NULL THEN
            IF shard_link(name, quick) = ANY (dblink_get_connections()) THEN
                answer := await_shard(name, quick);
            END IF;
        END IF;
        answers := answers || answer;
    END LOOP;
    RETURN answers;
END
$$;

COMMENT ON FUNCTION geosearch.answers_of_shards(text[], boolean) IS
    'The answers of shards to the last of what geosearch.put_to_shards sent; NULL if it sent nothing.';

CREATE TYPE geosearch.shard_neighbour AS (
    shard text,
    extent geometry,
    trouble text,
    total bigint,
    photo_id bigint,
    uri text,
    geom geometry,
    distance float8,
    strategy text,
    expected_recall float8,
    matches bigint,
    reason text
);

COMMENT ON TYPE geosearch.shard_neighbour IS
    'What a shard found: a row for each neighbour, one without a photo where it found none, and one '
    'with a trouble where it cannot be reached.';

-- What each shard found, or without a photo that it found none. With the rights of the tables' owner,
-- who alone may speak to shards, and there as a login that may do what readers may: "also" is SQL.
CREATE FUNCTION geosearch.nearest_on_shards(
    query halfvec,
    model bigint,
    k integer,
    also text,          -- condition on the photos, SQL over the columns of embeddings
    boxes float8[],     -- that hold all that may pass: west, south, east, north; NULL: the world
    exact boolean,
    hidden bigint[],    -- photos that count elsewhere, as the caller's statement sees them
    partial boolean,    -- leave out shards that cannot be reached
    ahead boolean DEFAULT false  -- only send the question: the same is asked in a moment
)
RETURNS SETOF geosearch.shard_neighbour
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER COST 100000 ROWS 20
SET search_path = pg_catalog, geosearch, public, pg_temp
SET extra_float_digits = 1
AS $$
DECLARE
    question CONSTANT text := format(
        'SELECT geosearch.rows_of(%L), n.photo_id, n.uri, n.geom, n.distance, n.strategy,'
        ' n.expected_recall, n.matches, n.reason '
        'FROM geosearch.models AS m LEFT JOIN LATERAL geosearch.nearest('
        '%L, m.id::text, %s, exact => %L, not_photos => %L, also => %L'
        ') AS n ON true WHERE m.id = %s',
        'embeddings_m' || model, query, k, coalesce(exact, false),
        nullif(hidden || hidden_on(), '{}'), also, model
    );
    -- Whoever asks something else in between, as a condition may, has what was sent forgotten.
    sent CONSTANT boolean := coalesce(current_setting('geosearch.ahead', true), '') = md5(question);
    asked record;
    link text;
    trouble text;
BEGIN
    PERFORM set_config('geosearch.ahead', CASE WHEN ahead THEN md5(question) ELSE '' END, true);
    FOR asked IN
        SELECT
            s.name, s.extent,
            CASE WHEN ahead OR NOT sent THEN ask_shard(s.name, false, question) END AS trouble
        FROM (
            SELECT * FROM shards WHERE extent IS NOT NULL AND (boxes IS NULL OR EXISTS (
                SELECT FROM generate_subscripts(boxes, 1) AS n
                WHERE extent && ST_MakeEnvelope(boxes[n][1], boxes[n][2], boxes[n][3], boxes[n][4], 4326)
            )) ORDER BY id
        ) AS s
    LOOP
        CONTINUE WHEN ahead;
        link := shard_server(asked.name);
        trouble := asked.trouble;
        FOR attempt IN 1..2 LOOP
            EXIT WHEN trouble IS NOT NULL;
            BEGIN
                WHILE dblink_is_busy(link) = 1 LOOP
                    PERFORM pg_sleep(0.0005);  -- in which it can be cancelled
                END LOOP;
                RETURN QUERY
                SELECT asked.name, asked.extent, NULL::text, r.*
                FROM dblink_get_result(link) AS r (
                    total bigint, photo_id bigint, uri text, geom geometry, distance float8,
                    strategy text, expected_recall float8, matches bigint, reason text
                );
                PERFORM FROM dblink_get_result(link) AS r (nothing text);
                EXIT;
            EXCEPTION
                WHEN connection_exception OR connection_failure OR connection_does_not_exist
                    OR sqlclient_unable_to_establish_sqlconnection OR admin_shutdown
                    OR crash_shutdown OR cannot_connect_now
                THEN
                    -- It may be there again, after a restart of which this connection knows nothing.
                    trouble := CASE attempt WHEN 1 THEN ask_shard(asked.name, false, question)
                        ELSE SQLERRM END;
            END;
        END LOOP;
        IF trouble IS NOT NULL AND NOT partial THEN
            RAISE connection_exception USING
                MESSAGE = format('the shard %s cannot be reached: %s', asked.name, trouble),
                HINT = 'Start its server; or SET geosearch.partial = on for what the others hold.';
        ELSIF trouble IS NOT NULL THEN
            RETURN NEXT (
                asked.name, asked.extent, trouble,
                NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
            )::shard_neighbour;
        END IF;
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.nearest_on_shards IS
    'The k photos most like a query on each shard that may have any, with how it found them.';

-- For geosearch.nearest: what was found here, and how, together with what is found on shards.
CREATE FUNCTION geosearch.with_shards(
    INOUT photo_ids bigint[], INOUT geoms geometry[], INOUT distances float8[],
    INOUT strategy text, INOUT expected_recall float8, INOUT matches bigint, INOUT reason text,
    query halfvec, model bigint, k integer, condition text, boxes float8[], exact boolean,
    OUT uris jsonb
)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    parts text;
    found record;
BEGIN
    WITH there AS MATERIALIZED (
        SELECT * FROM nearest_on_shards(
            query, model, k, nullif(condition, 'true'), boxes, exact, hidden_on(), wants_part()
        )
    ), best AS (
        SELECT * FROM (
            SELECT * FROM unnest(photo_ids, geoms, distances) AS here (photo_id, geom, distance)
            UNION ALL
            SELECT t.photo_id, t.geom, t.distance FROM there AS t WHERE t.photo_id IS NOT NULL
        ) AS n ORDER BY distance, photo_id LIMIT k
    ), shard AS (
        SELECT
            t.shard, t.extent, t.trouble, coalesce(t.strategy, 'exact') AS strategy,
            coalesce(t.matches, 0) AS matches, t.expected_recall, t.photo_id IS NULL AS none
        FROM (SELECT DISTINCT ON (shard) * FROM there ORDER BY shard) AS t
    )
    SELECT
        array_agg(b.photo_id ORDER BY b.distance, b.photo_id) AS photo_ids,
        array_agg(b.geom ORDER BY b.distance, b.photo_id) AS geoms,
        array_agg(b.distance ORDER BY b.distance, b.photo_id) AS distances,
        (
            SELECT coalesce(jsonb_object_agg(t.photo_id::text, t.uri), '{}') FROM there AS t
            WHERE t.photo_id IS NOT NULL
        ) AS uris,
        (SELECT coalesce(sum(s.matches), 0) FROM shard AS s) AS matches,
        (SELECT min(s.expected_recall) FROM shard AS s) AS recall,
        -- Of an index of which nothing was measured nothing is known.
        (SELECT bool_or(s.strategy <> 'exact' AND s.expected_recall IS NULL) FROM shard AS s) AS unknown,
        (SELECT bool_or(s.strategy <> 'exact') FROM shard AS s) AS by_index,
        (
            SELECT string_agg(
                CASE WHEN s.trouble IS NOT NULL THEN format(
                        'the shard %s is missing, which has photos in %s', s.shard, ST_AsText(s.extent, 3)
                    )
                    ELSE format(
                        'shard %s: %s, recall %s', s.shard, s.strategy,
                        CASE WHEN s.none THEN '1'
                            ELSE coalesce(round(s.expected_recall::numeric, 3)::text, 'unknown') END
                    ) END, '; ' ORDER BY s.shard
            ) FROM shard AS s
        ) AS reason
    INTO found
    FROM best AS b;
    uris := found.uris;
    IF NOT (strategy = 'ann' AND expected_recall IS NULL) THEN
        expected_recall := CASE WHEN NOT coalesce(found.unknown, false)
            THEN least(expected_recall, found.recall) END;
    END IF;
    photo_ids := found.photo_ids;
    geoms := found.geoms;
    distances := found.distances;
    matches := matches + found.matches;
    strategy := CASE WHEN found.by_index THEN 'ann' ELSE strategy END;
    reason := concat_ws('; ', reason, found.reason);
END
$$;

COMMENT ON FUNCTION geosearch.with_shards IS
    'What was found here and on shards, merged; its recall is the least of all.';
