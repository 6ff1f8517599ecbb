CREATE FUNCTION geosearch.sql_version() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1;

COMMENT ON FUNCTION geosearch.sql_version() IS
    'Version of the functions in this schema: it grows where they change.';
