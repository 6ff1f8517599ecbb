-- What is a photo's belongs to its collection. What was computed belongs to all collections that
-- were searched for it: even an answer whose neighbours are all public tells, by its plan and by what
-- was left out, what else there was.
--
-- The sub-select makes PostgreSQL ask for the visible collections once in a statement.

ALTER TABLE geosearch.photos ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON geosearch.photos
    USING (collection_id = ANY ((SELECT geosearch.visible_collections())::bigint[]));

ALTER TABLE geosearch.rejects ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON geosearch.rejects
    USING (collection_id = ANY ((SELECT geosearch.visible_collections())::bigint[]));

ALTER TABLE geosearch.embeddings ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON geosearch.embeddings
    USING (collection_id = ANY ((SELECT geosearch.visible_collections())::bigint[]));

ALTER TABLE geosearch.runs ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON geosearch.runs
    USING (
        CASE WHEN collection_id IS NULL THEN collection_ids ELSE ARRAY[collection_id] END
        <@ (SELECT geosearch.visible_collections())
    );

-- Only those who recorded something may change it.
DO $$
DECLARE
    recorded text;
BEGIN
    FOREACH recorded IN ARRAY '{localizations, evaluations, calibrations}'::text[] LOOP
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
            $policies$,
            recorded
        );
    END LOOP;
END
$$;

-- Nor add answers to another's evaluation.
CREATE POLICY own_evaluation ON geosearch.localizations AS RESTRICTIVE FOR INSERT
    WITH CHECK (
        evaluation_id IS NULL
        OR EXISTS (
            SELECT FROM geosearch.evaluations AS whole
            WHERE whole.id = evaluation_id
                AND (whole.recorded_by = current_user OR geosearch.has_role('geosearch_owner'))
        )
    );

DO $$
DECLARE
    part text[];
BEGIN
    FOREACH part SLICE 1 IN ARRAY ARRAY[
        ['localization_neighbours', 'localization_id', 'localizations'],
        ['localization_regions', 'localization_id', 'localizations'],
        ['evaluation_failures', 'evaluation_id', 'evaluations']
    ] LOOP
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
                            whole.recorded_by = current_user
                            OR geosearch.has_role('geosearch_owner')
                        )
                    )
                );
            $policies$,
            part[1], part[2], part[3]
        );
    END LOOP;
END
$$;

-- A collection that is gone hides nothing; a private one that is gone still does, as answers keep
-- the names and places of their neighbours.
CREATE FUNCTION geosearch.forget_collection() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    UPDATE runs SET collection_ids = array_remove(collection_ids, OLD.id)
    WHERE OLD.id = ANY (collection_ids);
    UPDATE localizations SET collection_ids = array_remove(collection_ids, OLD.id)
    WHERE OLD.id = ANY (collection_ids);
    UPDATE evaluations SET collection_ids = array_remove(collection_ids, OLD.id)
    WHERE OLD.id = ANY (collection_ids);
    UPDATE calibrations SET collection_ids = array_remove(collection_ids, OLD.id)
    WHERE OLD.id = ANY (collection_ids);
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION geosearch.forget_collection() IS
    'Takes a deleted public collection off the records of what was searched.';

CREATE TRIGGER forget_collection AFTER DELETE ON geosearch.collections
FOR EACH ROW WHEN (NOT OLD.private) EXECUTE FUNCTION geosearch.forget_collection();
