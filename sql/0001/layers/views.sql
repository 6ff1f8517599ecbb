-- Layers for GIS and for servers of maps: an integer id first, one geometry with its type and SRID.
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
COMMENT ON COLUMN geosearch.gis_photos.id IS 'Id of the photo.';
COMMENT ON COLUMN geosearch.gis_photos.collection IS 'Collection the photo belongs to.';
COMMENT ON COLUMN geosearch.gis_photos.uri IS 'Absolute path or URL of the photo, for map tips.';
COMMENT ON COLUMN geosearch.gis_photos.title IS 'Title or caption.';
COMMENT ON COLUMN geosearch.gis_photos.author IS 'Photographer or account.';
COMMENT ON COLUMN geosearch.gis_photos.licence IS 'Licence of the photo.';
COMMENT ON COLUMN geosearch.gis_photos.taken_at IS 'When taken (UTC if no zone is known).';
COMMENT ON COLUMN geosearch.gis_photos.accuracy_m IS 'Accuracy of the position, metres.';
COMMENT ON COLUMN geosearch.gis_photos.position_source IS 'exif, xmp or manifest.';
COMMENT ON COLUMN geosearch.gis_photos.source_id IS 'Identifier at the source.';
COMMENT ON COLUMN geosearch.gis_photos.width IS 'Width in pixels, as stored.';
COMMENT ON COLUMN geosearch.gis_photos.height IS 'Height in pixels, as stored.';
COMMENT ON COLUMN geosearch.gis_photos.geom IS 'Position (WGS 84).';

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
COMMENT ON COLUMN geosearch.gis_estimates.id IS 'Id of the localization.';
COMMENT ON COLUMN geosearch.gis_estimates.photo IS 'Path or URL of the query, for map tips.';
COMMENT ON COLUMN geosearch.gis_estimates.method IS 'How the estimate was found.';
COMMENT ON COLUMN geosearch.gis_estimates.model IS 'Model that looked at the photo.';
COMMENT ON COLUMN geosearch.gis_estimates.score IS
    'Share of the neighbours'' weight near the estimate, 0 to 1.';
COMMENT ON COLUMN geosearch.gis_estimates.radius_km_50 IS
    'Radius round the estimate with half the density, kilometres.';
COMMENT ON COLUMN geosearch.gis_estimates.radius_km_90 IS
    'Radius round the estimate with 90 % of it, kilometres.';
COMMENT ON COLUMN geosearch.gis_estimates.confident IS
    'False: not in this collection. NULL without calibration.';
COMMENT ON COLUMN geosearch.gis_estimates.error_km IS
    'Great-circle distance to the truth, kilometres, where that is known.';
COMMENT ON COLUMN geosearch.gis_estimates.evaluation_id IS 'Evaluation it belongs to, if any.';
COMMENT ON COLUMN geosearch.gis_estimates.created_at IS 'When the answer was given.';
COMMENT ON COLUMN geosearch.gis_estimates.geom IS 'Estimated position (WGS 84).';

CREATE VIEW geosearch.gis_regions WITH (security_invoker = true) AS
SELECT
    regions.id,
    regions.localization_id,
    answers.photo_uri AS photo,
    answers.evaluation_id,
    round(regions.level::numeric, 4)::float8 AS level,
    regions.area_km2,
    regions.geom
FROM geosearch.localization_regions AS regions
LEFT JOIN geosearch.localizations AS answers ON answers.id = regions.localization_id;

COMMENT ON VIEW geosearch.gis_regions IS 'Highest-density regions of answers.';
COMMENT ON COLUMN geosearch.gis_regions.id IS 'Id of the region.';
COMMENT ON COLUMN geosearch.gis_regions.localization_id IS 'The answer.';
COMMENT ON COLUMN geosearch.gis_regions.photo IS 'Path or URL of the query, for map tips.';
COMMENT ON COLUMN geosearch.gis_regions.evaluation_id IS 'Evaluation it belongs to, if any.';
COMMENT ON COLUMN geosearch.gis_regions.level IS 'Share of the density inside, 0 to 1.';
COMMENT ON COLUMN geosearch.gis_regions.area_km2 IS 'Area, square kilometres.';
COMMENT ON COLUMN geosearch.gis_regions.geom IS 'The region (WGS 84), cut at the antimeridian.';

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

COMMENT ON VIEW geosearch.gis_neighbours IS 'The neighbours that answers rest on.';
COMMENT ON COLUMN geosearch.gis_neighbours.id IS 'Id of the neighbour in the answer.';
COMMENT ON COLUMN geosearch.gis_neighbours.localization_id IS 'The answer.';
COMMENT ON COLUMN geosearch.gis_neighbours.photo IS 'Path or URL of the query.';
COMMENT ON COLUMN geosearch.gis_neighbours.evaluation_id IS 'Evaluation it belongs to, if any.';
COMMENT ON COLUMN geosearch.gis_neighbours.rank IS '1 is the nearest.';
COMMENT ON COLUMN geosearch.gis_neighbours.neighbour_id IS 'The photo; it may be gone since.';
COMMENT ON COLUMN geosearch.gis_neighbours.neighbour IS
    'Path or URL of the photo at the time, for map tips.';
