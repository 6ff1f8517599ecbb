-- By what copies of the open shelf's embeddings outside the database know which of their parts are
-- old: geosearch/retrieval/embedding_copy.py. A part is the photos of 4,096 ids in a row. Whatever
-- changes its embeddings leaves a mark that no other change has, so of two snapshots with the same
-- marks the embeddings are the same. Nobody waits for another's mark.

CREATE TABLE geosearch.embedding_marks (
    model_id bigint NOT NULL REFERENCES geosearch.models ON DELETE CASCADE,
    part bigint NOT NULL,
    mark bigint NOT NULL
);

CREATE INDEX ON geosearch.embedding_marks (model_id, part);

CALL pg_temp.describe('geosearch.embedding_marks',
    'Marks of changes to embeddings of public collections, by which copies of them know what is old.', $$
    model_id: The model.
    part: Id of a photo whose embedding was added, changed or removed, divided by 4096.
    mark: A random number, or the exclusive or of those of earlier changes.
$$);

CREATE FUNCTION geosearch.mark_part(model bigint, part bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    -- Of what this transaction marked nobody has a copy yet.
    IF EXISTS (
        SELECT FROM embedding_marks AS m
        WHERE m.model_id = model AND m.part = mark_part.part AND m.xmin = pg_current_xact_id()::xid
    ) THEN
        RETURN;
    END IF;
    -- Earlier marks are folded into this one, but for those that another is about to fold.
    WITH earlier AS (
        SELECT m.ctid AS place FROM embedding_marks AS m
        WHERE m.model_id = model AND m.part = mark_part.part
        FOR UPDATE SKIP LOCKED
    ), folded AS (
        DELETE FROM embedding_marks AS m USING earlier WHERE m.ctid = earlier.place RETURNING m.mark
    )
    INSERT INTO embedding_marks (model_id, part, mark)
    SELECT
        model, mark_part.part,
        coalesce(bit_xor(f.mark), 0) # hashtextextended(gen_random_uuid()::text, 0)
    FROM folded AS f;
END
$$;

COMMENT ON FUNCTION geosearch.mark_part(bigint, bigint) IS
    'Marks a part of a model''s embeddings as changed.';

-- With the rights of the marks' owner: whoever may change embeddings marks them.
CREATE FUNCTION geosearch.mark_embeddings() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM mark_part(model_id, part)
        FROM (
            SELECT DISTINCT n.model_id, n.photo_id >> 12 FROM new_rows AS n WHERE n.shelf = 0
        ) AS changed (model_id, part);
    ELSIF TG_OP = 'DELETE' THEN  -- also as the model goes, and its marks with it
        PERFORM mark_part(model_id, part)
        FROM (
            SELECT DISTINCT o.model_id, o.photo_id >> 12 FROM old_rows AS o
            WHERE o.shelf = 0 AND EXISTS (SELECT FROM models AS m WHERE m.id = o.model_id)
        ) AS changed (model_id, part);
    ELSE  -- most updates are of other columns
        PERFORM mark_part(model_id, part)
        FROM (
            SELECT DISTINCT model_id, photo_id >> 12
            FROM (SELECT * FROM old_rows WHERE shelf = 0) AS o
            FULL JOIN (SELECT * FROM new_rows WHERE shelf = 0) AS n
                USING (model_id, photo_id, embedding)
            WHERE o.shelf IS NULL OR n.shelf IS NULL
        ) AS changed (model_id, part);
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION geosearch.mark_embeddings() IS
    'Marks the parts whose embeddings a statement has changed.';

-- A statement fires the triggers of the table it names alone: these are of every table that may be
-- named. Row by row they would cost half as much as the rows.
CREATE FUNCTION geosearch.mark_changes_of(name text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
BEGIN
    FOR item IN VALUES
        ('insert', 'NEW TABLE AS new_rows'),
        ('delete', 'OLD TABLE AS old_rows'),
        ('update', 'OLD TABLE AS old_rows NEW TABLE AS new_rows')
    LOOP
        EXECUTE format(
            'CREATE TRIGGER mark_%1$s AFTER %1$s ON geosearch.%2$I REFERENCING %3$s '
            'FOR EACH STATEMENT EXECUTE FUNCTION geosearch.mark_embeddings()',
            item.column1, name, item.column2
        );
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.mark_changes_of(text) IS
    'Has changes to a table of embeddings marked.';

SELECT geosearch.mark_changes_of('all_embeddings'), geosearch.mark_changes_of('embeddings_open');

-- The filenode: a table that was emptied by TRUNCATE is another.
CREATE FUNCTION geosearch.embedding_parts(model bigint)
RETURNS TABLE (first bigint, last bigint, version bigint)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT
    m.part << 12, (m.part << 12) + 4095,
    bit_xor(m.mark) # coalesce(
        pg_relation_filenode(to_regclass(format('geosearch.embeddings_m%s', model))), 0
    )::bigint
FROM geosearch.embedding_marks AS m
WHERE m.model_id = model
GROUP BY m.part;
END;

COMMENT ON FUNCTION geosearch.embedding_parts(bigint) IS
    'Parts of a model''s embeddings of public collections, by ids of photos, and their versions: '
    'where a version is the same, so are the embeddings.';
