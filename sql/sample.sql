-- Sample data for docs/sql.md: 240 made-up photos of twelve towns, and a made-up model of eight
-- dimensions by which photos of one town look alike. The same each time.
-- Run: geosearch db psql -f sql/sample.sql
-- Undo: DELETE FROM geosearch.all_collections WHERE name = 'towns'

BEGIN;

INSERT INTO geosearch.all_collections (name, description)
VALUES ('towns', 'Made-up photos for the examples of docs/sql.md.');

INSERT INTO geosearch.models (
    name, architecture, weights_source, weights_sha256, preprocessing, pooling, dimension,
    fingerprint, framework, licence
)
VALUES ('sample/towns', 'none', 'sql/sample.sql', '', '{}', 'none', 8, 'sql/sample.sql', '{}', NULL)
ON CONFLICT (fingerprint) DO NOTHING;

-- Embeddings of a model live in a partition of their own.
SELECT geosearch.create_embedding_table(id) FROM geosearch.models WHERE fingerprint = 'sql/sample.sql';

-- Twenty photos on a spiral of up to 6 km round the middle of each town.
WITH towns (number, name, lat, lon) AS (
    VALUES
        (1, 'zurich', 47.37, 8.54), (2, 'bern', 46.95, 7.44), (3, 'milan', 45.46, 9.19),
        (4, 'paris', 48.86, 2.35), (5, 'cairo', 30.04, 31.24), (6, 'nairobi', -1.29, 36.82),
        (7, 'lima', -12.05, -77.04), (8, 'quito', -0.18, -78.47), (9, 'tokyo', 35.68, 139.69),
        (10, 'suva', -18.14, 178.44), (11, 'apia', -13.83, -171.77),
        (12, 'longyearbyen', 78.22, 15.65)
), shots AS (
    SELECT
        format('sample:%s/%s', name, shot) AS uri,
        lat + sqrt(shot) * 0.012 * cos(shot * 2.4) AS lat,
        lon + sqrt(shot) * 0.012 * sin(shot * 2.4) / cos(radians(lat)) AS lon,
        number,
        shot
    FROM towns CROSS JOIN generate_series(1, 20) AS shot
)
INSERT INTO geosearch.all_photos (
    collection_id, uri, sha256, size_bytes, width, height, format, geom, position_source,
    accuracy_m, taken_at, author, licence, title
)
SELECT
    (SELECT id FROM geosearch.all_collections WHERE name = 'towns'),
    uri, sha256(uri::bytea), 1, 1, 1, 'JPEG', ST_SetSRID(ST_MakePoint(lon, lat), 4326), 'manifest',
    5 + (shot * 7 + number) % 40,
    CASE WHEN shot % 10 > 0
        THEN timestamptz '2012-01-01 12:00+00' + (number * 20 + shot) * interval '11 days'
    END,
    CASE WHEN shot % 9 > 0 THEN (ARRAY['ada', 'ben', 'cleo', 'dan'])[1 + (number + shot) % 4] END,
    (ARRAY['CC0', 'CC BY 4.0', 'all rights reserved'])[1 + shot % 3],
    'A view of ' || initcap(split_part(split_part(uri, ':', 2), '/', 1))
FROM shots
ORDER BY number, shot;

-- Half of what a photo shows is its town, a quarter its part of the world, the rest its own.
INSERT INTO geosearch.all_embeddings (
    photo_id, model_id, collection_id, geom, accuracy_m, taken_at, author, licence, embedding
)
SELECT
    p.id, m.id, p.collection_id, p.geom, p.accuracy_m, p.taken_at, p.author, p.licence,
    l2_normalize((
        SELECT array_agg(
            2 * sin(('x' || left(md5(split_part(p.uri, '/', 1) || axis), 7))::bit(28)::integer)
            + sin(radians(2 * ST_Y(p.geom)) * axis + axis)
            + 0.8 * sin(('x' || left(md5(p.uri || axis), 7))::bit(28)::integer)
            ORDER BY axis
        )
        FROM generate_series(1, 8) AS axis
    )::vector)::halfvec
FROM geosearch.all_photos AS p
JOIN geosearch.all_collections AS c ON c.id = p.collection_id AND c.name = 'towns'
JOIN geosearch.models AS m ON m.fingerprint = 'sql/sample.sql';

COMMIT;
