-- Layers for GIS and for servers of maps: an integer id first, one geometry with its type and SRID
-- last. Files that are exported, tiles, projects of QGIS and the table in docs/layers.md have the
-- columns that stand here, explained in comments.sql.
-- A view shows a role only what the tables show it (security_invoker). LEFT JOINs by primary key
-- cost nothing to those who ask for none of the columns they bring.

CREATE VIEW geosearch.gis_photos WITH (security_invoker = true) AS
SELECT
    photos.id,
    collections.name AS collection,
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
LEFT JOIN geosearch.collections ON collections.id = photos.collection_id
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
    ST_Y(truth) AS truth_lat,
    ST_X(truth) AS truth_lon,
    error_km,
    evaluation_id,
    created_at,
    estimate AS geom
FROM geosearch.localizations;

COMMENT ON VIEW geosearch.gis_estimates IS 'Answers, at the estimated positions of their photos.';

CREATE VIEW geosearch.gis_regions WITH (security_invoker = true) AS
SELECT
    regions.id,
    regions.localization_id,
    answers.photo_uri AS photo,
    answers.evaluation_id,
    round(regions.level::numeric, 4)::float8 AS level,  -- stored as float4
    regions.area_km2,
    regions.geom
FROM geosearch.localization_regions AS regions
LEFT JOIN geosearch.localizations AS answers ON answers.id = regions.localization_id;

COMMENT ON VIEW geosearch.gis_regions IS
    'Regions that hold 50 % and 90 % of the density of answers.';

CREATE VIEW geosearch.gis_neighbours WITH (security_invoker = true) AS
SELECT
    neighbours.id,
    neighbours.localization_id,
    answers.photo_uri AS photo,
    answers.evaluation_id,
    neighbours.rank,
    neighbours.photo_id AS neighbour_id,
    neighbours.uri AS neighbour,
    neighbours.distance,
    neighbours.weight,
    neighbours.geom
FROM geosearch.localization_neighbours AS neighbours
LEFT JOIN geosearch.localizations AS answers ON answers.id = neighbours.localization_id;

COMMENT ON VIEW geosearch.gis_neighbours IS
    'Neighbours that answers rest on, with their ranks, distances and weights.';

CREATE VIEW geosearch.gis_lines WITH (security_invoker = true) AS
SELECT
    neighbours.id,
    localization_id,
    photo,
    neighbours.evaluation_id,
    rank,
    neighbour_id,
    neighbour,
    distance,
    weight,
    geosearch.great_circle_line(estimate, geom)::geometry(MultiLineString, 4326) AS geom
FROM geosearch.gis_neighbours AS neighbours
JOIN geosearch.localizations AS answers ON answers.id = localization_id
WHERE estimate IS NOT NULL;

COMMENT ON VIEW geosearch.gis_lines IS 'Lines from estimates to the neighbours they rest on.';

CREATE VIEW geosearch.gis_errors WITH (security_invoker = true) AS
SELECT
    id,
    photo_uri AS photo,
    method,
    error_km,
    score,
    evaluation_id,
    geosearch.great_circle_line(estimate, truth)::geometry(MultiLineString, 4326) AS geom
FROM geosearch.localizations
WHERE estimate IS NOT NULL AND truth IS NOT NULL;

COMMENT ON VIEW geosearch.gis_errors IS 'Lines from estimates to known true positions.';

-- By collection, so that a role counts the photos of those it may see.
CREATE VIEW geosearch.gis_coverage WITH (security_invoker = true) AS
SELECT
    coverage.cell AS id,
    coverage.cell_km,
    sum(coverage.photos)::bigint AS photos,
    string_agg(collections.name, ', ' ORDER BY collections.name) AS collections,
    max(coverage.created_at) AS changed_at,
    coverage.geom
FROM geosearch.coverage
JOIN geosearch.collections ON collections.id = coverage.collection_id
GROUP BY coverage.cell, coverage.cell_km, coverage.geom;

COMMENT ON VIEW geosearch.gis_coverage IS
    'Reference photos in cells of equal area, as geosearch.refresh_coverage last counted them.';

CREATE VIEW geosearch.gis_borders WITH (security_invoker = true) AS
SELECT id, kind, name, iso_a2, iso_a3, continent, subregion, geom
FROM geosearch.borders;

COMMENT ON VIEW geosearch.gis_borders IS 'Borders of countries and regions, for a background.';
