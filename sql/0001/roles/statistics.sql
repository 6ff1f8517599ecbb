-- What PostgreSQL notes of all rows of a table, to plan by, it tells to those who may not see them:
-- EXPLAIN estimates how many photos an author has, and PostGIS's statistics are a map of all
-- photos. Where collections are private, none is kept. geosearch itself plans by samples of what is visible.

CREATE FUNCTION geosearch.keep_statistics(wanted boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept record;
    superuser CONSTANT boolean := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
BEGIN
    FOR kept IN
        SELECT
            c.relname AS name,
            CASE c.relkind WHEN 'i' THEN 'INDEX' ELSE 'TABLE' END AS kind,
            CASE c.relkind WHEN 'i' THEN a.attnum::text ELSE quote_ident(a.attname) END AS part,
            c.oid,
            a.attnum
        FROM pg_class AS t
        LEFT JOIN pg_index AS i ON i.indrelid = t.oid
        JOIN pg_class AS c ON c.oid IN (t.oid, i.indexrelid) AND c.relkind IN ('r', 'p', 'i')
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE t.relnamespace = 'geosearch'::regnamespace AND t.relrowsecurity
            -- Of an index, only what no column says.
            AND (c.oid = t.oid OR i.indkey[a.attnum - 1] = 0)
            AND (coalesce(a.attstattarget, -1) <> 0) <> wanted
        GROUP BY c.relname, c.relkind, a.attnum, a.attname, c.oid
        ORDER BY c.relkind = 'i', c.relname, a.attnum
    LOOP
        EXECUTE format(
            'ALTER %s geosearch.%I ALTER COLUMN %s SET STATISTICS %s',
            kept.kind, kept.name, kept.part, CASE WHEN wanted THEN -1 ELSE 0 END
        );
    END LOOP;
    -- These read PostGIS's statistics, or the extent of an index, for whoever asks.
    IF superuser THEN
        FOR kept IN
            SELECT p.oid::regprocedure AS name
            FROM pg_proc AS p
            JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                AND d.refclassid = 'pg_extension'::regclass
            JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'postgis'
            WHERE p.proname ~ '^(_postgis_(stats|.*selectivity|index_extent)|st_estimatedextent)$'
        LOOP
            EXECUTE format(
                CASE WHEN wanted THEN 'GRANT EXECUTE ON FUNCTION %s TO PUBLIC'
                    ELSE 'REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC' END,
                kept.name
            );
        END LOOP;
    END IF;
    IF superuser AND NOT wanted THEN
        DELETE FROM pg_statistic AS s USING pg_attribute AS a, pg_class AS c
        WHERE a.attrelid = s.starelid AND a.attnum = s.staattnum AND a.attstattarget = 0
            AND c.oid = s.starelid AND c.relnamespace = 'geosearch'::regnamespace;
    END IF;
    RETURN EXISTS (
        SELECT FROM pg_stats AS s
        JOIN pg_class AS c ON c.relname = s.tablename AND c.relnamespace = 'geosearch'::regnamespace
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = s.attname
        WHERE s.schemaname = 'geosearch' AND a.attstattarget = 0
    );
END
$$;

COMMENT ON FUNCTION geosearch.keep_statistics(boolean) IS
    'Whether ANALYZE notes what is in the tables of photos and answers. If not, what was noted is '
    'removed, which takes a superuser; true if something is left.';
