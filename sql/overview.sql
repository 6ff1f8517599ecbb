-- What is in the database: photos, embeddings and rejects of each collection.
-- Run: geosearch db psql -f sql/overview.sql

SELECT
    collections.name AS collection,
    count(photos.id) AS photos,
    count(photos.geom) AS with_position,
    count(DISTINCT photos.author) AS authors,
    min(photos.taken_at)::date AS first_taken,
    max(photos.taken_at)::date AS last_taken
FROM geosearch.collections
LEFT JOIN geosearch.photos ON photos.collection_id = collections.id
GROUP BY collections.name
ORDER BY collections.name;

SELECT collections.name AS collection, models.name AS model, count(*) AS embeddings
FROM geosearch.embeddings
JOIN geosearch.collections ON collections.id = embeddings.collection_id
JOIN geosearch.models ON models.id = embeddings.model_id
GROUP BY collections.name, models.name
ORDER BY collections.name, models.name;

SELECT collections.name AS collection, rejects.stage, rejects.reason, count(*) AS rejects
FROM geosearch.rejects
LEFT JOIN geosearch.collections ON collections.id = rejects.collection_id
GROUP BY collections.name, rejects.stage, rejects.reason
ORDER BY count(*) DESC;
