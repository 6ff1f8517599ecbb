-- What it takes the tables' owner to delete: relations go with it. For geosearch_owner.

CREATE FUNCTION geosearch.delete_collection(collection bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    hidden CONSTANT boolean := (SELECT c.private FROM all_collections AS c WHERE c.id = collection);
BEGIN
    IF hidden THEN
        -- Not row by row: nothing else is on its shelf.
        EXECUTE format(
            'TRUNCATE embeddings_c%1$s, queries_c%1$s, photo_changes_c%1$s, write_backs_c%1$s, '
            'thumbnails_c%1$s, rejects_c%1$s, files_c%1$s, claims_c%1$s, coverage_c%1$s',
            collection
        );
        EXECUTE format('ALTER TABLE all_photos DETACH PARTITION photos_c%s', collection);
        EXECUTE format('TRUNCATE photos_c%s', collection);
    END IF;
    DELETE FROM all_collections AS c WHERE c.id = collection;
    IF hidden THEN
        PERFORM drop_shelf(collection);
    END IF;
END
$$;

COMMENT ON FUNCTION geosearch.delete_collection(bigint) IS
    'Deletes a collection with all that is in it.';

CREATE FUNCTION geosearch.delete_model(model bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    leaf text;
BEGIN
    FOR leaf IN
        SELECT format('embeddings_m%s', model)
        UNION ALL SELECT format('embeddings_c%s_m%s', shelf, model) FROM unnest(shelves()) AS shelf
    LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', leaf);
    END LOOP;
    FOR leaf IN
        SELECT format('embeddings_f%s', s.id) FROM shards AS s
        WHERE to_regclass(format('embeddings_f%s', s.id)) IS NOT NULL
    LOOP
        EXECUTE format('DELETE FROM %I WHERE model_id = $1', leaf) USING model;
    END LOOP;
    DELETE FROM models AS m WHERE m.id = model;
END
$$;

COMMENT ON FUNCTION geosearch.delete_model(bigint) IS
    'Deletes a model with its embeddings, their tables and indexes.';

-- For an ingester too: with the photos goes what was measured while they were there.
CREATE FUNCTION geosearch.forget_tuning(model bigint, gone bigint) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
WITH forgotten AS (
    DELETE FROM tunings AS t USING indexes AS i
    WHERE t.model_id = model AND i.model_id = model AND gone > 0.01 * i.rows
    RETURNING t.id
)
SELECT EXISTS (SELECT FROM forgotten)
$$;

COMMENT ON FUNCTION geosearch.forget_tuning(bigint, bigint) IS
    'Forgets what was measured of a model''s index, of which more than 1 % of the photos are gone: '
    'until it is measured again, searches quote no recall. Whether there was anything.';

-- Names stand in filters and parameters, as lists under a key, at any depth.
CREATE FUNCTION geosearch.with_renamed(said jsonb, key text, old text, new text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    -- What was fitted is long, and most of it numbers.
    IF strpos(said::text, to_jsonb(old)::text) = 0 THEN
        RETURN said;
    END IF;
    RETURN CASE jsonb_typeof(said)
        WHEN 'object' THEN (
            SELECT coalesce(jsonb_object_agg(
                e.key,
                CASE WHEN e.key = with_renamed.key AND jsonb_typeof(e.value) = 'array' THEN (
                    SELECT coalesce(jsonb_agg(
                        CASE WHEN name = to_jsonb(old) THEN to_jsonb(new) ELSE name END ORDER BY n
                    ), '[]')
                    FROM jsonb_array_elements(e.value) WITH ORDINALITY AS names (name, n)
                ) ELSE with_renamed(e.value, with_renamed.key, old, new) END
            ), '{}')
            FROM jsonb_each(said) AS e
        )
        WHEN 'array' THEN (
            SELECT coalesce(jsonb_agg(with_renamed(part, with_renamed.key, old, new) ORDER BY n), '[]')
            FROM jsonb_array_elements(said) WITH ORDINALITY AS parts (part, n)
        )
        ELSE said
    END;
END
$$;

COMMENT ON FUNCTION geosearch.with_renamed(jsonb, text, text, text) IS
    'A filter or parameters in which a collection or partition has another name.';
