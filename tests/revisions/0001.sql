-- Rows in every table of revision 0001, as geosearch 0.1.0 may have left them.

INSERT INTO geosearch.all_collections (id, name, description, private) VALUES
    (1, 'towns', 'Street views.', false),
    (2, 'clients', NULL, false);

INSERT INTO geosearch.models (
    id, name, architecture, weights_source, weights_sha256, preprocessing, pooling, dimension,
    fingerprint, framework
) VALUES (1, 'some/model', 'net', 'here', '00', '{"side": 224}', 'avg', 3, 'f', '{"torch": "2"}');
SELECT geosearch.create_embedding_table(1);

INSERT INTO geosearch.all_runs (id, kind, collection_id, model_id, sources, options, software) VALUES
    (1, 'ingest', 1, NULL, '["/photos"]', '{}', '{"geosearch": "0.1.0"}'),
    (2, 'train', NULL, 1, '[]', '{"epochs": 2}', '{"geosearch": "0.1.0"}');

INSERT INTO geosearch.all_photos (
    id, collection_id, uri, sha256, size_bytes, width, height, format, geom, position_source,
    estimate, accuracy_m, taken_at, taken_at_zone, author, exif, run_id, direction_deg,
    direction_reference, field_of_view_deg, pitch_deg, altitude_m
) VALUES
    (1, 1, '/photos/é%1.jpg', sha256('1'), 9, 4, 3, 'JPEG',
        'SRID=4326;POINT(179.9999999 -12.3456789)', 'exif', NULL, 3.7, '2014-05-01 10:00+02',
        'known', 'Ann', '{"Make": "x"}', 1, 359.9, 'magnetic', 65.5, -90, -12.5),
    (2, 2, '/photos/2.jpg', sha256('2'), 9, 4, 3, 'PNG', NULL, 'estimated',
        'SRID=4326;POINT(-70.5 45.25)', NULL, NULL, NULL, NULL, NULL, 1,
        NULL, NULL, NULL, NULL, NULL),
    -- Which the review below gives a position.
    (3, 1, '/queries/2.jpg', sha256('q'), 9, 4, 3, 'JPEG', NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, 1,
        NULL, NULL, NULL, NULL, NULL);
INSERT INTO geosearch.all_rejects (collection_id, uri, stage, reason, message, photo_id, run_id) VALUES
    (2, '/photos/2.jpg', 'position', 'no_position', 'no GPS tags', 2, 1);
INSERT INTO geosearch.all_photo_changes (photo_id, collection_id, run_id, old, new) VALUES
    (1, 1, 1, '{"lat": 1.5, "lon": null}', '{"lat": -12.3456789, "lon": 179.9999999}');
INSERT INTO geosearch.all_write_backs (
    photo_id, collection_id, target, path, old, new, sha256, reason, message, written_at
) VALUES
    (1, 1, 'sidecar', '/photos/é%1.jpg.xmp', NULL, '{"lat": -12.3456789, "lon": 179.9999999}',
        sha256('x'), NULL, NULL, '2026-05-01 10:00+02'),
    (2, 2, 'embed', '/photos/2.jpg', '{"lat": 1, "lon": 2}', '{"lat": 45.25, "lon": -70.5}',
        NULL, 'unreadable', 'the file has changed', NULL);
INSERT INTO geosearch.all_thumbnails (photo_id, collection_id, width, height, webp) VALUES
    (1, 1, 4, 3, '\x5249464600');
INSERT INTO geosearch.all_files (
    collection_id, uri, size_bytes, modified_ns, said, photo_id, reason, run_id
) VALUES
    (1, '/photos/é%1.jpg', 9, 1792758591123456789, -9223372036854775808, 1, NULL, 1),
    (2, '/photos/2.jpg', 9, 0, 7, 2, 'no_position', 1);
INSERT INTO geosearch.all_embeddings (
    photo_id, model_id, collection_id, geom, accuracy_m, taken_at, author, embedding
) SELECT id, 1, collection_id, geom, accuracy_m, taken_at, author, '[0.6, 0, -0.8]'
FROM geosearch.all_photos WHERE geom IS NOT NULL;
INSERT INTO geosearch.all_queries (
    photo_id, model_id, collection_id, geom, accuracy_m, taken_at, author, embedding
) SELECT id, 1, collection_id, estimate, accuracy_m, taken_at, author, '[0, 0.8, 0.6]'
FROM geosearch.all_photos WHERE geom IS NULL;

