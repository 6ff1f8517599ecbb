-- Layers for GIS and for servers of maps: an integer id first, one geometry with its type and SRID
-- last. Files that are exported, tiles, projects of QGIS and docs/layers.md have the columns that
-- stand here, with what is said of them at the end.
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
    photos.taken_at_zone,
    photos.accuracy_m,
    photos.position_source,
    photos.direction_deg,
    photos.direction_reference,
    photos.field_of_view_deg,
    photos.pitch_deg,
    photos.altitude_m,
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
    place,
    'estimated'::text AS position_source,
    agreement,
    radius_50_km AS radius_km_50,
    radius_90_km AS radius_km_90,
    filter::text AS filter,
    confident,
    low_information,
    calibration_id,
    calibration_fits,
    (
        SELECT min(km::float8) FROM jsonb_each_text(probability_within_km) AS within (km, probability)
        WHERE probability::float8 >= 0.5
    ) AS probable_km,
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

CREATE VIEW geosearch.gis_density WITH (security_invoker = true) AS
SELECT
    cells.id,
    cells.localization_id,
    answers.photo_uri AS photo,
    answers.evaluation_id,
    cells.share / cells.area_km2 AS density_per_km2,
    cells.share,
    cells.level,
    cells.area_km2,
    cells.geom
FROM geosearch.localization_cells AS cells
LEFT JOIN geosearch.localizations AS answers ON answers.id = cells.localization_id;

COMMENT ON VIEW geosearch.gis_density IS
    'Densities of answers as cells, for the answers given to geosearch layers density.';

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
    neighbours.inliers,
    neighbours.weight,
    neighbours.member,
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
    member,
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
    agreement,
    evaluation_id,
    geosearch.great_circle_line(estimate, truth)::geometry(MultiLineString, 4326) AS geom
FROM geosearch.localizations
WHERE estimate IS NOT NULL AND truth IS NOT NULL;

COMMENT ON VIEW geosearch.gis_errors IS 'Lines from estimates to known true positions.';

CREATE VIEW geosearch.gis_truths WITH (security_invoker = true) AS
SELECT
    id,
    photo_uri AS photo,
    method,
    error_km,
    evaluation_id,
    created_at,
    truth AS geom
FROM geosearch.localizations
WHERE truth IS NOT NULL;

COMMENT ON VIEW geosearch.gis_truths IS 'Known true positions of the photos of answers.';

-- Of each photo the answer to decide on, evaluations apart. An answer that is newer than all that was
-- decided on the photo goes before the one that was decided on last; of several such the one that
-- rests on most besides the picture, such as the photos before and after, or a track.
CREATE VIEW geosearch.latest_answers WITH (security_invoker = true) AS
SELECT DISTINCT ON (answers.photo_sha256)
    answers.id,
    answers.photo_sha256,
    answers.estimate,
    answers.place,
    answers.radius_90_km,
    answers.agreement,
    answers.probability_within_km,
    answers.confident,
    answers.calibration_fits
FROM geosearch.localizations AS answers
LEFT JOIN (
    SELECT DISTINCT ON (photo_sha256) photo_sha256, answer_id, created_at
    FROM geosearch.reviews ORDER BY photo_sha256, id DESC
) AS decided ON decided.photo_sha256 = answers.photo_sha256
CROSS JOIN LATERAL (
    SELECT count(*) AS kinds FROM jsonb_object_keys(answers.evidence -> 'believed') AS kind
    WHERE kind <> 'picture'
) AS besides
WHERE answers.evaluation_id IS NULL
ORDER BY answers.photo_sha256, answers.created_at > decided.created_at DESC NULLS LAST,
    answers.id = decided.answer_id DESC NULLS LAST, besides.kinds DESC, answers.id DESC;

