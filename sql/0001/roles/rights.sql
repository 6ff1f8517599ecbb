-- The roles of a server, and what each may do with geosearch. Roles belong to the whole server: where
-- other databases have them too, they are the same.

CREATE FUNCTION geosearch.create_roles() RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made text[];
    missing text[] := '{}';
BEGIN
    -- Each after those whose rights it has.
    FOREACH made SLICE 1 IN ARRAY ARRAY[
        ['geosearch_reader', NULL, NULL],
        ['geosearch_analyst', 'geosearch_reader', NULL],
        ['geosearch_ingester', 'geosearch_reader', NULL],
        ['geosearch_owner', 'geosearch_analyst', 'geosearch_ingester']
    ] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = made[1]);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', made[1]);
            FOR number IN 2..3 LOOP
                IF made[number] IS NOT NULL THEN
                    EXECUTE format('GRANT %I TO %I', made[number], made[1]);
                END IF;
            END LOOP;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this server has just made it
            WHEN insufficient_privilege THEN
                missing := missing || made[1];
        END;
    END LOOP;
    RETURN missing;
END
$$;

COMMENT ON FUNCTION geosearch.create_roles() IS
    'Creates the roles that this server lacks; returns those that the caller may not create.';

CREATE FUNCTION geosearch.grant_to(role text, rights text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
        EXECUTE format('GRANT %s TO %I', rights, role);
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.grant_to(text, text) IS 'GRANT, if there is such a role.';

-- What of photos and embeddings is read by views, functions and searches.
CREATE FUNCTION geosearch.read_columns(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE name
    WHEN 'photos' THEN
        'id, collection_id, uri, sha256, geom, title, author, licence, taken_at, taken_at_zone, '
        'accuracy_m, position_source, estimate, localization_id, source_id, width, height, direction_deg, '
        'direction_reference, field_of_view_deg, pitch_deg, altitude_m'
    WHEN 'thumbnails' THEN
        'photo_id, collection_id, width, height, webp'
    ELSE
        'photo_id, model_id, collection_id, geom, accuracy_m, taken_at, author, licence, embedding, '
        'low_information'
END;

COMMENT ON FUNCTION geosearch.read_columns(text) IS
    'Columns of photos, thumbnails, embeddings or queries that readers may read.';

-- The open shelf is for all roles, a private one for the owner: whom else, set_shared says.
CREATE FUNCTION geosearch.grant_shelf(shelf bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
    role text;
BEGIN
    FOR item IN
        SELECT t AS name, c.relname, split_part(c.relname, '_', 1) AS whole
        FROM geosearch.tables_of_shelf(shelf) AS t JOIN pg_class AS c ON c.oid = t
    LOOP
        PERFORM geosearch.grant_to(
            'geosearch_owner',
            format('SELECT, INSERT, UPDATE, DELETE ON %s', item.name)
        );
        IF shelf <> 0 THEN
            FOR role IN SELECT unnest(geosearch.shared_with(shelf)) LOOP
                EXECUTE format('GRANT SELECT ON %s TO %I', item.name, role);
            END LOOP;
            CONTINUE;
        END IF;
        IF item.whole IN ('photos', 'thumbnails', 'embeddings', 'queries') THEN
            PERFORM geosearch.grant_to('geosearch_reader', format(
                'SELECT (%s) ON %s', geosearch.read_columns(item.whole), item.name
            ));
        END IF;
        PERFORM geosearch.grant_to('geosearch_analyst', format('SELECT ON %s', item.name));
        -- Numbers are given, not chosen.
        PERFORM geosearch.grant_to('geosearch_ingester', format(
            'SELECT, DELETE, INSERT (%1$s), UPDATE (%1$s) ON %2$s',
            regexp_replace(geosearch.columns_of(item.relname), '^id, ', ''),
            item.name
        ));
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.grant_shelf(bigint) IS
    'Gives the roles their rights on the relations of a shelf.';

-- Only the owner of a table may add a partition, and whoever embeds with a new model needs one: this
-- lends the right to do exactly that. It creates nothing but what the model's row says.
CREATE FUNCTION geosearch.create_embedding_table(model bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM geosearch.models AS m WHERE m.id = model) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no model %s', coalesce(model::text, 'NULL')),
            HINT = 'Ids: SELECT id, name FROM geosearch.models';
    ELSIF to_regclass(format('geosearch.embeddings_m%s', model)) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM geosearch.make_leaf(model, shelf), geosearch.grant_shelf(shelf)
    FROM unnest(0 || geosearch.shelves()) AS shelf;
END
$$;

COMMENT ON FUNCTION geosearch.create_embedding_table(bigint) IS
    'Creates the partition of embeddings for a model, where it is missing.';

-- QGIS makes the table too, whose maker alone may give rights on it.
CREATE FUNCTION geosearch.share_styles() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF to_regrole('geosearch_reader') IS NOT NULL AND EXISTS (
        SELECT FROM pg_class AS c
        WHERE c.oid = to_regclass('public.layer_styles') AND pg_has_role(c.relowner, 'USAGE')
    ) THEN
        GRANT SELECT ON public.layer_styles TO geosearch_reader;
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.share_styles() IS
    'Lets readers read the styles that QGIS looks for, where the caller may.';

-- To be called by every migration that adds tables, views or functions, and by whoever creates the
-- roles later. A table that is not named here is for its owner and geosearch_owner alone.
CREATE FUNCTION geosearch.grant_rights() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
    -- No photo is in these.
    common CONSTANT text[] := '{
        alembic_version, models, tunings, recall_points, leaves, borders, places, shelf_changes,
        embedding_marks
    }';
    -- What the functions, and searches from Python, ask for beyond what the views show.
    asked CONSTANT text[] := ARRAY[
        'collections (id, name, description, private, shelf, reviewed_references)',
        format('photos (%s)', geosearch.read_columns('photos')),
        format('thumbnails (%s)', geosearch.read_columns('thumbnails')),
        format('embeddings (%s)', geosearch.read_columns('embeddings')),
        format('queries (%s)', geosearch.read_columns('queries')),
        'localizations (id, recorded_by)',
        'evaluations (id, recorded_by)',
        'calibrations (id, created_at, model_id, model, filter, parameters, figures, queries, options,'
        ' n_fit, n_check, failed, software)',
        'partitions (id, name, kind, parameters, filter, definition, photos, software, created_at,'
        ' recorded_by)',
        'geocells (partition_id, number, photos, medoid, spread_km, area_km2)',
        'classifiers (id, model_id, partition_id, weights, bias, provenance)',
        'whitenings (id, model_id, base_id, base_spec, mean, axes, eigenvalues, power, filter,'
        ' collection_ids)',
        'qgis_projects (name, metadata, content)',
        'shards (id, name, extent, coming, leaving)',
        format('photos_here (%s)', geosearch.read_columns('photos')),
        format('queries_here (%s)', geosearch.read_columns('queries')),
        format('embeddings_elsewhere (%s)', geosearch.read_columns('embeddings'))
    ];
    answers CONSTANT text[] := '{
        localizations, localization_neighbours, localization_models, localization_regions,
        localization_cells, evaluations, evaluation_failures, reviews, duplicates, audits, qgis_projects
    }';
    -- Views of what the caller may see: shelves.sql.
    seen CONSTANT text[] := ARRAY(SELECT name FROM geosearch.recorded_tables())
        || geosearch.shelved_tables() || '{collections, photos_here, queries_here, embeddings_elsewhere}';
    -- Functions with which rights are given.
    managing CONSTANT text[] := '{
        create_roles, grant_to, grant_rights, grant_shelf, read_columns, columns_of, caller,
        visible_to, tables_of_shelf,
        protect_recorded, keep_no_statistics, make_views, make_shelf, make_leaf, drop_shelf,
        mark_part, mark_changes_of, rest_on, rests_on_the_gone, may_write,
        make_shard, grant_shard, drop_shard, copy_photos, send_photos, forget_leaving,
        refuse_on_shards, ask_shard, await_shard, put_to_shard
    }';
