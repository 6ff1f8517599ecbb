-- Where a photo was taken: neighbours, their density, its densest mode, and radii round it; by a
-- calibration, if one applies (calibrated.sql).

CREATE TYPE geosearch.place AS (
    estimate geometry(Point, 4326),
    agreement float8,
    radius_50_km float8,
    radius_90_km float8,
    bandwidth_km float8,
    neighbours integer,
    strategy text,
    expected_recall float8,
    reason text,
    calibration bigint,
    calibration_fits text,
    calibration_remark text,
    presence float8,
    confident boolean,
    probability_within_km jsonb
);

CALL pg_temp.describe('geosearch.place',
    'Where a photo was taken, how far its neighbours agree, how they were found, and what a '
    'calibration says of it.', $$
    estimate: Where it was likeliest taken.
    agreement: Share of the weight of the neighbours behind the estimate.
    radius_50_km: Kilometres round the estimate that hold half of the probability,
    radius_90_km: and 90 % of it; without calibration, of the density of the neighbours.
    bandwidth_km: Bandwidth of the density, kilometres.
    neighbours: How many neighbours voted.
    strategy: exact, ann (by the index), or empty where nothing passes the conditions.
    expected_recall: Share of the nearest photos that such a search finds; NULL if not measured.
    reason: Why the search ran so, for people.
    calibration: The calibration that was used; NULL without one.
    calibration_fits: yes, unsure, widened or no: whether what it says holds here.
    calibration_remark: What it was fitted to, and whether that holds here, in one line.
    presence: Probability, at even odds, that the place is among the references at all.
    confident: Whether that is enough.
    probability_within_km: Probabilities of an error of at most so many kilometres.
$$);

CREATE FUNCTION geosearch.localize(
    query halfvec,
    model text,
    k integer DEFAULT NULL,
    within geometry DEFAULT NULL,
    taken_after anycompatible DEFAULT NULL,
    taken_before anycompatible DEFAULT NULL,
    collections text[] DEFAULT NULL,
    authors text[] DEFAULT NULL,
    not_authors text[] DEFAULT NULL,
    licences text[] DEFAULT NULL,
    accuracy_m real DEFAULT NULL,
    exact boolean DEFAULT false,
    near geometry DEFAULT NULL,
    near_km float8 DEFAULT NULL,
    not_photos bigint[] DEFAULT NULL,
    bandwidth_km float8 DEFAULT NULL,
    weighting text DEFAULT NULL,
    include_estimated boolean DEFAULT false,
    calibration bigint DEFAULT NULL,
    min_presence float8 DEFAULT NULL,
    not_copies_of bigint DEFAULT NULL,
    words boolean DEFAULT false,
    filter jsonb DEFAULT NULL
)
RETURNS SETOF geosearch.place
LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 100000 ROWS 1
SET search_path = pg_catalog, geosearch, public, pg_temp
SET jit = off
AS $$
DECLARE
    id CONSTANT bigint := find_model(model);
    open CONSTANT boolean := num_nonnulls(k, bandwidth_km, weighting) = 0;
    wanted CONSTANT photo_filter := make_filter(
        within, near, near_km, utc(taken_after), utc(taken_before), collections, authors, not_authors,
        licences, accuracy_m, not_photos, filter
    );
    asked CONSTANT jsonb := filter_json(wanted, near_km, collections, include_estimated);
    fitted jsonb;
    lats float8[];
    lons float8[];
    weights float8[];
    distances float8[];
    matches bigint;
    outside text;
    found record;
    radii float8[];
    answer place;
