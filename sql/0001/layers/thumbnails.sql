-- Photos as small pictures, for pages and maps whose readers cannot reach the files.

CREATE FUNCTION geosearch.thumbnail(photo bigint) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT t.webp FROM geosearch.thumbnails AS t WHERE t.photo_id = photo;
END;

COMMENT ON FUNCTION geosearch.thumbnail(bigint) IS
    'A photo as WebP, at most 512 pixels wide and high; NULL where none is stored or may be seen.';
