-- What was computed, and the collections that it rests on (column collection_ids): it is shown to
-- those who see all of these, so that it is hidden once one of them becomes private. They are the
-- collections whose photos its filter lets through, whatever was found there: that nothing of a
-- collection was nearer is knowledge of it too. And those of what it was computed with.

CREATE FUNCTION geosearch.admits(filter jsonb, collection text, wanted boolean DEFAULT true)
RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- An object's conditions hold together: one that fails is enough for all to fail.
    RETURN jsonb_typeof(filter) IS DISTINCT FROM 'object' OR (
        SELECT CASE WHEN wanted THEN coalesce(bool_and(part.may), true)
            ELSE coalesce(bool_or(part.may), false) END
        FROM jsonb_each(filter) AS item, LATERAL (
            SELECT CASE
                WHEN item.key = 'collections' THEN (item.value ? collection) = wanted
                WHEN item.key = 'not' THEN geosearch.admits(item.value, collection, NOT wanted)
                WHEN item.key IN ('and', 'or') AND jsonb_typeof(item.value) = 'array' THEN (
                    SELECT CASE WHEN wanted = (item.key = 'and') THEN coalesce(bool_and(a), true)
                        ELSE coalesce(bool_or(a), false) END
                    FROM jsonb_array_elements(item.value) AS each,
                        geosearch.admits(each, collection, wanted) AS a
                )
                ELSE true
            END AS may
        ) AS part
    );
END
$$;

COMMENT ON FUNCTION geosearch.admits(jsonb, text, boolean) IS
    'Whether a photo of this collection may pass a filter, or, if that is not wanted, fail it: '
    'decided by the names of collections in it alone.';

CREATE FUNCTION geosearch.admitted_collections(filter jsonb) RETURNS bigint[]
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN ARRAY(
        SELECT c.id FROM geosearch.collections AS c
        WHERE geosearch.admits(filter, c.name) ORDER BY c.id
    );
END
$$;

COMMENT ON FUNCTION geosearch.admitted_collections(jsonb) IS
    'Ids of the visible collections whose photos a filter may let through.';

-- Runs before each row of what was computed; collection_ids that are given stay as they are. With
-- the rights of the tables' owner, and yet the caller's eyes: what the caller cannot see adds
-- nothing, and so is not told.
CREATE FUNCTION geosearch.note_collections() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    seen CONSTANT bigint[] := visible_collections();
    noted bigint[] := '{}';
    answer record;
    given jsonb;
    said jsonb;
    asked text;
    bytes bytea;