COMMENT ON COLUMN geosearch.gis_neighbours.distance IS 'Cosine distance to the query.';
COMMENT ON COLUMN geosearch.gis_neighbours.weight IS 'Weight in the estimate; all sum to 1.';
COMMENT ON COLUMN geosearch.gis_neighbours.geom IS 'Position of the photo at the time (WGS 84).';

CREATE VIEW geosearch.gis_lines WITH (security_invoker = true) AS
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
    geosearch.great_circle_line(answers.estimate, neighbours.geom)::geometry(MultiLineString, 4326)
        AS geom
FROM geosearch.localization_neighbours AS neighbours
JOIN geosearch.localizations AS answers ON answers.id = neighbours.localization_id
WHERE answers.estimate IS NOT NULL;

COMMENT ON VIEW geosearch.gis_lines IS
    'Lines from estimates to the neighbours they rest on; id is that of gis_neighbours.';
COMMENT ON COLUMN geosearch.gis_lines.id IS 'Id of the neighbour in the answer.';
COMMENT ON COLUMN geosearch.gis_lines.localization_id IS 'The answer.';
COMMENT ON COLUMN geosearch.gis_lines.photo IS 'Path or URL of the query.';
COMMENT ON COLUMN geosearch.gis_lines.evaluation_id IS 'Evaluation it belongs to, if any.';
COMMENT ON COLUMN geosearch.gis_lines.rank IS '1 is the nearest.';
COMMENT ON COLUMN geosearch.gis_lines.neighbour_id IS 'The photo; it may be gone since.';
COMMENT ON COLUMN geosearch.gis_lines.neighbour IS
    'Path or URL of the photo at the time, for map tips.';
COMMENT ON COLUMN geosearch.gis_lines.distance IS 'Cosine distance to the query.';
COMMENT ON COLUMN geosearch.gis_lines.weight IS 'Weight in the estimate; all sum to 1.';
COMMENT ON COLUMN geosearch.gis_lines.geom IS
    'Great circle (WGS 84), cut at the antimeridian.';

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

COMMENT ON VIEW geosearch.gis_errors IS
    'Lines from estimates to the known true positions; id is that of the localization.';
COMMENT ON COLUMN geosearch.gis_errors.id IS 'Id of the localization.';
COMMENT ON COLUMN geosearch.gis_errors.photo IS 'Path or URL of the query, for map tips.';
COMMENT ON COLUMN geosearch.gis_errors.method IS 'How the estimate was found.';
COMMENT ON COLUMN geosearch.gis_errors.error_km IS 'Length of the line, kilometres.';
COMMENT ON COLUMN geosearch.gis_errors.score IS
    'Share of the neighbours'' weight near the estimate, 0 to 1.';
COMMENT ON COLUMN geosearch.gis_errors.evaluation_id IS 'Evaluation it belongs to, if any.';
COMMENT ON COLUMN geosearch.gis_errors.geom IS
    'Great circle (WGS 84) from the estimate, cut at the antimeridian.';

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
COMMENT ON COLUMN geosearch.gis_coverage.id IS 'Number of the cell.';
COMMENT ON COLUMN geosearch.gis_coverage.cell_km IS
    'Side of a square of the cell''s area, kilometres: 222 or 56. Choose one.';
COMMENT ON COLUMN geosearch.gis_coverage.photos IS 'Photos in the cell.';
COMMENT ON COLUMN geosearch.gis_coverage.collections IS 'Their collections.';
COMMENT ON COLUMN geosearch.gis_coverage.changed_at IS 'When a count first found so many.';
COMMENT ON COLUMN geosearch.gis_coverage.geom IS 'The cell (WGS 84).';

CREATE VIEW geosearch.gis_borders WITH (security_invoker = true) AS
SELECT id, kind, name, iso_a2, iso_a3, continent, subregion, geom
FROM geosearch.borders;

COMMENT ON VIEW geosearch.gis_borders IS 'Borders of countries and regions, for a background.';
COMMENT ON COLUMN geosearch.gis_borders.id IS 'Id of the border.';
COMMENT ON COLUMN geosearch.gis_borders.kind IS 'country, or region: a group or part of some.';
COMMENT ON COLUMN geosearch.gis_borders.name IS 'English name.';
COMMENT ON COLUMN geosearch.gis_borders.iso_a2 IS 'ISO 3166-1 alpha-2 code, if known.';
COMMENT ON COLUMN geosearch.gis_borders.iso_a3 IS 'ISO 3166-1 alpha-3 code, if known.';
COMMENT ON COLUMN geosearch.gis_borders.continent IS 'Continent, as the source divides them.';
COMMENT ON COLUMN geosearch.gis_borders.subregion IS
    'Part of the continent, as the source divides them.';
COMMENT ON COLUMN geosearch.gis_borders.geom IS 'Its area (WGS 84).';
