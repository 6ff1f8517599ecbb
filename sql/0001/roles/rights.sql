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

-- A partition is a table of its own to whoever names it: what holds for the whole must hold for it.
CREATE FUNCTION geosearch.grant_embedding_table(model bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part CONSTANT text := format('embeddings_m%s', model);
    columns CONSTANT text :=
        'photo_id, model_id, collection_id, geom, accuracy_m, taken_at, author, licence, embedding';
BEGIN
    PERFORM geosearch.grant_to(
        'geosearch_reader', format('SELECT (%s) ON geosearch.%I', columns, part)
    );
    PERFORM geosearch.grant_to('geosearch_analyst', format('SELECT ON geosearch.%I', part));
    PERFORM geosearch.grant_to(
        'geosearch_ingester', format('SELECT, INSERT, UPDATE, DELETE ON geosearch.%I', part)
    );
END
$$;

COMMENT ON FUNCTION geosearch.grant_embedding_table(bigint) IS
    'Gives the roles the rights on a partition that they have on all embeddings.';

-- Only the owner of a table may add a partition, and whoever embeds with a new model needs one: this
-- lends the right to do exactly that. It creates nothing but what the model's row says.
CREATE FUNCTION geosearch.create_embedding_table(model bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    length CONSTANT integer := (SELECT m.dimension FROM geosearch.models AS m WHERE m.id = model);
BEGIN
    IF length IS NULL THEN
        PERFORM geosearch.refuse(
            format('there is no model %s', coalesce(model::text, 'NULL')),
            'Ids: SELECT id, name FROM geosearch.models'
        );
    ELSIF to_regclass(format('geosearch.embeddings_m%s', model)) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Embeddings of over 1,000 dimensions would move to the TOAST table, and exact search would
    -- fetch each from there; kept in the row they are read in order.
    EXECUTE format(
        'CREATE TABLE geosearch.embeddings_m%1$s PARTITION OF geosearch.embeddings ('
        'CONSTRAINT embeddings_m%1$s_dimension_check CHECK (public.vector_dims(embedding) = %2$s)'
        ') FOR VALUES IN (%1$s) WITH (toast_tuple_target = 8160)',
        model, length
    );
    EXECUTE format(
        'COMMENT ON TABLE geosearch.embeddings_m%s IS %L',
        model, format('Embeddings of model %s, %s dimensions.', model, length)
    );
    PERFORM geosearch.protect_collected(format('embeddings_m%s', model));
    PERFORM geosearch.grant_embedding_table(model);
    IF EXISTS (SELECT FROM geosearch.collections WHERE private) THEN
        PERFORM geosearch.keep_statistics(false);
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.create_embedding_table(bigint) IS
    'Creates the partition of embeddings for a model, where it is missing.';

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
        alembic_version, models, tunings, recall_points, borders, places, layer_styles, qgis_projects
    }';
    -- What the functions, and searches from Python, ask for beyond what the views show.
    asked CONSTANT text[] := ARRAY[
        'collections (id, name, description, private)',
        'collection_shares (collection_id, role)',
        'photos (id, collection_id, uri, sha256, geom)',
        'embeddings (photo_id, model_id, collection_id, geom, accuracy_m, taken_at, author, licence,'
        ' embedding)',
        'localizations (id, recorded_by)',
        'evaluations (id, recorded_by)',
        'calibrations (id, created_at, model_id, model, filter, parameters, figures, queries, options,'
        ' n_fit, n_check, failed, software)',
        'partitions (id, name, kind, parameters, filter, definition, photos, software, created_at,'
        ' recorded_by)',
        'geocells (partition_id, number, photos, medoid, spread_km, area_km2)',
        'classifiers (id, model_id, partition_id, weights, bias, provenance)'
    ];
    answers CONSTANT text[] := '{
        localizations, localization_neighbours, localization_regions, localization_cells,
        evaluations, evaluation_failures
    }';
    ingested CONSTANT text[] := '{photos, embeddings, rejects, runs, coverage}';
    trained CONSTANT text[] := '{calibrations, partitions, geocells, classifiers}';
    -- Functions with which rights are given.
    managing CONSTANT text[] := '{
        create_roles, grant_to, grant_rights, grant_embedding_table,
        protect_collected, protect_recorded, protect_part
    }';
