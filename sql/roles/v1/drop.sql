SELECT geosearch.keep_statistics(true);

-- The roles stay: they belong to the server, and other databases may use them.
DO $$
DECLARE
    item record;
BEGIN
    FOR item IN SELECT r.rolname FROM pg_roles AS r
        WHERE r.rolname IN (
            'geosearch_reader', 'geosearch_analyst', 'geosearch_ingester', 'geosearch_owner'
        )
    LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA geosearch FROM %I', item.rolname);
        EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA geosearch FROM %I', item.rolname);
        EXECUTE format('REVOKE ALL ON SCHEMA geosearch FROM %I', item.rolname);
    END LOOP;
    FOR item IN SELECT p.tablename, p.policyname FROM pg_policies AS p
        WHERE p.schemaname = 'geosearch'
    LOOP
        EXECUTE format('DROP POLICY %I ON geosearch.%I', item.policyname, item.tablename);
        EXECUTE format('ALTER TABLE geosearch.%I DISABLE ROW LEVEL SECURITY', item.tablename);
    END LOOP;
END
$$;

GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA geosearch TO PUBLIC;

DROP FUNCTION geosearch.forget_collection CASCADE;  -- its triggers
DROP FUNCTION
    geosearch.keep_statistics, geosearch.create_embedding_table, geosearch.grant_embedding_table, geosearch.grant_rights,
    geosearch.grant_to, geosearch.create_roles,
    geosearch.protect_part, geosearch.protect_recorded, geosearch.protect_collected;