CALL pg_temp.describe('geosearch.latest_answers',
    'Of each photo the latest answer of those that rest on most, decided on or newer than that.', $$
    id: The answer.
    photo_sha256: sha256 of the bytes of the photo.
    estimate: Where it was likeliest taken.
    place: The same in words.
    radius_90_km: Kilometres round the estimate that hold 90 % of the probability.
    agreement: Share of the weight of the neighbours behind the estimate.
    probability_within_km: Probabilities of an error of at most so many kilometres.
    confident: Whether the place is probably among the references; NULL without calibration.
    calibration_fits: yes, unsure, widened or no: whether what the calibration says holds here.
$$);

CREATE VIEW geosearch.gis_unlocated WITH (security_invoker = true) AS
SELECT
    photos.id,
    collections.name AS collection,
    photos.uri,
    photos.title,
    photos.author,
    photos.taken_at,
    photos.position_source,
    answers.id AS localization_id,
    answers.place,
    answers.agreement,
    answers.radius_90_km AS radius_km_90,
    answers.probability_within_km,
    answers.confident,
    answers.low_information,
    decided.decision,
    NULL::text AS remark,
    coalesce(photos.estimate, answers.estimate)::geometry(Point, 4326) AS geom
FROM geosearch.photos
LEFT JOIN geosearch.collections ON collections.id = photos.collection_id
LEFT JOIN geosearch.latest_answers AS latest ON latest.photo_sha256 = photos.sha256
-- Or the one it has its place by, if its bytes are others since.
LEFT JOIN geosearch.localizations AS answers
    ON answers.id = coalesce(latest.id, photos.localization_id)
LEFT JOIN (
    SELECT DISTINCT ON (answer_id) answer_id, decision
    FROM geosearch.reviews ORDER BY answer_id, id DESC
) AS decided ON decided.answer_id = answers.id
WHERE photos.geom IS NULL;

COMMENT ON VIEW geosearch.gis_unlocated IS
    'Photos without a known position, where their latest answers or reviews say; to be moved.';

-- With the rights of whoever edits: what she may not review, she may not move.
CREATE FUNCTION geosearch.edit_unlocated() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    moved CONSTANT boolean := ST_AsEWKB(NEW.geom) IS DISTINCT FROM ST_AsEWKB(OLD.geom);
    others CONSTANT text[] := '{geom, decision, remark}';
BEGIN
    IF to_jsonb(NEW) - others <> to_jsonb(OLD) - others THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'only geom, decision and remark can be changed here',
            HINT = 'Leave the others.';
    ELSIF OLD.localization_id IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('photo %s has no answer to decide on', OLD.id),
            HINT = 'Run: geosearch localize --photo-id ' || OLD.id;
    ELSIF moved AND NEW.geom IS NOT NULL THEN
        PERFORM review(OLD.localization_id, 'move', NEW.geom, NEW.remark);
    ELSIF moved OR NEW.decision IS NULL AND OLD.decision IS NOT NULL THEN
        PERFORM refuse(
            'nothing was decided here, or another decided it last', 'One takes back one''s own.'
        ) WHERE current_user IS DISTINCT FROM (
            SELECT r.recorded_by FROM reviews AS r
            WHERE r.answer_id = OLD.localization_id ORDER BY r.id DESC LIMIT 1
        );
        PERFORM undo_review(OLD.localization_id);
    ELSIF NEW.decision IS DISTINCT FROM OLD.decision THEN
        PERFORM review(OLD.localization_id, NEW.decision, NULL, NEW.remark);
    END IF;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION geosearch.edit_unlocated() IS
    'Makes a review of a point that was moved, or of a decision: NULL takes one''s last back.';

CREATE TRIGGER edit_unlocated INSTEAD OF UPDATE ON geosearch.gis_unlocated
FOR EACH ROW EXECUTE FUNCTION geosearch.edit_unlocated();