BEGIN
    EXECUTE 'REVOKE ALL ON SCHEMA geosearch FROM PUBLIC';
    EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA geosearch FROM PUBLIC';
    EXECUTE 'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA geosearch FROM PUBLIC';
    PERFORM geosearch.grant_to('geosearch_reader', 'USAGE ON SCHEMA geosearch');
    PERFORM geosearch.grant_to(
        'geosearch_owner',
        'ALL ON ALL TABLES IN SCHEMA geosearch'
    );

    FOR item IN
        SELECT p.oid::regprocedure AS name, p.proname
        FROM pg_proc AS p
        WHERE p.pronamespace = 'geosearch'::regnamespace AND p.prorettype <> 'trigger'::regtype
            AND p.proname <> ALL (managing)
    LOOP
        PERFORM geosearch.grant_to(
            CASE item.proname
                WHEN 'create_embedding_table' THEN 'geosearch_ingester'
                WHEN 'keep_statistics' THEN 'geosearch_owner'
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
            CASE WHEN c.relkind IN ('r', 'p') THEN (
                SELECT string_agg(DISTINCT quote_ident(a.attname), ', ')
                FROM pg_rewrite AS r
                JOIN pg_class AS v ON v.oid = r.ev_class AND v.relkind = 'v'
                    AND v.relnamespace = c.relnamespace
                JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
                    AND a.attnum > 0
            ) END AS shown,
            c.relname::text = ANY (common) AS common
        FROM pg_class AS c
        WHERE c.relnamespace = 'geosearch'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
    LOOP
        IF item.relkind IN ('v', 'm') OR item.common THEN
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

    FOR item IN SELECT name FROM unnest(answers || ingested || trained || '{collections}')
            AS name
        WHERE to_regclass('geosearch.' || name) IS NOT NULL
    LOOP
        PERFORM geosearch.grant_to('geosearch_analyst', format('SELECT ON geosearch.%I', item.name));
        PERFORM geosearch.grant_to('geosearch_ingester', format('SELECT ON geosearch.%I', item.name));
    END LOOP;
    FOR item IN SELECT name FROM unnest(answers) AS name
        WHERE to_regclass('geosearch.' || name) IS NOT NULL
    LOOP
        PERFORM geosearch.grant_to(
            'geosearch_analyst', format('INSERT, DELETE ON geosearch.%I', item.name)
        );
    END LOOP;
    PERFORM geosearch.grant_to('geosearch_analyst', 'UPDATE ON geosearch.evaluations');
    FOR item IN SELECT unnest(ingested) AS name LOOP
        PERFORM geosearch.grant_to(
            'geosearch_ingester', format('INSERT, UPDATE, DELETE ON geosearch.%I', item.name)
        );
    END LOOP;
    PERFORM geosearch.grant_to(
        'geosearch_ingester',
        'INSERT (name, description), UPDATE (name, description) ON geosearch.collections'
    );
    PERFORM geosearch.grant_to('geosearch_ingester', 'INSERT ON geosearch.models');
    PERFORM geosearch.grant_to(
        'geosearch_ingester', 'SELECT, INSERT, UPDATE, DELETE ON geosearch.leases'
    );

    FOR item IN SELECT m.id FROM geosearch.models AS m
        WHERE to_regclass(format('geosearch.embeddings_m%s', m.id)) IS NOT NULL
    LOOP
        PERFORM geosearch.grant_embedding_table(item.id);
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.grant_rights() IS
    'Gives the roles geosearch_reader, _analyst, _ingester and _owner, as far as they exist, their '
    'rights on all that is in the schema, and PUBLIC none.';

SELECT geosearch.create_roles();
SELECT geosearch.grant_rights();