INSERT INTO geosearch.models (
    id, name, architecture, weights_source, weights_sha256, preprocessing, pooling, dimension,
    fingerprint, framework, views, whitening_sha256
) VALUES (2, 'whitened:towns', 'net', 'here', '00', '{"side": 224}', 'avg', 2, 'w', '{}', 5, '01');
SELECT geosearch.create_embedding_table(2);
INSERT INTO geosearch.all_whitenings (
    model_id, base_id, base_spec, mean, axes, eigenvalues, power, filter, options, photos, figures,
    software
) VALUES (2, 1, 'some/model', '[0.1, 0, 0.5]', ARRAY['[1, 0, 0]', '[0, 1, 0]']::vector[],
    '{0.25, 0.0625}', 0.5, '{"collections": ["towns"]}', '{"dim": 2}', 1, '{"gain": 0.1}', '{}');

INSERT INTO geosearch.indexes (
    model_id, name, m, ef_construction, rows, serial, build_s, pgvector
) VALUES (1, 'embeddings_m1_hnsw', 16, 64, 1, true, 0.5, '0.8.0');
INSERT INTO geosearch.leaves (id, model_id, family, level, bounds, replaces) VALUES
    (1, 1, 'place', 0, '{-180, -90, 180, 90}', NULL),
    (2, 1, 'place', 0, '{-180, -90, 0.5, 90}', 1),
    (3, 1, 'time', 0, '{-Infinity, 0, Infinity, 0}', NULL);
INSERT INTO geosearch.tunings (
    id, model_id, target, k, sample, rows, index_definition, exact_fixed_ms, exact_row_ms
) VALUES (1, 1, 0.99, 100, 50, 1, 'CREATE INDEX', 0.1, 0.001);
INSERT INTO geosearch.recall_points (tuning_id, ef_search, rank, recall, ms) VALUES
    (1, 40, 10, 0.97, 1.5), (1, 80, 10, 1, 2.5);
INSERT INTO geosearch.recall_checks (
    model_id, placement, selectivity, k, queries, by_index, complete, recall, ms
) VALUES (1, 'near', 0.1, 10, 50, 20, true, 0.995, 2);

INSERT INTO geosearch.all_partitions (
    id, name, kind, parameters, filter, definition, photos, software
) VALUES (1, 'coarse', 'quadtree', '{"most": 50}', '{}', '{"faces": []}', 1, '{}');
INSERT INTO geosearch.all_geocells (
    partition_id, number, photos, spread_km, area_km2, medoid, geom
) VALUES (1, 0, 1, 25, 5.1e8, 'SRID=4326;POINT(1 2)',
    'SRID=4326;MULTIPOLYGON(((-180 -90, 180 -90, 180 90, -180 90, -180 -90)))');
INSERT INTO geosearch.all_classifiers (model_id, partition_id, weights, bias, provenance) VALUES
    (1, 1, '\x0000803f', '\x00000000', '{"epochs": 2}');

INSERT INTO geosearch.all_evaluations (
    id, queries, model_id, model, method, parameters, filter, n, failed, accuracy, median_km,
    software, sweep_id, errors_km, areas_km2, calibration, flagged
) VALUES
    (1, 'queries.csv', 1, 'some/model', 'density', '{"k": 10}', '{}', 2, 1, '{"25": 0.5}',
        3.5, '{}', NULL, '{3.5, Infinity}', '{120, Infinity}', '1: 9 queries',
        '{"not_confident": 1}'),
    (2, 'queries.csv', 1, 'some/model', 'nearest', '{}', '{}', NULL, NULL, NULL,
        NULL, '{}', 1, NULL, NULL, NULL, NULL);
INSERT INTO geosearch.all_evaluation_failures (evaluation_id, uri, reason, message) VALUES
    (1, '/queries/1.jpg', 'unreadable', 'not an image');
