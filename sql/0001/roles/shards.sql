-- Shards: servers of their own with a part of the public photos (docs/shards.md). Of each shelved table,
-- x_f<shard> is the foreign table, on which no role has rights, and x_s<shard> what of it counts, for
-- who writes. The view x reads it with the rights, and by the user mapping, of the tables' owner, who
-- alone knows the password. A row is on the shard, and here as well, for as long as it moves; which one counts is
-- said here alone, so that it changes in one commit: shards.coming and shards.leaving.

CREATE FUNCTION geosearch.shard_server(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'geosearch shard ' || name;

COMMENT ON FUNCTION geosearch.shard_server(text) IS
    'The foreign server of a shard; with " search" behind it, the one that searches go by.';

CREATE FUNCTION geosearch.hidden_on(shard bigint DEFAULT NULL) RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT ARRAY(
    SELECT unnest(s.coming || s.leaving) FROM geosearch.shards AS s
    WHERE hidden_on.shard IS NULL OR s.id = hidden_on.shard
);
END;

COMMENT ON FUNCTION geosearch.hidden_on(bigint) IS
    'Photos that are on a shard, or on any, and count here.';

CREATE FUNCTION geosearch.wants_part() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(nullif(current_setting('geosearch.partial', true), ''), 'off')::boolean;

COMMENT ON FUNCTION geosearch.wants_part() IS
    'Whether shards that cannot be reached are left out: SET geosearch.partial = on.';

CREATE FUNCTION geosearch.shard_trouble(shard bigint) RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    said text;
BEGIN
    IF to_regclass(format('geosearch.photos_f%s', shard)) IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no shard %s', coalesce(shard::text, 'NULL')),
            HINT = 'Ids: SELECT id, name FROM geosearch.shards';
    END IF;
    EXECUTE format('SELECT FROM geosearch.photos_f%s LIMIT 1', shard);
    RETURN NULL;
EXCEPTION
    WHEN sqlclient_unable_to_establish_sqlconnection OR connection_failure
        OR connection_exception OR fdw_error OR admin_shutdown OR crash_shutdown
        OR cannot_connect_now
    THEN
        GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
        RETURN regexp_replace(btrim(coalesce(nullif(said, ''), SQLERRM)), '\s+', ' ', 'g');
END
$$;

COMMENT ON FUNCTION geosearch.shard_trouble(bigint) IS
    'Why a shard cannot be reached; NULL if it can.';

-- Not immutable in truth: it is asked when a statement is planned, as foreign tables in a plan are
-- connected to before any condition is asked. Who is content with a part plans each statement anew.
CREATE FUNCTION geosearch.reads_shard(shard bigint) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN NOT geosearch.wants_part() OR geosearch.shard_trouble(shard) IS NULL;
END
$$;

COMMENT ON FUNCTION geosearch.reads_shard(bigint) IS
    'Whether views read a shard: unless a part is enough and it cannot be reached.';

CREATE FUNCTION geosearch.missing_shards()
RETURNS TABLE (name text, extent geometry, trouble text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT s.name, s.extent::geometry, t FROM shards AS s, shard_trouble(s.id) AS t
    WHERE t IS NOT NULL ORDER BY s.id;
END
$$;

COMMENT ON FUNCTION geosearch.missing_shards() IS
    'Shards that cannot be reached, the part of the world that is missing with each, and why.';

CREATE FUNCTION geosearch.counts_there(name text, shard bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE name WHEN 'coverage' THEN 'true' ELSE format(
    '%s <> ALL ((SELECT geosearch.hidden_on(%s))::bigint[])',
    CASE name WHEN 'photos' THEN 'id' ELSE 'photo_id' END, shard
) END;

COMMENT ON FUNCTION geosearch.counts_there(text, bigint) IS
    'SQL that says which rows of a table of a shard count there.';

-- Foreign tables and views of one shard; its server is there.
CREATE FUNCTION geosearch.make_shard(shard bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    server CONSTANT text := (
        SELECT geosearch.shard_server(s.name) FROM geosearch.shards AS s WHERE s.id = shard
    );
    item record;
BEGIN
    FOR item IN
        SELECT name, name || '_open' AS source, true AS seen
        FROM unnest(geosearch.shelved_tables()) AS name
        -- What rows of photos refer to has to be there before them.
        UNION ALL VALUES
            ('collections', 'all_collections', false), ('models', 'models', false),
            ('runs', 'all_runs', false)
    LOOP
        EXECUTE format(
            'CREATE FOREIGN TABLE geosearch.%I (%s) SERVER %I '
            'OPTIONS (schema_name ''geosearch'', table_name %L)',
            item.name || '_f' || shard,
            (
                SELECT string_agg(
                    format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '
                    ORDER BY a.attnum
                )
                FROM pg_attribute AS a
                WHERE a.attrelid = format('geosearch.%I', item.source)::regclass
                    AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
            ),
            server, item.source
        );
        EXECUTE format(
            'COMMENT ON FOREIGN TABLE geosearch.%I IS %L',
            item.name || '_f' || shard, 'On a shard: ' || item.source || '.'
        );
        CONTINUE WHEN NOT item.seen;
        EXECUTE format(
            'CREATE VIEW geosearch.%I AS SELECT * FROM geosearch.%I WHERE %s',
            item.name || '_s' || shard, item.name || '_f' || shard,
            geosearch.counts_there(item.name, shard)
        );
        EXECUTE format(
            'COMMENT ON VIEW geosearch.%I IS %L',
            item.name || '_s' || shard, 'Those of a shard.'
        );
    END LOOP;
    PERFORM geosearch.grant_shard(shard);
END
$$;

COMMENT ON FUNCTION geosearch.make_shard(bigint) IS
    'Makes the relations by which a shard is read.';

-- For those who write photos: all else reads the views of all photos.
CREATE FUNCTION geosearch.grant_shard(shard bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM geosearch.grant_to(who, format('SELECT ON geosearch.%I', name || '_s' || shard))
    FROM unnest(geosearch.shelved_tables()) AS name,
        unnest('{geosearch_ingester, geosearch_owner}'::text[]) AS who;
END
$$;

COMMENT ON FUNCTION geosearch.grant_shard(bigint) IS
    'Gives the roles their rights on the views of a shard.';

-- Of a shard that no view names any more.
CREATE FUNCTION geosearch.drop_shard(shard bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    server CONSTANT text := (
        SELECT geosearch.shard_server(s.name) FROM geosearch.shards AS s WHERE s.id = shard
    );
BEGIN
    DELETE FROM geosearch.shards AS s WHERE s.id = shard;
    UPDATE geosearch.shelf_changes SET number = number + 1;
    PERFORM geosearch.make_views();
    EXECUTE format('DROP VIEW %s', (
        SELECT string_agg(format('geosearch.%I', name || '_s' || shard), ', ')
        FROM unnest(geosearch.shelved_tables()) AS name
    ));
    EXECUTE format('DROP SERVER %I CASCADE', server);
    EXECUTE format('DROP SERVER %I CASCADE', server || ' search');
END
$$;

COMMENT ON FUNCTION geosearch.drop_shard(bigint) IS
    'Drops the relations by which a shard is read; what is on it stays there.';

-- The rows of photos, and all that hangs on them, from the relations with one ending to those with the
-- other: between x_open and x_f<shard>.
CREATE FUNCTION geosearch.copy_photos(ids bigint[], ending text, target text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    name text;
BEGIN
    -- Each after what it refers to; coverage is counted.
    FOREACH name IN ARRAY ARRAY[
        'photos', 'photo_changes', 'write_backs', 'thumbnails', 'rejects', 'files', 'embeddings',
        'queries'
    ] LOOP
        EXECUTE format(
            'INSERT INTO %1$I (%3$s) SELECT %3$s FROM %2$I WHERE %4$I = ANY ($1) ORDER BY %4$I',
            name || target, name || ending, columns_of(name || '_open'),
            CASE name WHEN 'photos' THEN 'id' ELSE 'photo_id' END
        ) USING ids;
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.copy_photos(bigint[], text, text) IS
    'Copies photos with all that is theirs between the open shelf and a shard.';

-- In one transaction with the shard's, which commits first: a kill between the two leaves the photos
-- here, and copies there that are hidden, and deleted by the next attempt.
CREATE FUNCTION geosearch.send_photos(shard bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    ids bigint[] := (SELECT s.coming FROM shards AS s WHERE s.id = shard FOR UPDATE);
BEGIN
    -- Whoever changes them, or adds what refers to them, waits.
    ids := ARRAY(
        SELECT p.id FROM photos_open AS p WHERE p.id = ANY (ids) ORDER BY p.id FOR UPDATE
    );
    PERFORM FROM embeddings_open AS e WHERE e.photo_id = ANY (ids) FOR UPDATE;
    EXECUTE format('DELETE FROM photos_f%s WHERE id = ANY ($1)', shard) USING ids;
    EXECUTE format(
        'INSERT INTO runs_f%1$s (%2$s) SELECT %2$s FROM all_runs WHERE id IN ('
        'SELECT run_id FROM photos_open WHERE id = ANY ($1)'
        ' UNION ALL SELECT run_id FROM photo_changes_open WHERE photo_id = ANY ($1)'
        ' UNION ALL SELECT run_id FROM rejects_open WHERE photo_id = ANY ($1)'
        ' UNION ALL SELECT run_id FROM files_open WHERE photo_id = ANY ($1)'
        ') ON CONFLICT DO NOTHING',
        shard, columns_of('runs_f' || shard)
    ) USING ids;
    PERFORM copy_photos(ids, '_open', '_f' || shard);
    UPDATE shards AS s SET
        coming = '{}',
        extent = (
            SELECT ST_MakeEnvelope(ST_XMin(b), ST_YMin(b), ST_XMax(b), ST_YMax(b), 4326)
            FROM (
                SELECT ST_Extent(geom) AS b FROM (
                    SELECT p.geom FROM photos_open AS p WHERE p.id = ANY (ids)
                    UNION ALL SELECT s.extent
                ) AS places (geom)
            ) AS box WHERE b IS NOT NULL
        )
    WHERE s.id = shard;
    DELETE FROM photos_open WHERE id = ANY (ids);
    UPDATE shelf_changes SET number = number + 1;
    RETURN cardinality(ids);
END
$$;

COMMENT ON FUNCTION geosearch.send_photos(bigint) IS
    'Moves the photos that are announced as coming to a shard; how many there still were.';

-- For whoever may change them: photos of shards are here again, and those there are hidden until
-- somebody who owns the tables has them deleted.
CREATE FUNCTION geosearch.call_home(ids bigint[], shard bigint DEFAULT NULL) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    item bigint;
    found bigint[];
    called bigint[] := '{}';
BEGIN
    FOR item IN
        SELECT s.id FROM shards AS s
        WHERE call_home.shard IN (s.id) IS NOT FALSE
            AND to_regclass(format('photos_f%s', s.id)) IS NOT NULL  -- its tables are there
        ORDER BY s.id
    LOOP
        PERFORM FROM shards AS s WHERE s.id = item FOR UPDATE;
        EXECUTE format(
            'SELECT array_agg(id ORDER BY id) FROM photos_f%s '
            'WHERE id = ANY ($1) AND id <> ALL ($2)', item
        ) INTO found USING ids, hidden_on(item);
        CONTINUE WHEN found IS NULL;
        PERFORM copy_photos(found, '_f' || item, '_open');
        UPDATE shards AS s SET leaving = s.leaving || found WHERE s.id = item;
        UPDATE shelf_changes SET number = number + 1;
        called := called || found;
    END LOOP;
    RETURN called;
END
$$;

COMMENT ON FUNCTION geosearch.call_home(bigint[], bigint) IS
    'Moves photos from shards, or from one, to the open shelf, as far as they are there; which.';

CREATE FUNCTION geosearch.forget_leaving(shard bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    ids CONSTANT bigint[] := (SELECT s.coming || s.leaving FROM shards AS s WHERE s.id = shard FOR UPDATE);
BEGIN
    IF ids <> '{}' THEN
        EXECUTE format('DELETE FROM photos_f%s WHERE id = ANY ($1)', shard) USING ids;
        UPDATE shards AS s SET coming = '{}', leaving = '{}' WHERE s.id = shard;
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.forget_leaving(bigint) IS
    'Deletes on a shard what counts here, for whoever has waited for those that may still read it.';

-- Copies that are leaving count too: readers may ask a shard anything about what is on it.
CREATE FUNCTION geosearch.refuse_on_shards(collection bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
    found boolean;
BEGIN
    FOR item IN
        SELECT s.id, s.name FROM geosearch.shards AS s
        WHERE to_regclass(format('geosearch.photos_f%s', s.id)) IS NOT NULL ORDER BY s.id
    LOOP
        EXECUTE format(
            'SELECT EXISTS (SELECT FROM geosearch.photos_f%s WHERE collection_id = $1)', item.id
        ) INTO found USING collection;
        IF found THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('photos of the collection are on the shard %s', item.name),
                HINT = format('First: geosearch shards move %s --home --collection NAME', item.name);
        END IF;
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.refuse_on_shards(bigint) IS
    'Refuses what cannot be done while photos of a collection are on shards.';