-- Of a pair that several found, the latest. Positions, times and licences are those of now.
CREATE VIEW geosearch.gis_duplicates WITH (security_invoker = true) AS
SELECT
    pairs.id,
    pairs.photo_id,
    photos.uri AS photo,
    collections.name AS collection,
    pairs.other_id,
    others.uri AS other,
    other_collections.name AS other_collection,
    pairs.same_bytes,
    pairs.distance,
    1000 * geosearch.great_circle_km(
        ST_Y(photos.geom), ST_X(photos.geom), ST_Y(others.geom), ST_X(others.geom)
    ) AS apart_m,
    abs(extract(epoch FROM others.taken_at - photos.taken_at))::float8 AS seconds_apart,
    ST_Y(photos.geom) AS lat,
    ST_X(photos.geom) AS lon,
    photos.taken_at,
    photos.licence,
    photos.position_source,
    ST_Y(others.geom) AS other_lat,
    ST_X(others.geom) AS other_lon,
    others.taken_at AS other_taken_at,
    others.licence AS other_licence,
    others.position_source AS other_position_source,
    CASE WHEN NOT ST_Equals(photos.geom, others.geom) THEN
        geosearch.great_circle_line(photos.geom, others.geom)
    END::geometry(MultiLineString, 4326) AS geom
FROM (
    SELECT DISTINCT ON (photo_id, other_id) id, photo_id, other_id, same_bytes, distance
    FROM geosearch.duplicates ORDER BY photo_id, other_id, id DESC
) AS pairs
JOIN (
    SELECT id, uri, collection_id, taken_at, licence, position_source,
        geosearch.stated_position(geom, estimate, position_source) AS geom
    FROM geosearch.photos
) AS photos ON photos.id = pairs.photo_id
JOIN (
    SELECT id, uri, collection_id, taken_at, licence, position_source,
        geosearch.stated_position(geom, estimate, position_source) AS geom
    FROM geosearch.photos
) AS others ON others.id = pairs.other_id
LEFT JOIN geosearch.collections ON collections.id = photos.collection_id
LEFT JOIN geosearch.collections AS other_collections
    ON other_collections.id = others.collection_id;

COMMENT ON VIEW geosearch.gis_duplicates IS
    'Pairs of photos that show the same, and lines between those that are not at one place.';

-- Of a photo that several judged, the latest, if its position and time are still those judged.
CREATE VIEW geosearch.gis_audit WITH (security_invoker = true) AS
SELECT
    audits.id,
    audits.photo_id,
    photos.uri AS photo,
    collections.name AS collection,
    audits.reason,
    audits.reason_probability,
    audits.probability,
    audits.level,
    audits.picture_km,
    audits.timeline_km,
    audits.speed_kmh,
    ST_Y(audits.stated) AS stated_lat,
    ST_X(audits.stated) AS stated_lon,
    photos.position_source,
    ST_Y(audits.mend) AS mend_lat,
    ST_X(audits.mend) AS mend_lon,
    audits.stated_at,
    audits.mend_at,
    audits.created_at,
    CASE WHEN NOT ST_Equals(audits.stated, audits.mend) THEN
        geosearch.great_circle_line(audits.stated, audits.mend)
    END::geometry(MultiLineString, 4326) AS geom
FROM (
    SELECT DISTINCT ON (photo_id)
        id, photo_id, reason, reason_probability, probability, level, picture_km, timeline_km,
        speed_kmh, stated, mend, stated_at, mend_at, created_at
    FROM geosearch.audits ORDER BY photo_id, id DESC
) AS audits
JOIN geosearch.photos ON photos.id = audits.photo_id
    AND geosearch.stated_position(photos.geom, photos.estimate, photos.position_source)
        = audits.stated
    AND photos.taken_at IS NOT DISTINCT FROM audits.stated_at
LEFT JOIN geosearch.collections ON collections.id = photos.collection_id
WHERE audits.reason IS NOT NULL;

COMMENT ON VIEW geosearch.gis_audit IS
    'Photos that were hardly taken where or when they say: lines to where they were likelier.';

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

CREATE VIEW geosearch.gis_geocells WITH (security_invoker = true) AS
SELECT
    cells.id,
    cells.partition_id,
    (SELECT name FROM geosearch.partitions WHERE partitions.id = cells.partition_id) AS partition,
    cells.number,
    cells.photos,
    cells.photos / cells.area_km2 AS photos_per_km2,
    cells.spread_km,
    cells.area_km2,
    cells.geom