INSERT INTO geosearch.all_calibrations (
    id, model_id, model, filter, method, parameters, figures, queries, options, n_fit, n_check,
    failed, software
) VALUES (1, 1, 'some/model', '{}', 'density', '{"bandwidth": 25}', '{}', 'q.csv', '{}',
    9, 9, 0, '{}');
INSERT INTO geosearch.all_localizations (
    id, photo_uri, photo_sha256, model_id, model, method, parameters, filter, plan, verification,
    software, query_embedding, picture, estimate, agreement, radius_50_km, modes, elapsed_ms, truth,
    error_km, evaluation_id, calibration_id, confident, calibration_fits, kind_above_km, truth_level
) VALUES (1, '/queries/2.jpg', sha256('q'), 1, '{"name": "some/model"}', 'density',
    '{"k": 10}', '{}', '{"how": "exact"}', '{"alike": 1}', '{}', '[0.6, 0, -0.8]', '\x5249464600',
    'SRID=4326;POINT(1 2)', 0.9, 12.5, '[]', '{}', 'SRID=4326;POINT(1.1 2)', 11.1, 1, 1, true, 'yes', 0, 0.4);
INSERT INTO geosearch.all_localization_neighbours (
    localization_id, rank, photo_id, uri, geom, distance, inliers, weight, member
) VALUES (1, 1, 1, '/photos/é%1.jpg', 'SRID=4326;POINT(1 2)', 0.125, 40, 1, 1);
INSERT INTO geosearch.all_localization_models (
    localization_id, number, model_id, model, parameters, filter, plan, query_embedding, estimate,
    agreement, modes, share, reference_photos
) VALUES (1, 1, 1, '{"name": "some/model"}', '{"k": 10}', '{}', '{"how": "exact"}', '[0.6, 0, -0.8]',
    'SRID=4326;POINT(1 2)', 0.9, '[]', 0.75, 12);
INSERT INTO geosearch.all_localization_regions (localization_id, level, geom, area_km2) VALUES
    (1, 0.5, 'SRID=4326;MULTIPOLYGON(((0 0, 2 0, 2 3, 0 0)))', 37000);
INSERT INTO geosearch.all_localization_cells (localization_id, level, share, area_km2, geom) VALUES
    (1, 0.3, 0.3, 100, 'SRID=4326;MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))');
SELECT geosearch.review(1, 'accept', remark => 'sure');
INSERT INTO geosearch.all_duplicates (photo_id, other_id, same_bytes, distance, model_id) VALUES
    (1, 2, false, 0.0125, 1);
INSERT INTO geosearch.all_audits (
    photo_id, photo_uri, stated, stated_at, probability, level, picture_km, timeline_km, speed_kmh,
    reason, reason_probability, mend, mend_at, model_id, filter, parameters, software
) VALUES (1, '/photos/é%1.jpg', 'SRID=4326;POINT(179.9999999 -12.3456789)', '2014-05-01 10:00+02',
    0.01, 0.999, 2740.5, NULL, 1200, 'lost_sign', 0.9, 'SRID=4326;POINT(179.9999999 12.3456789)',
    NULL, 1, '{}', '{"k": 10}', '{}');

INSERT INTO geosearch.borders (kind, name, aliases, iso_a2, geom, source) VALUES
    ('country', 'Atlantis', '{"Atlantis Island"}', 'AT',
        'SRID=4326;MULTIPOLYGON(((0 0, 9 0, 9 9, 0 0)))', 'borders.csv');
SELECT geosearch.refresh_coverage();
SELECT geosearch.set_private(2, true), geosearch.set_shared(2, 'geosearch_analyst', true);
INSERT INTO geosearch.all_qgis_projects (name, metadata, content) VALUES ('map', '{}', '\x504b');

INSERT INTO geosearch.tokens (role, name, sha256, expires_at)
VALUES ('ann', 'a script', sha256('t'), now());
INSERT INTO geosearch.all_claims (photo_id, model_id, collection_id, holder)
VALUES (1, 1, 1, gen_random_uuid());
INSERT INTO geosearch.leases (work, holder, expires_at)
VALUES ('embed 1', gen_random_uuid(), now());
INSERT INTO geosearch.shards (name, filter, extent)
VALUES ('north', '{}', 'SRID=4326;POLYGON((0 0, 0 9, 9 9, 9 0, 0 0))');
