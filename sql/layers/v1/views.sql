-- Layers for GIS and for servers of maps: an integer id first, one geometry with its type and SRID.
-- A view shows a role only what the tables show it (security_invoker).

CREATE VIEW geosearch.gis_photos WITH (security_invoker = true) AS
SELECT
    photos.id,
    -- Not joined, so that those who do not ask for it do not pay for it.
    (SELECT name FROM geosearch.collections WHERE collections.id = photos.collection_id)
        AS collection,
    photos.uri,
    photos.title,
    photos.author,
    photos.licence,
    photos.taken_at,
    photos.accuracy_m,
    photos.position_source,
    photos.source_id,
    photos.width,
    photos.height,
    photos.geom
FROM geosearch.photos
WHERE photos.geom IS NOT NULL;

COMMENT ON VIEW geosearch.gis_photos IS 'Reference photos that have a position.';

CREATE VIEW geosearch.gis_estimates WITH (security_invoker = true) AS
SELECT
    id,
    photo_uri AS photo,
    method,
    model ->> 'name' AS model,
    score,
    radius_50_km AS radius_km_50,
    radius_90_km AS radius_km_90,
    confident,
    error_km,
    evaluation_id,
    created_at,
    estimate AS geom
FROM geosearch.localizations
WHERE estimate IS NOT NULL;

COMMENT ON VIEW geosearch.gis_estimates IS
    'Answers that have an estimate; id is that of the localization.';

CREATE VIEW geosearch.gis_regions WITH (security_invoker = true) AS
SELECT
    regions.id,
    regions.localization_id,
    (SELECT photo_uri FROM geosearch.localizations WHERE localizations.id = regions.localization_id)
        AS photo,
    round(regions.level::numeric, 4)::float8 AS level,
    regions.area_km2,
    regions.geom
FROM geosearch.localization_regions AS regions;

COMMENT ON VIEW geosearch.gis_regions IS 'Highest-density regions of answers.';

CREATE VIEW geosearch.gis_neighbours WITH (security_invoker = true) AS
SELECT
    neighbours.id,
    neighbours.localization_id,
    (SELECT photo_uri FROM geosearch.localizations WHERE localizations.id = neighbours.localization_id)
        AS photo,
    neighbours.rank,
    neighbours.photo_id AS neighbour_id,
    neighbours.uri AS neighbour,
    neighbours.distance,
    neighbours.weight,
    neighbours.geom
FROM geosearch.localization_neighbours AS neighbours;

COMMENT ON VIEW geosearch.gis_neighbours IS 'The neighbours that answers rest on.';