BEGIN
    IF TG_TABLE_NAME = 'all_runs' THEN
        noted := CASE WHEN NEW.collection_id IS NULL THEN seen ELSE ARRAY[NEW.collection_id] END;
    ELSIF TG_TABLE_NAME = 'all_qgis_projects' THEN
        noted := seen;  -- it has the extents of all that is shown
    ELSIF TG_TABLE_NAME IN ('all_partitions', 'all_calibrations', 'all_whitenings') THEN
        said := NEW.filter;
        noted := admitted_collections(said);
        given := to_jsonb(NEW) -> 'options';  -- of a calibration: its models
    ELSIF TG_TABLE_NAME = 'all_classifiers' THEN
        said := NEW.provenance -> 'filter';
        noted := coalesce(
            (SELECT r.collection_ids FROM all_runs AS r
            WHERE r.id::text = NEW.provenance ->> 'run_id'),
            admitted_collections(said)
        ) || (SELECT p.collection_ids FROM all_partitions AS p WHERE p.id = NEW.partition_id);
    ELSIF TG_TABLE_NAME = 'all_reviews' THEN
        -- Photos get places by it: it is of an answer that one sees, and of that one's photo.
        SELECT l.id, l.photo_sha256, l.collection_ids INTO answer
        FROM all_localizations AS l
        WHERE l.id = NEW.localization_id AND l.collection_ids <@ seen;
        IF FOUND THEN
            noted := answer.collection_ids;
            NEW.answer_id := answer.id;
            NEW.photo_sha256 := answer.photo_sha256;
        ELSIF NOT has_table_privilege(caller(), 'geosearch.all_reviews', 'INSERT') THEN
            RAISE insufficient_privilege USING MESSAGE = 'a review is of an answer that one sees';
        END IF;
        asked := NEW.photo_uri;
        bytes := NEW.photo_sha256;
    ELSIF TG_TABLE_NAME = 'all_duplicates' THEN
        noted := ARRAY(
            SELECT p.collection_id FROM all_photos AS p
            WHERE p.id IN (NEW.photo_id, NEW.other_id) AND p.collection_id = ANY (seen)
        );
    ELSIF TG_TABLE_NAME = 'all_audits' THEN
        said := NEW.filter;
        noted := admitted_collections(said);
        asked := NEW.photo_uri;
    ELSIF TG_TABLE_NAME = 'all_evaluation_failures' THEN
        asked := NEW.uri;
    ELSE
        said := NEW.filter;
        IF NEW.method <> 'geocell' THEN  -- which searches nothing
            noted := admitted_collections(said);
        END IF;
        given := NEW.parameters;
        IF TG_TABLE_NAME = 'all_localizations' THEN
            given := given || jsonb_build_object(
                'calibration', coalesce(to_jsonb(NEW.calibration_id), given -> 'calibration')
            );
            asked := NEW.photo_uri;
            bytes := NEW.photo_sha256;
        END IF;
    END IF;
    noted := ARRAY(
        SELECT unnest(noted)
        -- A filter tells the names in it, of those it keeps out too.
        UNION SELECT c.id FROM collections AS c
        WHERE jsonb_path_exists(
            said, '$.**.collections[*] ? (@ == $name)', jsonb_build_object('name', c.name)
        )
        UNION SELECT unnest(c.collection_ids) FROM all_calibrations AS c
        WHERE c.id::text = given ->> 'calibration' AND c.collection_ids <@ seen
        UNION SELECT unnest(c.collection_ids) FROM all_classifiers AS c
        WHERE given -> 'classifiers' @> to_jsonb(c.id) AND c.collection_ids <@ seen
        UNION SELECT unnest(w.collection_ids) FROM all_whitenings AS w
        WHERE (
            w.model_id::text = to_jsonb(NEW) ->> 'model_id'
            OR given -> 'models' @> to_jsonb(w.model_id)
        ) AND w.collection_ids <@ seen
        -- The query may be a photo of a collection itself.
        UNION SELECT p.collection_id FROM all_photos AS p
        WHERE p.uri = asked AND p.collection_id = ANY (seen)
        UNION SELECT p.collection_id FROM all_photos AS p
        WHERE p.sha256 = bytes AND p.collection_id = ANY (seen)
        ORDER BY 1
    );
    IF TG_TABLE_NAME = 'all_evaluation_failures' THEN
        PERFORM rest_on(NEW.evaluation_id, noted);
        RETURN NEW;
    END IF;
    NEW.collection_ids := coalesce(NEW.collection_ids, noted);
    IF TG_TABLE_NAME = 'all_localizations' THEN
        PERFORM rest_on(NEW.evaluation_id, NEW.collection_ids);
    END IF;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION geosearch.note_collections() IS
    'Notes the collections that a row rests on.';

-- Its figures are those of its answers.
CREATE FUNCTION geosearch.rest_on(evaluation bigint, collections bigint[]) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
UPDATE geosearch.all_evaluations AS e
SET collection_ids = ARRAY(SELECT unnest(e.collection_ids) UNION SELECT unnest(collections) ORDER BY 1)
WHERE evaluation IN (e.id, e.sweep_id) AND NOT collections <@ e.collection_ids
$$;

COMMENT ON FUNCTION geosearch.rest_on(bigint, bigint[]) IS
    'Notes of an evaluation, and those with the same answers, what an answer rests on.';

DO $$
DECLARE
    item regclass;
BEGIN
    FOR item IN
        SELECT a.attrelid FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'geosearch'::regnamespace AND c.relkind = 'r'
            AND a.attname = 'collection_ids'
        UNION ALL SELECT 'geosearch.all_evaluation_failures'::regclass
    LOOP
        EXECUTE format(
            'CREATE TRIGGER note_collections BEFORE INSERT ON %s '
            'FOR EACH ROW EXECUTE FUNCTION geosearch.note_collections()',
            item
        );
    END LOOP;
END
$$;
