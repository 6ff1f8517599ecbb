-- Who holds rights on which relations. Row-level security is no wall: comparisons that PostgreSQL
-- takes for harmless run before a policy, and EXPLAIN ANALYZE tells what they met. So a role has no
-- right on any relation with rows that are hidden from it, and a table all_x is for geosearch_owner.
-- The view x shows what of it the caller may see:
--
-- * Of shelved tables (photos, their changes and write-backs, thumbnails, rejects, files, claims, embeddings, queries, coverage), the shelf of the public collections,
--   x_open, and each private one, x_c<collection>, if the caller may read it. That is a condition
--   without columns: PostgreSQL asks it once, before the first row, and skips the shelf if it is not
--   met. What the caller asks about its rows is never asked.
-- * Of recorded tables (answers, evaluations, calibrations, whitenings, ...), all rows if the
--   caller may read the table; else those that rest on visible collections alone, out of a function that is
--   planned by itself: nothing the caller asks gets inside.
--
-- Where nothing is private, the views are plain: SELECT ... FROM one table. derived.sql says what rests
-- on which collections.

CREATE FUNCTION geosearch.shelved_tables() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '{photos, photo_changes, write_backs, thumbnails, rejects, files, claims, embeddings, queries, coverage}'::text[];

COMMENT ON FUNCTION geosearch.shelved_tables() IS
    'Tables whose rows are a collection''s, each on its shelf.';

