-- Who sees which collections. Everything else follows from it: policies.sql.

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

ALTER TABLE geosearch.collection_shares ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON geosearch.collection_shares
    USING (geosearch.has_role(role) OR geosearch.has_role('geosearch_owner'));

ALTER TABLE geosearch.collections ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON geosearch.collections
    USING (
        NOT private
        OR geosearch.has_role('geosearch_owner')
        OR EXISTS (
            SELECT FROM geosearch.collection_shares AS s
            WHERE s.collection_id = collections.id AND geosearch.has_role(s.role)
        )
    );

-- With the caller's rights: these are the collections that the policy above shows the caller.
CREATE FUNCTION geosearch.visible_collections() RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT ARRAY(SELECT id FROM geosearch.collections ORDER BY id);
END;

COMMENT ON FUNCTION geosearch.visible_collections() IS
    'Ids of the collections that the current role may see.';