FROM geosearch.geocells AS cells;

COMMENT ON VIEW geosearch.gis_geocells IS 'Cells of partitions, with the photos each holds.';

CREATE VIEW geosearch.gis_borders WITH (security_invoker = true) AS
SELECT id, kind, name, iso_a2, iso_a3, continent, subregion, geom
FROM geosearch.borders;

COMMENT ON VIEW geosearch.gis_borders IS 'Borders of countries and regions, for a background.';

-- What the columns mean. A name means the same in every layer and is explained once; where it does
-- not, the layers are named.

DO $$
DECLARE
    item record;
BEGIN
    FOR item IN
        WITH words (layer, name, meaning) AS (VALUES
            (NULL, 'accuracy_m', 'Accuracy of the position, metres.'),
            (NULL, 'agreement', 'Share of the evidence that agrees on the estimate, 0 to 1.'),
            (NULL, 'altitude_m', 'Height above the sea, metres.'),
            (NULL, 'area_km2', 'Area, square kilometres.'),
            (NULL, 'author', 'Photographer or account.'),
            (NULL, 'calibration_id', 'Calibration that was applied, if any.'),
            (NULL, 'filter', 'Which photos were searched, as JSON.'),
            (NULL, 'calibration_fits',
                'Whether the calibration holds here: yes, unsure, widened, no. NULL without one.'),
            (NULL, 'cell_km',
                'Side of a square of the cell''s area, kilometres: 222 or 56. Choose one.'),
            (NULL, 'apart_m', 'Distance between the two positions, metres.'),
            (NULL, 'changed_at', 'When a count first found so many.'),
            (NULL, 'collection', 'Collection the photo belongs to.'),
            (NULL, 'collections', 'Their collections.'),
            (NULL, 'confident',
                'Whether it is in this collection: false also of low information; NULL without calibration.'),
            (NULL, 'continent', 'Continent, as the source divides them.'),
            ('audit', 'created_at', 'When it was judged.'),
            (NULL, 'created_at', 'When the answer was given.'),
            (NULL, 'decision',
                'What was decided on the answer: accept, move, reject or unsure; NULL: nothing yet.'),
            (NULL, 'density_per_km2',
                'Probability per square kilometre, the mean over the cell.'),
            (NULL, 'direction_deg', 'Where the camera looked, degrees clockwise from north.'),
            (NULL, 'direction_reference',
                'Whose north it is: true or magnetic; NULL where it is not said.'),
            ('duplicates', 'distance',
                'Cosine distance of their embeddings; NULL where they were not compared.'),
            (NULL, 'distance', 'Cosine distance to the query.'),
            (NULL, 'error_km',
                'Great-circle distance to the truth, kilometres, where that is known.'),
            (NULL, 'evaluation_id', 'Evaluation it belongs to, if any.'),
            (NULL, 'field_of_view_deg', 'Width of what the upright picture shows, degrees.'),
            ('duplicates', 'geom',
                'Great circle (WGS 84) from the one to the other, cut at the antimeridian; NULL at '
                'one place, or where the place of one is not known.'),
            ('audit', 'geom',
                'Great circle (WGS 84) from the stated position, cut at the antimeridian; NULL '
                'where only the time is wrong.'),
            ('photos', 'geom', 'Position (WGS 84).'),
            ('unlocated', 'geom',
                'Reviewed or else estimated position (WGS 84); moving it is the review move.'),
            ('estimates', 'geom',
                'Estimated position (WGS 84); NULL where no photo passed the filter.'),
            ('regions', 'geom', 'The region (WGS 84), cut at the antimeridian.'),
            ('neighbours', 'geom', 'Position of the photo at the time (WGS 84).'),
            ('lines', 'geom',
                'Great circle (WGS 84) from the estimate, cut at the antimeridian.'),
            ('errors', 'geom',
                'Great circle (WGS 84) from the estimate, cut at the antimeridian.'),
            ('truths', 'geom', 'True position (WGS 84).'),
            ('borders', 'geom', 'Its area (WGS 84).'),
            (NULL, 'geom', 'The cell (WGS 84), cut at the antimeridian.'),
            ('duplicates', 'id', 'Id of the pair.'),
            ('audit', 'id', 'Id of the judgement.'),
            ('photos', 'id', 'Id of the photo.'),
            ('unlocated', 'id', 'Id of the photo.'),
            ('estimates', 'id', 'Id of the answer.'),
            ('errors', 'id', 'Id of the answer.'),
            ('truths', 'id', 'Id of the answer.'),
            ('regions', 'id', 'Id of the region.'),
            ('neighbours', 'id', 'Id of the neighbour in the answer.'),
            ('lines', 'id', 'Id of the neighbour in the answer.'),
            ('density', 'id', 'Id of the cell in the answer.'),
            ('coverage', 'id', 'Number of the cell.'),
            ('geocells', 'id', 'Id of the cell.'),
            ('borders', 'id', 'Id of the border.'),
            (NULL, 'height', 'Height in pixels, as stored.'),
            (NULL, 'inliers',
                'Matches of local features that agree on one scene; NULL if it was not compared.'),
            (NULL, 'iso_a2', 'ISO 3166-1 alpha-2 code, if known.'),
            (NULL, 'iso_a3', 'ISO 3166-1 alpha-3 code, if known.'),
            (NULL, 'kind', 'Kind: country, or region, a group or part of some.'),
            ('audit', 'level',
                'Level of the smallest region that holds the stated position, 0 to 1.'),
            ('regions', 'level', 'Share of the density inside, 0 to 1.'),
            ('density', 'level',
                'Share in this and all denser cells: level of the smallest region that contains '
                'the cell.'),
            (NULL, 'lat', 'Latitude of the photo, degrees.'),
            (NULL, 'licence', 'Licence of the photo.'),
            (NULL, 'localization_id', 'Id of the answer.'),
            (NULL, 'lon', 'Longitude of the photo, degrees.'),
            (NULL, 'low_information',
                'Why the picture can hardly tell a place, such as blank or text.'),
            (NULL, 'member',
                'Which of several models found it, by its number; NULL where one was asked.'),
            (NULL, 'mend_at', 'When it was taken likelier; NULL if nothing is wrong with the time.'),
            (NULL, 'mend_lat', 'Latitude where it was taken likelier, degrees.'),
            (NULL, 'mend_lon', 'Longitude where it was taken likelier, degrees.'),
            (NULL, 'method', 'How the estimate was found.'),
            (NULL, 'model', 'Model that looked at the photo.'),
            (NULL, 'name', 'English name.'),
            (NULL, 'neighbour', 'Path or URL of the photo at the time, for map tips.'),
            (NULL, 'neighbour_id', 'The photo; it may be gone since.'),
            (NULL, 'number', 'Number of the cell in its partition, from 0.'),
            (NULL, 'other', 'Path or URL of the other photo, for map tips.'),
            (NULL, 'other_collection', 'Collection the other photo belongs to.'),
            (NULL, 'other_id', 'The other photo, which was stored later.'),
            (NULL, 'other_lat', 'Latitude of the other photo, degrees.'),
            (NULL, 'other_licence', 'Licence of the other photo.'),
            (NULL, 'other_lon', 'Longitude of the other photo, degrees.'),
            (NULL, 'other_taken_at', 'When the other one was taken (UTC if no zone is known).'),
            (NULL, 'partition', 'Name of the partition.'),
            (NULL, 'partition_id', 'Id of the partition.'),
            ('duplicates', 'photo', 'Path or URL of the photo, for map tips.'),
            ('audit', 'photo', 'Path or URL of the photo, for map tips.'),
            (NULL, 'photo', 'Path or URL of the query, for map tips.'),
            ('coverage', 'photos', 'Photos in the cell.'),
            (NULL, 'place', 'The estimate in words.'),
            ('geocells', 'photos', 'Photos in the cell, of those the partition was made of.'),
            (NULL, 'photo_id', 'The photo.'),
            (NULL, 'photos_per_km2', 'Photos in the cell by its area.'),
            (NULL, 'picture_km',
                'From the stated position to the place that the picture shows, kilometres.'),
            (NULL, 'pitch_deg',
                'How far above the horizon the camera looked, degrees; -90 is straight down.'),
            ('photos', 'position_source',
                'Source of the position: exif, xmp, manifest, corrected (by hand) or reviewed; place: no photo.'),
            ('audit', 'position_source',
                'Source of the position: exif, xmp, manifest, corrected (by hand) or reviewed.'),
            ('duplicates', 'position_source',
                'Source of the position: exif, xmp, manifest, corrected (by hand) or reviewed; an estimated '
                'position is not compared.'),
            (NULL, 'other_position_source', 'Source of the position of the other photo, the same.'),
            (NULL, 'probable_km',
                'Distance within which the place probably is, kilometres: the least of the calibration''s '
                'that holds it with 50 % or more.'),
            (NULL, 'probability', 'Probability that the stated position and time are right.'),
            ('unlocated', 'position_source',
                'Source of the position: estimated, or reviewed and no reference; NULL if the answer alone '
                'says where.'),
            ('estimates', 'position_source', 'Source of the position: estimated, so that ingest makes no reference of it.'),
            (NULL, 'radius_km_50', 'Radius round the estimate with half the density, kilometres.'),
            (NULL, 'radius_km_90', 'Radius round the estimate with 90 % of it, kilometres.'),
            (NULL, 'probability_within_km',
                'Probability of an error of at most so many kilometres; NULL without calibration.'),
            (NULL, 'remark', 'Remark: why, kept with the decision.'),
            (NULL, 'rank', 'Rank, from 1, the best.'),
            (NULL, 'reason',
                'What is likeliest wrong: swapped, lost_sign, null_island, clock, copied, home, '
                'speed or elsewhere.'),
            (NULL, 'reason_probability', 'Probability of that reason.'),
            (NULL, 'same_bytes', 'Whether their files are equal.'),
            (NULL, 'seconds_apart', 'Time between the two, seconds.'),
            (NULL, 'share', 'Share of the probability in the cell, 0 to 1.'),
            (NULL, 'source_id', 'Identifier at the source.'),
            (NULL, 'speed_kmh',
                'Speed that the photos before and after leave to get there and back, km/h.'),
            (NULL, 'spread_km', 'Spread of the photos round their medoid, kilometres.'),
            (NULL, 'stated_at', 'When it says that it was taken.'),
            (NULL, 'stated_lat', 'Latitude that it states, degrees.'),
            (NULL, 'stated_lon', 'Longitude that it states, degrees.'),
            (NULL, 'subregion', 'Part of the continent, as the source divides them.'),
            (NULL, 'taken_at', 'When taken (UTC if no zone is known).'),
            (NULL, 'taken_at_zone', 'How the zone of taken_at is known: known (named), position, or assumed (UTC).'),
            (NULL, 'timeline_km',
                'From the stated position to where it was by the photos before and after, '
                'kilometres.'),
            (NULL, 'title', 'Title or caption.'),
            (NULL, 'truth_lat', 'Latitude of the true position, degrees, where it is known.'),
            (NULL, 'truth_lon', 'Longitude of the true position, degrees, where it is known.'),
            (NULL, 'uri', 'Absolute path or URL of the photo, for map tips.'),
            (NULL, 'weight', 'Weight in the estimate; all sum to 1.'),
            (NULL, 'width', 'Width in pixels, as stored.')
        )
        SELECT DISTINCT ON (c.oid, attnum) c.oid::regclass AS view, attname, meaning
        FROM pg_class AS c
        JOIN pg_attribute ON attrelid = c.oid AND attnum > 0
        JOIN words ON name = attname AND (words.layer IS NULL OR relname = 'gis_' || words.layer)
        WHERE relnamespace = 'geosearch'::regnamespace AND relname LIKE 'gis\_%'
        ORDER BY c.oid, attnum, words.layer  -- its own word before the common one
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', item.view, item.attname, item.meaning);
    END LOOP;
END
$$;