-- With the table that a part belongs to, and its column that says to which row.
CREATE FUNCTION geosearch.recorded_tables()
RETURNS TABLE (name text, whole text, key text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
VALUES
    ('runs', NULL, NULL),
    ('evaluations', NULL, NULL),
    ('evaluation_failures', 'evaluations', 'evaluation_id'),
    ('calibrations', NULL, NULL),
    ('whitenings', NULL, NULL),
    ('localizations', NULL, NULL),
    ('localization_neighbours', 'localizations', 'localization_id'),
    ('localization_models', 'localizations', 'localization_id'),
    ('localization_regions', 'localizations', 'localization_id'),
    ('localization_cells', 'localizations', 'localization_id'),
    ('reviews', NULL, NULL),
    ('duplicates', NULL, NULL),
    ('audits', NULL, NULL),
    ('partitions', NULL, NULL),
    ('geocells', 'partitions', 'partition_id'),
    ('classifiers', 'partitions', 'partition_id'),
    ('qgis_projects', NULL, NULL);
END;

COMMENT ON FUNCTION geosearch.recorded_tables() IS
    'Tables of what was computed from collections, and of parts of that.';

CREATE FUNCTION geosearch.columns_of(name text, prefix text DEFAULT '') RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
SELECT string_agg(prefix || quote_ident(a.attname), ', ' ORDER BY a.attnum)
FROM pg_attribute AS a
WHERE a.attrelid = format('geosearch.%I', name)::regclass AND a.attnum > 0 AND NOT a.attisdropped;
END;

COMMENT ON FUNCTION geosearch.columns_of(text, text) IS 'The columns of a table, as a list.';

-- Of relations that are hidden from some, statistics would tell them by the planner's estimates.
CREATE FUNCTION geosearch.keep_no_statistics(name text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT c.relkind, c.relname, a.attnum, a.attname
        FROM pg_class AS t
        LEFT JOIN pg_index AS i ON i.indrelid = t.oid
        JOIN pg_class AS c ON c.oid IN (t.oid, i.indexrelid) AND c.relkind IN ('r', 'p', 'i')
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE t.oid = format('geosearch.%I', name)::regclass
            -- Of an index, only what no column says.
            AND (c.oid = t.oid OR i.indkey[a.attnum - 1] = 0)
        GROUP BY c.relkind, c.relname, a.attnum, a.attname
    LOOP
        EXECUTE format(
            'ALTER %s geosearch.%I ALTER COLUMN %s SET STATISTICS 0',
            CASE part.relkind WHEN 'i' THEN 'INDEX' ELSE 'TABLE ONLY' END, part.relname,
            CASE part.relkind WHEN 'i' THEN part.attnum::text ELSE quote_ident(part.attname) END
        );
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.keep_no_statistics(text) IS
    'Lets ANALYZE note nothing of what is in a table.';

CREATE FUNCTION geosearch.visible_collection_rows() RETURNS SETOF geosearch.all_collections
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    who CONSTANT name := geosearch.caller();
BEGIN
    RETURN QUERY
    SELECT c.* FROM geosearch.all_collections AS c
    WHERE c.id = ANY (geosearch.visible_to(who)) ORDER BY c.id;
END
$$;

COMMENT ON FUNCTION geosearch.visible_collection_rows() IS
    'The collections that the caller may see.';

-- An ingester makes collections, and is not told of hidden ones.
CREATE FUNCTION geosearch.add_collection(name text, description text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO geosearch.all_collections (name, description)
    VALUES (add_collection.name, add_collection.description)
    ON CONFLICT ON CONSTRAINT all_collections_name_key DO NOTHING;
END
$$;

COMMENT ON FUNCTION geosearch.add_collection(text, text) IS
    'Makes a public collection that is described so, if none has the name.';

-- For each recorded table: what the caller may see of it, and how the view is written to. Rows are
-- changed by who recorded them, and by those who may change the table.
CREATE FUNCTION geosearch.protect_recorded(name text, whole text, key text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    stored CONSTANT text := 'all_' || name;
    defaults CONSTANT text := (
        SELECT coalesce(string_agg(
            format(
                'NEW.%1$I := coalesce(NEW.%1$I, %2$s);',
                a.attname,
                CASE
                    WHEN a.attidentity <> '' THEN format(
                        'nextval(%L)',
                        pg_get_serial_sequence('geosearch.' || stored, a.attname)
                    )
                    WHEN a.attname = 'recorded_by' THEN 'who'
                    ELSE pg_get_expr(d.adbin, d.adrelid)
                END
            ), E'\n' ORDER BY a.attnum
        ), '')
        FROM pg_attribute AS a
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = format('geosearch.%I', stored)::regclass AND a.attnum > 0
            AND (a.atthasdef OR a.attidentity <> '')
    );
    -- A part may rest on more than its whole, as a classifier does.
    noted CONSTANT boolean := EXISTS (
        SELECT FROM pg_attribute AS a
        WHERE a.attrelid = format('geosearch.%I', stored)::regclass AND a.attname = 'collection_ids'
    );
    visible CONSTANT text := format('SELECT r.* FROM geosearch.%I AS r ', stored)
        || CASE WHEN whole IS NULL THEN '' ELSE format(
            'JOIN geosearch.%I AS w ON w.id = r.%I AND w.collection_ids <@ seen ',
            'all_' || whole, key
        ) END
        || CASE WHEN noted THEN 'WHERE r.collection_ids <@ seen' ELSE '' END;
    author CONSTANT text := CASE WHEN whole IS NULL THEN '%1$s.recorded_by'
        ELSE format(
            '(SELECT w.recorded_by FROM geosearch.%I AS w WHERE w.id = %%1$s.%I)',
            'all_' || whole, key
        )
    END;
    -- An answer is added to an evaluation of one's own alone.
    other CONSTANT text := CASE name WHEN 'localizations' THEN
        'AND (NEW.evaluation_id IS NULL OR all_of_it OR who = '
        '(SELECT w.recorded_by FROM geosearch.all_evaluations AS w WHERE w.id = NEW.evaluation_id))'
        ELSE '' END
        -- NULL: still to be noted.
        || CASE WHEN noted THEN
            ' AND coalesce(NEW.collection_ids <@ geosearch.visible_to(who), true)' ELSE '' END;
BEGIN
    PERFORM geosearch.keep_no_statistics(stored);
    EXECUTE format(
        $make$
        CREATE FUNCTION geosearch.%1$I() RETURNS SETOF geosearch.%2$I
        LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1000
        SET search_path = pg_catalog, pg_temp
        AS $$
        DECLARE
            seen CONSTANT bigint[] := geosearch.visible_to(geosearch.caller());
        BEGIN
            RETURN QUERY %3$s;
        END
        $$;
        COMMENT ON FUNCTION geosearch.%1$I() IS
            'Rows that rest on collections that the caller may see alone.';
        $make$,
        'visible_' || name, stored, visible
    );
    EXECUTE format(
        $make$
        CREATE FUNCTION geosearch.%1$I() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, public, pg_temp
        AS $$
        DECLARE
            who CONSTANT name := geosearch.caller();
            all_of_it CONSTANT boolean := has_table_privilege(who, %2$L, 'DELETE');
        BEGIN
            -- Those of others are left as they are.
            IF TG_OP <> 'INSERT' AND NOT all_of_it AND %3$s IS DISTINCT FROM who THEN
                RETURN NULL;
            ELSIF TG_OP = 'DELETE' THEN
                DELETE FROM %2$s AS r WHERE r.id = OLD.id;
                RETURN OLD;
            ELSIF TG_OP = 'INSERT' THEN
                %5$s
            END IF;
            IF NOT ((all_of_it OR %4$s IS NOT DISTINCT FROM who) %6$s) THEN
                RAISE insufficient_privilege USING MESSAGE =
                    'the row is, or would be, another''s, or rests on what you may not see';
            ELSIF TG_OP = 'INSERT' THEN
                INSERT INTO %2$s (%7$s) VALUES (%8$s);
            ELSE
                UPDATE %2$s AS r SET (%7$s) = ROW (%8$s) WHERE r.id = OLD.id;
            END IF;
            RETURN NEW;
        END
        $$;
        COMMENT ON FUNCTION geosearch.%1$I() IS 'Writes through the view.';
        $make$,
        'write_' || name,
        format('geosearch.%I', stored),
        format(author, 'OLD'),
        format(author, 'NEW'),
        defaults,
        other,
        geosearch.columns_of(stored),
        geosearch.columns_of(stored, 'NEW.')
    );
    IF noted THEN
        EXECUTE format(
            'CREATE TRIGGER %2$I AFTER DELETE ON geosearch.all_collections '
            'FOR EACH ROW WHEN (NOT OLD.private) EXECUTE FUNCTION geosearch.forget_collection(%1$L)',
            stored, 'forget_collection_' || name
        );
    END IF;
END
$body$;

COMMENT ON FUNCTION geosearch.protect_recorded(text, text, text) IS
    'Makes the functions by which a recorded table is read and written through its view.';

-- A collection that is gone hides nothing; a private one that is gone still does, as answers keep
-- the names and places of their neighbours.
CREATE FUNCTION geosearch.forget_collection() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        'UPDATE geosearch.%I SET collection_ids = array_remove(collection_ids, $1) '
        'WHERE $1 = ANY (collection_ids)',
        TG_ARGV[0]
    ) USING OLD.id;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION geosearch.forget_collection() IS
    'Takes a deleted public collection off the rows that were recorded when it could be seen.';

-- Numbers of the shelves there are; 0 is the open one.
-- In PL/pgSQL, which keeps plans, as every search asks them.
CREATE FUNCTION geosearch.shelves() RETURNS bigint[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN ARRAY(
        SELECT substr(c.relname, 9)::bigint
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'geosearch.all_photos'::regclass AND c.relname ~ '^photos_c[0-9]+$'
        ORDER BY 1
    );
END
$$;

COMMENT ON FUNCTION geosearch.shelves() IS 'Ids of the collections that have a shelf of their own.';

CREATE FUNCTION geosearch.private_shelves() RETURNS bigint[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN ARRAY(
        SELECT shelf FROM unnest(geosearch.shelves()) AS shelf
        WHERE has_table_privilege(to_regclass(format('geosearch.photos_c%s', shelf)), 'SELECT')
    );
END
$$;

COMMENT ON FUNCTION geosearch.private_shelves() IS
    'Ids of the private collections that the current role may read.';

CREATE FUNCTION geosearch.embeddings_on(model bigint, shelves bigint[]) RETURNS text
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
SELECT format('(%s)', string_agg(
    format(
        'SELECT photo_id, model_id, collection_id, geom, accuracy_m, taken_at, author, licence, '
        'embedding FROM '
        || CASE shelf WHEN -1 THEN 'geosearch.queries_here WHERE model_id = %2$s AND geom IS NOT NULL'
            ELSE 'geosearch.embeddings_c%1$s_m%2$s' END,
        shelf, model
    ),
    ' UNION ALL '
))
FROM unnest(shelves) AS shelf;
END;

COMMENT ON FUNCTION geosearch.embeddings_on(bigint, bigint[]) IS
    'What to select one model''s embeddings from, on these private shelves; -1: of estimated positions.';

CREATE FUNCTION geosearch.rests_on_the_gone() RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item text;
    found boolean;
BEGIN
    FOR item IN SELECT r.name FROM geosearch.recorded_tables() AS r WHERE r.whole IS NULL LOOP
        EXECUTE format(
            'SELECT EXISTS (SELECT FROM geosearch.%I AS r '
            'WHERE NOT r.collection_ids <@ ARRAY(SELECT id FROM geosearch.all_collections))',
            'all_' || item
        ) INTO found;
        IF found THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END
$$;

COMMENT ON FUNCTION geosearch.rests_on_the_gone() IS
    'Whether something computed rests on a private collection that was deleted.';

CREATE FUNCTION geosearch.make_views() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
    listed text;
    own bigint[] := geosearch.shelves();
    shards CONSTANT bigint[] := ARRAY(
        SELECT s.id FROM geosearch.shards AS s
        WHERE to_regclass(format('geosearch.photos_f%s', s.id)) IS NOT NULL ORDER BY s.id
    );
    private boolean;
    here text;
    there text;
BEGIN
    FOR item IN SELECT unnest(geosearch.shelved_tables()) AS name LOOP
        listed := geosearch.columns_of('all_' || item.name);
        here := concat_ws(
            ' UNION ALL ',
            format('SELECT %s FROM geosearch.%I', listed, item.name || '_open'),
            (
                SELECT string_agg(
                    format(
                        'SELECT %s FROM geosearch.%I WHERE has_table_privilege(%L::regclass, %L)',
                        listed, format('%s_c%s', item.name, shelf),
                        format('geosearch.photos_c%s', shelf), 'SELECT'
                    ),
                    ' UNION ALL ' ORDER BY shelf
                )
                FROM unnest(own) AS shelf
            )
        );
        -- What shards find, they describe themselves.
        IF item.name IN ('photos', 'queries') THEN
            EXECUTE format('CREATE OR REPLACE VIEW geosearch.%I AS %s', item.name || '_here', here);
        END IF;
        there := (
            SELECT string_agg(
                format(
                    'SELECT %s FROM geosearch.%I WHERE geosearch.reads_shard(%s) AND %s',
                    listed, format('%s_f%s', item.name, shard), shard,
                    geosearch.counts_there(item.name, shard)
                ),
                ' UNION ALL ' ORDER BY shard
            )
            FROM unnest(shards) AS shard
        );
        IF item.name = 'embeddings' THEN
            EXECUTE 'CREATE OR REPLACE VIEW geosearch.embeddings_elsewhere AS ' || coalesce(
                there, format('SELECT %s FROM geosearch.embeddings_open WHERE false', listed)
            );
        END IF;
        EXECUTE format('CREATE OR REPLACE VIEW geosearch.%I AS ', item.name)
            || concat_ws(' UNION ALL ', here, there);
    END LOOP;
    private := own <> '{}' OR EXISTS (SELECT FROM geosearch.all_collections AS c WHERE c.private)
        OR geosearch.rests_on_the_gone();
    EXECUTE format(
        'CREATE OR REPLACE VIEW geosearch.collections AS SELECT %s FROM geosearch.%s',
        geosearch.columns_of('all_collections'),
        CASE WHEN private THEN 'visible_collection_rows()' ELSE 'all_collections' END
    );
    FOR item IN SELECT r.name FROM geosearch.recorded_tables() AS r LOOP
        listed := geosearch.columns_of('all_' || item.name);
        EXECUTE format('CREATE OR REPLACE VIEW geosearch.%I AS ', item.name) || format(
            CASE WHEN private THEN
                'SELECT %1$s FROM geosearch.%2$I WHERE has_table_privilege(%3$L::regclass, %4$L)'
                ' UNION ALL '
                'SELECT %1$s FROM geosearch.%5$I()'
                ' WHERE NOT has_table_privilege(%3$L::regclass, %4$L)'
            ELSE 'SELECT %1$s FROM geosearch.%2$I' END,
            listed, 'all_' || item.name, 'geosearch.all_' || item.name, 'SELECT',
            'visible_' || item.name
        );
    END LOOP;
    FOR item IN
        SELECT
            format(
                CASE d.objsubid WHEN 0 THEN 'VIEW %1$s' ELSE 'COLUMN %1$s.%2$I' END,
                v.oid::regclass, a.attname
            ) AS name,
            d.description
        FROM pg_class AS t
        JOIN pg_class AS v ON v.relnamespace = t.relnamespace AND v.relkind = 'v'
            AND t.relname = 'all_' || regexp_replace(v.relname, '_(here|elsewhere)$', '')
        JOIN pg_description AS d ON d.objoid = t.oid AND d.classoid = 'pg_class'::regclass
        LEFT JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.objsubid
        WHERE t.relnamespace = 'geosearch'::regnamespace
            AND col_description(v.oid, d.objsubid) IS NULL
            AND (d.objsubid > 0 OR obj_description(v.oid) IS NULL)
    LOOP
        EXECUTE format('COMMENT ON %s IS %L', item.name, item.description);
    END LOOP;
    UPDATE geosearch.shelf_changes SET number = number + 1;
END
$$;

COMMENT ON FUNCTION geosearch.make_views() IS
    'Makes the views of what the caller may see, for the shelves there are.';

CREATE FUNCTION geosearch.make_leaf(model bigint, shelf bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    whole CONSTANT text := CASE shelf WHEN 0 THEN 'embeddings_open' ELSE 'embeddings_c' || shelf END;
    leaf CONSTANT text := format(
        CASE shelf WHEN 0 THEN 'embeddings_m%1$s' ELSE 'embeddings_c%2$s_m%1$s' END, model, shelf
    );
    length CONSTANT integer := (SELECT m.dimension FROM geosearch.models AS m WHERE m.id = model);
BEGIN
    -- Embeddings of over 1,000 dimensions would move to the TOAST table, and exact search would
    -- fetch each from there; kept in the row they are read in order.
    EXECUTE format(
        'CREATE TABLE geosearch.%1$I PARTITION OF geosearch.%2$I ('
        'CONSTRAINT %5$I CHECK (public.vector_dims(embedding) = %4$s)'
        ') FOR VALUES IN (%3$s) WITH (toast_tuple_target = 8160)',
        leaf, whole, model, length, leaf || '_dimension_check'
    );
    EXECUTE format(
        'COMMENT ON TABLE geosearch.%I IS %L',
        leaf, format('Embeddings of model %s, %s dimensions.', model, length)
    );
    IF shelf <> 0 THEN
        PERFORM geosearch.keep_no_statistics(leaf);
    ELSE
        PERFORM geosearch.mark_changes_of(leaf);
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.make_leaf(bigint, bigint) IS
    'Creates the table of a model''s embeddings on a shelf.';

CREATE FUNCTION geosearch.make_shelf(shelf bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text;
    part text;
BEGIN
    FOREACH name IN ARRAY geosearch.shelved_tables() LOOP
        part := name || CASE shelf WHEN 0 THEN '_open' ELSE '_c' || shelf END;
        EXECUTE format(
            'CREATE TABLE geosearch.%I PARTITION OF geosearch.%I FOR VALUES IN (%s) %s',
            part, 'all_' || name, shelf,
            CASE name WHEN 'embeddings' THEN 'PARTITION BY LIST (model_id)' ELSE '' END
        );
        EXECUTE format(
            'COMMENT ON TABLE geosearch.%I IS %L', part,
            CASE shelf WHEN 0 THEN 'Those of all public collections.'
                ELSE format('Those of the private collection %s.', shelf) END
        );
        -- Of a GiST index, PostGIS tells its extent to whoever asks.
        IF name IN ('photos', 'embeddings', 'queries', 'coverage') THEN
            EXECUTE format(
                'CREATE INDEX ON geosearch.%I USING %s (geom)',
                part, CASE shelf WHEN 0 THEN 'gist' ELSE 'spgist' END
            );
        END IF;
        IF shelf <> 0 THEN
            PERFORM geosearch.keep_no_statistics(part);
        END IF;
    END LOOP;
    PERFORM geosearch.make_leaf(m.id, shelf)
    FROM geosearch.models AS m
    WHERE to_regclass(format('geosearch.embeddings_m%s', m.id)) IS NOT NULL;
END
$$;

COMMENT ON FUNCTION geosearch.make_shelf(bigint) IS
    'Creates the relations of a collection that is to be private.';

CREATE FUNCTION geosearch.tables_of_shelf(shelf bigint) RETURNS SETOF regclass
LANGUAGE sql STABLE
BEGIN ATOMIC
SELECT t.relid
FROM unnest(geosearch.shelved_tables()) AS name,
    pg_partition_tree(
        format('geosearch.%I', name || CASE shelf WHEN 0 THEN '_open' ELSE '_c' || shelf END)
    ) AS t;
END;

COMMENT ON FUNCTION geosearch.tables_of_shelf(bigint) IS 'The relations of a shelf.';

-- Of a shelf without photos, which is no part of all_photos any more.
CREATE FUNCTION geosearch.drop_shelf(shelf bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    name text;
BEGIN
    PERFORM make_views();  -- first: they name its relations
    FOREACH name IN ARRAY ARRAY[
        'photo_changes', 'write_backs', 'thumbnails', 'rejects', 'files', 'claims', 'embeddings',
        'queries', 'coverage', 'photos'
    ] LOOP
        EXECUTE format('DROP TABLE %I', name || '_c' || shelf);
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.drop_shelf(bigint) IS
    'Drops the relations of a collection that is private no longer, or gone.';

-- In one transaction: whoever searches meanwhile sees all photos before, or all after.
CREATE FUNCTION geosearch.set_private(
    collection bigint, wanted boolean, OUT photos bigint, OUT statistics_left boolean
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    item record;
BEGIN
    photos := 0;
    statistics_left := false;
    PERFORM FROM all_collections AS c WHERE c.id = collection AND c.private <> wanted FOR UPDATE;
    IF FOUND THEN
        PERFORM refuse_on_shards(collection);
        IF wanted THEN
            PERFORM make_shelf(collection);
        END IF;
        SET CONSTRAINTS ALL DEFERRED;
        UPDATE all_collections SET private = wanted WHERE id = collection;  -- its photos follow
        UPDATE all_embeddings SET shelf = CASE WHEN wanted THEN collection ELSE 0 END
        WHERE collection_id = collection;
        UPDATE all_queries SET shelf = CASE WHEN wanted THEN collection ELSE 0 END
        WHERE collection_id = collection;
        DELETE FROM all_claims WHERE collection_id = collection;
        SET CONSTRAINTS ALL IMMEDIATE;
        IF wanted THEN
            PERFORM make_views();
            PERFORM grant_shelf(collection);
        ELSE
            EXECUTE format('ALTER TABLE all_photos DETACH PARTITION photos_c%s', collection);
            PERFORM drop_shelf(collection);
        END IF;
    END IF;
    SELECT count(*) INTO photos FROM all_photos AS p WHERE p.collection_id = collection;
    IF NOT wanted THEN
        RETURN;
    END IF;
    -- What was noted of the open shelf still tells of them.
    FOR item IN
        SELECT c.oid::regclass AS name, c.oid
        FROM tables_of_shelf(0) AS t JOIN pg_class AS c ON c.oid = t
        WHERE c.relkind = 'r'
    LOOP
        EXECUTE format('ANALYZE %s', item.name);
        -- Of an empty table it notes nothing, and leaves what there was.
        EXECUTE format(
            'SELECT NOT EXISTS (SELECT FROM %s) AND EXISTS ('
            'SELECT FROM pg_stats AS s JOIN pg_class AS c ON c.relname = s.tablename '
            'WHERE s.schemaname = ''geosearch'' AND c.oid = %s)',
            item.name, item.oid
        ) INTO statistics_left;
        IF statistics_left AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            DELETE FROM pg_statistic WHERE starelid = item.oid OR starelid IN (
                SELECT indexrelid FROM pg_index WHERE indrelid = item.oid
            );
        END IF;
    END LOOP;
    statistics_left := EXISTS (
        SELECT FROM tables_of_shelf(0) AS t
        JOIN pg_class AS c ON c.oid = t AND c.relkind = 'r'
        JOIN pg_stats AS s ON s.schemaname = 'geosearch' AND s.tablename = c.relname
        WHERE c.reltuples = 0
    );
END
$$;

COMMENT ON FUNCTION geosearch.set_private(bigint, boolean) IS
    'Moves a collection to a shelf of its own, or back to the open one; how many photos it has, '
    'and whether PostgreSQL kept statistics of them that only a superuser can remove.';

CREATE FUNCTION geosearch.set_shared(collection bigint, role text, wanted boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item regclass;
    had boolean;
BEGIN
    SELECT EXISTS (
        SELECT FROM pg_class AS c, aclexplode(c.relacl) AS a
        WHERE c.oid = to_regclass(format('geosearch.photos_c%s', collection))
            AND a.grantee = (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = set_shared.role)
    ) INTO had;
    IF to_regclass(format('geosearch.photos_c%s', collection)) IS NULL
        OR role = 'geosearch_owner' OR NOT had AND NOT wanted
    THEN
        RETURN false;
    END IF;
    FOR item IN SELECT geosearch.tables_of_shelf(collection) LOOP
        EXECUTE format(
            CASE WHEN wanted THEN 'GRANT SELECT ON %s TO %I' ELSE 'REVOKE SELECT ON %s FROM %I' END,
            item, role
        );
    END LOOP;
    RETURN true;
END
$$;

COMMENT ON FUNCTION geosearch.set_shared(bigint, text, boolean) IS
    'Gives a role the right to read a private collection, or takes it; false if nothing was to do.';

CREATE FUNCTION geosearch.shared_with(collection bigint) RETURNS text[]
LANGUAGE sql STABLE
BEGIN ATOMIC
SELECT ARRAY(
    SELECT r.rolname::text
    FROM pg_class AS c
    CROSS JOIN LATERAL aclexplode(c.relacl) AS a
    JOIN pg_roles AS r ON r.oid = a.grantee
    WHERE c.oid = to_regclass(format('geosearch.photos_c%s', collection))
        AND r.oid <> c.relowner AND r.rolname <> 'geosearch_owner'
        AND a.privilege_type = 'SELECT'
    ORDER BY r.rolname
);
END;

COMMENT ON FUNCTION geosearch.shared_with(bigint) IS
    'Roles that a private collection is shared with: those that may read its photos.';

SELECT geosearch.make_shelf(0);
SELECT geosearch.keep_no_statistics('all_' || name) FROM unnest(geosearch.shelved_tables()) AS name;
SELECT geosearch.keep_no_statistics('all_collections');
SELECT geosearch.protect_recorded(name, whole, key) FROM geosearch.recorded_tables();
SELECT geosearch.make_views();

DO $$
DECLARE
    item text;
BEGIN
    FOR item IN SELECT name FROM geosearch.recorded_tables() LOOP
        EXECUTE format(
            'CREATE TRIGGER write INSTEAD OF INSERT OR UPDATE OR DELETE ON geosearch.%1$I '
            'FOR EACH ROW EXECUTE FUNCTION geosearch.write_%1$s()',
            item
        );
    END LOOP;
END
$$;
