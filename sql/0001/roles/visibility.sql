-- Who sees which collections. Everything else follows from it: shelves.sql.

CREATE FUNCTION geosearch.has_role(role text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_roles AS r
    WHERE r.rolname = has_role.role AND pg_catalog.pg_has_role(r.oid, 'USAGE')
);
END;

COMMENT ON FUNCTION geosearch.has_role(text) IS
    'Whether the current role is this role or inherits its rights; false if there is no such role.';

-- In a function with its owner's rights (SECURITY DEFINER), current_user is that owner. This is for
-- whom it works: the role of SET ROLE, else the login. Where PostgreSQL itself runs code for the
-- owner of a table, as in VACUUM, ANALYZE and REINDEX, the login is that of somebody else, even of a
-- superuser; there it refuses, as UNLISTEN does.
CREATE FUNCTION geosearch.caller() RETURNS name
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UNLISTEN geosearch_nothing;
    RETURN CASE current_setting('role')
        WHEN 'none' THEN session_user ELSE current_setting('role')::name
    END;
END
$$;

COMMENT ON FUNCTION geosearch.caller() IS
    'The role that a function with its owner''s rights works for.';

CREATE FUNCTION geosearch.visible_to(who name) RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT ARRAY(
    SELECT id FROM geosearch.all_collections
    WHERE NOT private OR has_table_privilege(
        who, to_regclass(format('geosearch.photos_c%s', id)), 'SELECT'
    )
    ORDER BY id
);
END;

COMMENT ON FUNCTION geosearch.visible_to(name) IS
    'Ids of the collections a role sees: the public ones, and those whose photos it may read.';

CREATE FUNCTION geosearch.visible_collections() RETURNS bigint[]
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN ARRAY(SELECT id FROM geosearch.collections ORDER BY id);
END
$$;

COMMENT ON FUNCTION geosearch.visible_collections() IS
    'Ids of the collections that the current role may see.';
