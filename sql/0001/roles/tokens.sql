-- Tokens are reached through these functions alone. Each role makes them for itself and for nobody
-- else: so not even geosearch_owner, who sees and revokes all, can make one that is another's.

CREATE FUNCTION geosearch.create_token(name text, sha256 bytea, expires_at timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    made bigint;
BEGIN
    IF coalesce(name, '') = '' OR octet_length(sha256) IS DISTINCT FROM 32 OR expires_at IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'a token needs a name, the 32 bytes of its sha256, and when it expires',
            HINT = 'geosearch tokens create makes one.';
    END IF;
    INSERT INTO tokens (role, name, sha256, expires_at)
    VALUES (caller(), create_token.name, create_token.sha256, create_token.expires_at)
    RETURNING id INTO made;
    RETURN made;
END
$$;

COMMENT ON FUNCTION geosearch.create_token(text, bytea, timestamptz) IS
    'Stores the sha256 of a token that stands for the current role; returns its id.';

CREATE FUNCTION geosearch.list_tokens()
RETURNS TABLE (id bigint, role text, name text, created_at timestamptz, expires_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    who CONSTANT name := caller();
    every CONSTANT boolean := has_table_privilege(who, 'geosearch.tokens', 'DELETE');
BEGIN
    RETURN QUERY
    SELECT t.id, t.role, t.name, t.created_at, t.expires_at
    FROM tokens AS t WHERE every OR t.role = who ORDER BY t.id;
END
$$;

COMMENT ON FUNCTION geosearch.list_tokens() IS
    'The tokens of the current role; for geosearch_owner, those of all.';

CREATE FUNCTION geosearch.revoke_token(token bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    DELETE FROM tokens AS t WHERE t.id = token AND t.id IN (SELECT l.id FROM list_tokens() AS l);
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION geosearch.revoke_token(bigint) IS
    'Deletes a token that list_tokens lists; whether there was one.';

-- Who knows the sha256 knows the token: it cannot be guessed, and no function tells it.
CREATE FUNCTION geosearch.role_of_token(sha256 bytea) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT t.role FROM tokens AS t
        WHERE t.sha256 = role_of_token.sha256 AND t.expires_at > now()
    );
END
$$;

COMMENT ON FUNCTION geosearch.role_of_token(bytea) IS
    'The role that a token stands for, by its sha256; NULL if it was revoked or has expired.';
