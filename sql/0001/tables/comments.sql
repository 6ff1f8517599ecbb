-- How tables, views and types are described, for as long as they are made: columns of one name mean
-- the same and are explained once, here; the others, and those that mean something else, beside them.

CREATE OR REPLACE PROCEDURE pg_temp.describe(described regclass, about text, meanings text)
LANGUAGE plpgsql AS $$
DECLARE
    kind CONSTANT text := (
        SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END
        FROM pg_class WHERE oid = described
    );
    item record;
BEGIN
    EXECUTE format('COMMENT ON %s %s IS %L', kind, described, about);
    FOR item IN
        WITH own AS (  -- a line a column: its name, a colon, what it means
            SELECT line[1] AS name, line[2] AS meaning
            FROM regexp_matches(meanings, '^ *(\w+): (.+)$', 'gn') AS line
        ), common (name, meaning) AS (VALUES
            ('area_km2', 'Area, square kilometres.'),
            ('collection_ids', 'Collections it rests on: only those who see them all see the row.'),
            ('created_at', 'When the row was written.'),
            ('filter', 'Filter on the references.'),
            ('id', 'Primary key.'),
            ('localization_id', 'The answer.'),
            ('method', 'nearest, im2gps, density or geocell.'),
            ('model', 'Model spec, kept if the model goes.'),
            ('model_id', 'The model.'),
            ('parameters', 'k, bandwidth and the like.'),
            ('recorded_by', 'Role that recorded it, and may change it.'),
            ('shelf', 'Shelf of its collection.'),
            ('software', 'Versions of geosearch and libraries.')
        )
        SELECT name, meaning FROM own
        UNION ALL
        SELECT name, meaning FROM common JOIN pg_attribute ON attname = name
        WHERE attrelid = described AND name NOT IN (SELECT name FROM own)
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', described, item.name, item.meaning);
    END LOOP;
END
$$;
