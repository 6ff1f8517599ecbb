-- What is a photo's belongs to its collection. What was computed belongs to all collections that
-- were searched for it: even an answer whose neighbours are all public tells, by its plan and by what
-- was left out, what else there was.
--
-- The sub-selects make PostgreSQL ask for the visible collections once in a statement.

CREATE FUNCTION geosearch.protect_collected(name text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        $policies$
        ALTER TABLE geosearch.%1$I ENABLE ROW LEVEL SECURITY;
        CREATE POLICY visible ON geosearch.%1$I
            USING (collection_id = ANY ((SELECT geosearch.visible_collections())::bigint[]));
        $policies$,
        name
    );
END
$$;

COMMENT ON FUNCTION geosearch.protect_collected(text) IS
    'Row-level security for a table with collection_id: rows of visible collections.';

CREATE FUNCTION geosearch.protect_recorded(name text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        $policies$
        ALTER TABLE geosearch.%1$I ENABLE ROW LEVEL SECURITY;
        CREATE POLICY visible ON geosearch.%1$I FOR SELECT
            USING (collection_ids <@ (SELECT geosearch.visible_collections()));
        CREATE POLICY own ON geosearch.%1$I
            USING (
                collection_ids <@ (SELECT geosearch.visible_collections())
                AND (recorded_by = current_user OR geosearch.has_role('geosearch_owner'))
            );
        CREATE TRIGGER %2$I AFTER DELETE ON geosearch.collections
            FOR EACH ROW WHEN (NOT OLD.private)
            EXECUTE FUNCTION geosearch.forget_collection(%1$L);
        $policies$,
        name, 'forget_collection_' || name
    );
END
$$;

COMMENT ON FUNCTION geosearch.protect_recorded(text) IS
    'Row-level security for a table with collection_ids and recorded_by: rows all of whose '
    'collections are visible, to be changed by who recorded them.';

CREATE FUNCTION geosearch.protect_part(name text, key text, whole text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        $policies$
        ALTER TABLE geosearch.%1$I ENABLE ROW LEVEL SECURITY;
        CREATE POLICY visible ON geosearch.%1$I FOR SELECT
            USING (EXISTS (SELECT FROM geosearch.%3$I AS whole WHERE whole.id = %2$I));
        CREATE POLICY own ON geosearch.%1$I
            USING (
                EXISTS (
                    SELECT FROM geosearch.%3$I AS whole
                    WHERE whole.id = %2$I AND (
                        whole.recorded_by = current_user OR geosearch.has_role('geosearch_owner')
                    )
                )
            );
        $policies$,
        name, key, whole
    );
END
$$;

COMMENT ON FUNCTION geosearch.protect_part(text, text, text) IS
    'Row-level security for a table whose rows are parts of rows of another: as these.';

-- A collection that is gone hides nothing; a private one that is gone still does, as answers keep
-- the names and places of their neighbours. With the rights of the tables' owner: whoever deleted the
-- collection sees it no more, and so not the rows that name it.
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

SELECT geosearch.protect_collected(name)
FROM unnest('{photos, rejects, embeddings, coverage}'::text[]) AS name;

SELECT geosearch.protect_recorded(name)
FROM unnest('{runs, localizations, evaluations, calibrations, partitions}'::text[]) AS name;

SELECT geosearch.protect_part('localization_neighbours', 'localization_id', 'localizations');
SELECT geosearch.protect_part('localization_regions', 'localization_id', 'localizations');
SELECT geosearch.protect_part('localization_cells', 'localization_id', 'localizations');
SELECT geosearch.protect_part('evaluation_failures', 'evaluation_id', 'evaluations');
SELECT geosearch.protect_part('geocells', 'partition_id', 'partitions');
SELECT geosearch.protect_part('classifiers', 'partition_id', 'partitions');

-- Nobody adds answers to another's evaluation.
CREATE POLICY own_evaluation ON geosearch.localizations AS RESTRICTIVE FOR INSERT
    WITH CHECK (
        evaluation_id IS NULL
        OR EXISTS (
            SELECT FROM geosearch.evaluations AS whole
            WHERE whole.id = evaluation_id
                AND (whole.recorded_by = current_user OR geosearch.has_role('geosearch_owner'))
        )
    );
