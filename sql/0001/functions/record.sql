-- Answers in SQL that stay: as those of the command line, with their neighbours, in the layers and
-- for `geosearch show`, `review` and `reproduce`.

CREATE FUNCTION geosearch.record_photo(
    photo bigint,
    model text,
    k integer DEFAULT NULL,
    filter jsonb DEFAULT NULL,
    bandwidth_km float8 DEFAULT NULL,
    weighting text DEFAULT NULL,
    exact boolean DEFAULT false,
    include_estimated boolean DEFAULT false,
    calibration bigint DEFAULT NULL,
    min_presence float8 DEFAULT NULL
)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 200000
SET search_path = pg_catalog, geosearch, public, pg_temp
SET jit = off
AS $$
DECLARE
    own record;
    known record;
    said place;
    fitted jsonb;
    chosen record;
    near neighbour[];
    weights float8[];
    modes jsonb;
    started CONSTANT timestamptz := clock_timestamp();
    answer bigint;
BEGIN
    SELECT p.uri, p.sha256, encode(p.sha256, 'hex') AS digest, e.embedding, e.low_information INTO own
    FROM photos AS p, (
        SELECT photo_id, model_id, embedding, low_information FROM embeddings
        UNION ALL SELECT photo_id, model_id, embedding, low_information FROM queries
    ) AS e
    WHERE p.id = photo AND e.photo_id = photo AND e.model_id = find_model(record_photo.model);
    IF NOT FOUND THEN
        PERFORM embedding_of(photo, model);  -- says what is missing
    END IF;
    SELECT m.* INTO known FROM models AS m WHERE m.id = find_model(record_photo.model);
    said := localize(
        own.embedding, model, k, exact => exact, bandwidth_km => bandwidth_km,
        weighting => weighting, include_estimated => include_estimated, calibration => calibration,
        min_presence => min_presence, not_copies_of => photo, filter => filter
    );
    fitted := (SELECT c.parameters FROM calibrations AS c WHERE c.id = said.calibration);
    SELECT
        coalesce(k, (fitted -> 'k')::integer, 100) AS k,
        coalesce(weighting, fitted ->> 'weighting', 'power:10') AS weighting,
        jsonb_build_object('and', jsonb_agg(part)) AS filter
    INTO chosen
    FROM (
        SELECT part FROM unnest(filter_parts((read_filter(coalesce(filter, '{}'))).canonical)) AS part
        UNION ALL SELECT '{"include_estimated": true}' WHERE include_estimated
        UNION ALL SELECT jsonb_build_object('not', jsonb_build_object('sha256', ARRAY[own.digest]))
    ) AS parts;
    near := ARRAY(
        SELECT n FROM nearest(
            own.embedding, model, chosen.k, exact => exact, not_photos => copies_of(photo),
            include_estimated => include_estimated, filter => filter
        ) AS n ORDER BY n.rank
    );
    weights := neighbour_weights(
        ARRAY(SELECT n.distance FROM unnest(near) AS n ORDER BY n.rank), chosen.weighting
    );
    modes := (
        SELECT jsonb_agg(
            jsonb_build_object('lat', m.lat, 'lon', m.lon, 'mass', m.mass, 'density', m.density)
            -- The estimate first, which a calibration may have chosen among them.
            ORDER BY great_circle_km(m.lat, m.lon, ST_Y(said.estimate), ST_X(said.estimate))
                > 0.001, m.density DESC
        )
        FROM density_modes(
            ARRAY(SELECT ST_Y(n.geom) FROM unnest(near) AS n ORDER BY n.rank),
            ARRAY(SELECT ST_X(n.geom) FROM unnest(near) AS n ORDER BY n.rank),
            weights, said.bandwidth_km
        ) AS m
        WHERE said.estimate IS NOT NULL
    );
    INSERT INTO localizations (
        photo_uri, photo_sha256, model_id, model, method, parameters, filter, plan, software,
        query_embedding, estimate, place, agreement, radius_50_km, radius_90_km, modes, elapsed_ms,
        calibration_id, calibration, confident, low_information, calibration_fits,
        probability_within_km, excluded
    )
    VALUES (
        own.uri, own.sha256, known.id,
        jsonb_build_object('name', known.name, 'fingerprint', known.fingerprint), 'density',
        jsonb_build_object(
            'method', 'density', 'k', chosen.k, 'bandwidth_km', said.bandwidth_km,
            'weighting', chosen.weighting, 'exact', coalesce(exact, false)
        ) || CASE WHEN fitted IS NULL THEN '{}' ELSE jsonb_build_object(
            'calibration', said.calibration, 'min_presence', min_presence, 'outside', '[]'::jsonb
        ) END,
        chosen.filter,
        jsonb_build_object(
            'strategy', said.strategy, 'reason', said.reason,
            'total', (search_facts(known.id)).total, 'matches', said.neighbours,
            'matches_exact', false, 'expected_recall', said.expected_recall
        ),
        jsonb_build_object('geosearch', sql_version(), 'answered in', 'SQL'),
        own.embedding::vector, said.estimate,
        place_name(said.estimate, said.radius_50_km), said.agreement, said.radius_50_km,
        said.radius_90_km, coalesce(modes, '[]'), jsonb_build_object(
            'total', round(1000 * extract(epoch FROM clock_timestamp() - started), 3)
        ), said.calibration, fitted,
        said.confident AND own.low_information IS NULL, own.low_information, said.calibration_fits,
        said.probability_within_km,
        jsonb_build_object(
            'same_bytes', cardinality(copies_of(photo)), 'duplicates', 0, 'author', 0
        )
    )
    RETURNING id INTO answer;
    INSERT INTO localization_neighbours
        (localization_id, rank, photo_id, uri, geom, distance, weight)
    SELECT answer, n.rank, n.photo_id, n.uri, n.geom, n.distance, weights[n.rank]
    FROM unnest(near) AS n;
    RETURN answer;
END
$$;

COMMENT ON FUNCTION geosearch.record_photo IS
    'Localizes a stored photo as geosearch.localize_photo, by the calibration that applies, records '
    'the answer with its neighbours, and returns its id. For roles that may record answers.';