BEGIN
    EXECUTE 'REVOKE ALL ON SCHEMA geosearch FROM PUBLIC';
    EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA geosearch FROM PUBLIC';
    EXECUTE 'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA geosearch FROM PUBLIC';
    PERFORM geosearch.grant_to('geosearch_reader', 'USAGE ON SCHEMA geosearch');
    PERFORM geosearch.grant_to(
        'geosearch_owner',
        -- Not ALL: a trigger of one role runs in what a superuser does next.
        'SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA geosearch'
    );

    FOR item IN
        SELECT p.oid::regprocedure AS name, p.proname
        FROM pg_proc AS p
        WHERE p.pronamespace = 'geosearch'::regnamespace AND p.prorettype <> 'trigger'::regtype
            AND p.proname <> ALL (managing)
    LOOP
        PERFORM geosearch.grant_to(
            CASE
                WHEN item.proname IN (
                    'create_embedding_table', 'add_collection', 'refresh_coverage', 'forget_tuning',
                    'place_reviewed', 'count_in_coverage', 'call_home'
                ) THEN 'geosearch_ingester'
                WHEN item.proname = 'settle_time' THEN 'geosearch_analyst'
                WHEN item.proname IN (
                    'delete_collection', 'delete_model', 'with_renamed', 'set_private', 'set_shared'
                ) THEN 'geosearch_owner'
                ELSE 'geosearch_reader'
            END,
            format('EXECUTE ON FUNCTION %s', item.name)
        );
    END LOOP;

    -- Views have the rights of whoever asks, who therefore needs the columns that they read.
    FOR item IN
        SELECT
            c.oid::regclass AS name,
            c.relkind,
            CASE WHEN c.relname = ANY (seen) THEN (
                SELECT string_agg(DISTINCT quote_ident(a.attname), ', ')
                FROM pg_rewrite AS r
                JOIN pg_class AS v ON v.oid = r.ev_class AND v.relkind = 'v'
                    AND v.relnamespace = c.relnamespace AND v.oid <> c.oid
                JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
                    AND a.attnum > 0
            ) END AS shown,
            c.relname = ANY (seen) AS seen,
            c.relname::text = ANY (common) AS common
        FROM pg_class AS c
        WHERE c.relnamespace = 'geosearch'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
    LOOP
        IF item.relkind IN ('v', 'm') AND NOT item.seen AND item.name::text !~ '_s[0-9]+$'
            OR item.common
        THEN
            PERFORM geosearch.grant_to('geosearch_reader', format('SELECT ON %s', item.name));
        ELSIF item.shown IS NOT NULL THEN
            PERFORM geosearch.grant_to(
                'geosearch_reader', format('SELECT (%s) ON %s', item.shown, item.name)
            );
        END IF;
    END LOOP;
    FOR item IN SELECT split_part(a, ' (', 1) AS name, '(' || split_part(a, ' (', 2) AS columns
        FROM unnest(asked) AS a
        WHERE to_regclass('geosearch.' || split_part(a, ' (', 1)) IS NOT NULL
    LOOP
        PERFORM geosearch.grant_to(
            'geosearch_reader', format('SELECT %s ON geosearch.%I', item.columns, item.name)
        );
    END LOOP;

    FOR item IN SELECT unnest(seen) AS name LOOP
        PERFORM geosearch.grant_to('geosearch_analyst', format('SELECT ON geosearch.%I', item.name));
        PERFORM geosearch.grant_to('geosearch_ingester', format('SELECT ON geosearch.%I', item.name));
    END LOOP;
    FOR item IN SELECT unnest(answers) AS name LOOP
        PERFORM geosearch.grant_to(
            'geosearch_analyst', format('INSERT, DELETE ON geosearch.%I', item.name)
        );
    END LOOP;
    PERFORM geosearch.grant_to('geosearch_analyst', 'UPDATE ON geosearch.evaluations');
    PERFORM geosearch.grant_to(
        'geosearch_analyst', 'UPDATE (geom, decision, remark) ON geosearch.gis_unlocated'
    );
    PERFORM geosearch.grant_to('geosearch_analyst', 'UPDATE ON geosearch.audits');
    PERFORM geosearch.grant_to('geosearch_ingester', 'INSERT, UPDATE, DELETE ON geosearch.runs');
    PERFORM geosearch.grant_to('geosearch_ingester', 'INSERT ON geosearch.models');
    PERFORM geosearch.grant_to('geosearch_ingester', 'INSERT ON geosearch.whitenings');
    PERFORM geosearch.grant_to(
        'geosearch_ingester',
        'USAGE ON SEQUENCE geosearch.photos_id_seq, geosearch.rejects_id_seq, '
        'geosearch.photo_changes_id_seq, geosearch.write_backs_id_seq'
    );
    PERFORM geosearch.grant_to(
        'geosearch_ingester', 'SELECT, INSERT, UPDATE, DELETE ON geosearch.leases'
    );
    PERFORM geosearch.grant_to(
        'geosearch_owner',
        'USAGE ON SEQUENCE geosearch.photos_id_seq, geosearch.rejects_id_seq, '
        'geosearch.photo_changes_id_seq, geosearch.write_backs_id_seq'
    );
    -- A token is its maker's: nobody makes one that is another's.
    IF to_regrole('geosearch_owner') IS NOT NULL THEN
        REVOKE INSERT, UPDATE ON geosearch.tokens FROM geosearch_owner;
        REVOKE INSERT, UPDATE, DELETE ON geosearch.shards FROM geosearch_owner;
    END IF;
    PERFORM geosearch.grant_shelf(shelf) FROM unnest(0 || geosearch.shelves()) AS shelf;
    PERFORM geosearch.grant_shard(s.id) FROM geosearch.shards AS s
    WHERE to_regclass(format('geosearch.photos_s%s', s.id)) IS NOT NULL;
    PERFORM geosearch.share_styles();
END
$$;

COMMENT ON FUNCTION geosearch.grant_rights() IS
    'Gives the roles geosearch_reader, _analyst, _ingester and _owner, as far as they exist, their '
    'rights on all that is in the schema, and PUBLIC none.';

SELECT geosearch.create_roles();
SELECT geosearch.grant_rights();