BEGIN
    IF calibration > 0 AND NOT open THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('calibration %s fixes k, bandwidth_km and weighting', calibration),
            HINT = 'Leave these out, or the calibration.';
    END IF;
    answer.calibration := CASE
        WHEN calibration <> 0 THEN find_calibration(calibration, id, coalesce(words, false))
        WHEN calibration = 0 THEN NULL
        WHEN open THEN calibration_for(id, asked, words => coalesce(words, false))
    END;
    fitted := (SELECT c.parameters FROM calibrations AS c WHERE c.id = answer.calibration);
    IF fitted IS NULL AND min_presence IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('min_presence %s needs a calibration, and none applies', min_presence),
            HINT = 'Leave k, bandwidth_km and weighting out, or name one: calibration => ID.';
    END IF;
    SELECT
        array_agg(ST_Y(n.geom) ORDER BY n.rank), array_agg(ST_X(n.geom) ORDER BY n.rank),
        array_agg(n.distance ORDER BY n.rank), min(n.matches),
        count(*), min(n.strategy), min(n.expected_recall), min(n.reason)
    INTO lats, lons, distances, matches, answer.neighbours, answer.strategy,
        answer.expected_recall, answer.reason
    FROM nearest(
        query, model, coalesce(k, (fitted -> 'k')::integer, 100), within, taken_after, taken_before,
        collections, authors, not_authors, licences, accuracy_m, exact, near, near_km,
        ARRAY(SELECT unnest(not_photos)) || copies_of(not_copies_of), include_estimated,
        filter
    ) AS n;
    IF answer.neighbours = 0 THEN
        answer.strategy := 'empty';
        answer.expected_recall := 1;
        answer.reason := 'no photo matches';
        RETURN NEXT answer;
        RETURN;
    ELSIF fitted IS NULL THEN
        weights := neighbour_weights(distances, coalesce(weighting, 'power:10'));
        answer.bandwidth_km := coalesce(bandwidth_km, neighbour_spacing(lats, lons, weights));
        SELECT m.lat, m.lon, m.mass AS agreement INTO found
        FROM density_modes(lats, lons, weights, answer.bandwidth_km, true) AS m LIMIT 1;
        radii := density_radii(
            lats, lons, weights, answer.bandwidth_km, found.lat, found.lon, ARRAY[0.5, 0.9]
        );
    ELSE
        SELECT * INTO found FROM calibrated_place(fitted, lats, lons, distances, min_presence);
        radii := found.radii_km;
        answer.bandwidth_km := found.bandwidth_km;
        answer.presence := found.presence;
        answer.confident := found.confident;
        answer.probability_within_km := found.probability_within_km;
        IF answer.strategy IN ('ann', 'leaves') AND filter_parts(asked) <> '{}' THEN
            matches := NULL;  -- an estimate by a few photos
        END IF;
        outside := calibration_differs(fitted -> 'domain', asked, matches);
        IF outside IS NULL AND matches IS NULL THEN
            matches := count_matching(id, wanted);
            outside := calibration_differs(fitted -> 'domain', asked, matches);
        END IF;
        answer.calibration_fits := CASE
            WHEN outside IS NOT NULL THEN 'no'
            WHEN NOT found.confident THEN 'widened'
            WHEN found.strange THEN 'no'
            WHEN found.presence < 0.5 THEN 'unsure'
            ELSE 'yes'
        END;
        answer.calibration_remark := format(
            '%s: %s. %s', answer.calibration, domain_words(fitted -> 'domain'),
            CASE answer.calibration_fits
                WHEN 'yes' THEN 'It fits here'
                WHEN 'unsure' THEN 'It fits here if the place is in this collection, '
                    'which is not likely'
                WHEN 'widened' THEN 'The query is unlike them: its regions were widened'
                ELSE 'It does not fit here: ' || coalesce(
                    outside, 'the neighbours lie closer or sparser than theirs did'
                )
            END
        );
    END IF;
    answer.estimate := ST_SetSRID(ST_MakePoint(found.lon, found.lat), 4326);
    answer.agreement := found.agreement;
    answer.radius_50_km := radii[1];
    answer.radius_90_km := radii[2];
    RETURN NEXT answer;
END
$$;

COMMENT ON FUNCTION geosearch.localize IS
    'Where a photo with this embedding was taken, by the k photos most like it: estimate, agreement '
    '(share of the neighbours'' weight behind it), and the radii round it that hold 50 and 90 % of '
    'the density. By the latest calibration of the model for the conditions, by the one with this id, '
    'or by none with 0 or where k, bandwidth_km or weighting are given: then of the neighbours'' own '
    'density, with kernels as wide as their spacing if no bandwidth is given. If the embedding is one '
    'of words, say so: calibrations are fitted to photos or to words. Nothing is recorded.';

CREATE FUNCTION geosearch.localize_photo(
    photo bigint,
    model text,
    k integer DEFAULT NULL,
    within geometry DEFAULT NULL,
    taken_after anycompatible DEFAULT NULL,
    taken_before anycompatible DEFAULT NULL,
    collections text[] DEFAULT NULL,
    authors text[] DEFAULT NULL,
    not_authors text[] DEFAULT NULL,
    licences text[] DEFAULT NULL,
    accuracy_m real DEFAULT NULL,
    exact boolean DEFAULT false,
    near geometry DEFAULT NULL,
    near_km float8 DEFAULT NULL,
    not_photos bigint[] DEFAULT NULL,
    bandwidth_km float8 DEFAULT NULL,
    weighting text DEFAULT NULL,
    include_estimated boolean DEFAULT false,
    calibration bigint DEFAULT NULL,
    min_presence float8 DEFAULT NULL,
    filter jsonb DEFAULT NULL
)
RETURNS SETOF geosearch.place
LANGUAGE sql STABLE PARALLEL UNSAFE COST 100000 ROWS 1
SET search_path = pg_catalog, geosearch, public, pg_temp
-- Not BEGIN ATOMIC, which knows no anycompatible.
AS $$
SELECT l.*
FROM geosearch.localize(
    geosearch.embedding_of(photo, model), model, k, within, taken_after, taken_before,
    collections, authors, not_authors, licences, accuracy_m, exact, near, near_km,
    not_photos, bandwidth_km, weighting, include_estimated, calibration, min_presence, photo,
    filter => filter
) AS l
$$;

COMMENT ON FUNCTION geosearch.localize_photo IS
    'Where a stored photo was taken, as geosearch.localize, without itself and files of the same '
    'bytes among the neighbours.';
