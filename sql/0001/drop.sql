-- Everything but alembic's own table, which notes that it is gone. The roles stay: they belong to
-- the server, and other databases may use them.
DO $$
DECLARE
    item text;
BEGIN
    -- First, while nothing else is held: autovacuum, at work on one of them, gives way to a lock, but
    -- not to one that is waited for with what it waits for.
    FOR item IN
        SELECT oid::regclass FROM pg_class
        WHERE relnamespace = 'geosearch'::regnamespace AND relkind IN ('r', 'p')
    LOOP
        EXECUTE format('LOCK TABLE %s', item);
    END LOOP;
    FOR item IN SELECT rolname FROM pg_roles WHERE rolname IN (
        'geosearch_reader', 'geosearch_analyst', 'geosearch_ingester', 'geosearch_owner'
    ) LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA geosearch FROM %I', item);
        EXECUTE format('REVOKE ALL ON SCHEMA geosearch FROM %I', item);
    END LOOP;
    -- With their views and triggers, and so with some of what is named later.
    FOREACH item IN ARRAY ARRAY(
        SELECT format('SERVER IF EXISTS %I', srvname) FROM pg_foreign_server
        WHERE srvname LIKE 'geosearch shard %'
        UNION ALL
        SELECT format('TABLE IF EXISTS %s', oid::regclass) FROM pg_class
        WHERE relnamespace = 'geosearch'::regnamespace AND relkind IN ('r', 'p')
            AND relname <> 'alembic_version'
        UNION ALL
        SELECT format('ROUTINE IF EXISTS %s', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = 'geosearch'::regnamespace
        UNION ALL
        SELECT format('TYPE IF EXISTS %s', reltype::regtype) FROM pg_class
        WHERE relnamespace = 'geosearch'::regnamespace AND relkind = 'c'
    ) LOOP
        EXECUTE format('DROP %s CASCADE', item);
    END LOOP;
END
$$;
