-- Calibrated answers: what a calibration (table calibrations) makes of the neighbours of a photo, as
-- docs/calibration.md says and geosearch.calibration does in Python.

-- Which calibration an answer uses

-- The conditions of a filter as calibrations keep it, in an order of their own: all must hold.
CREATE FUNCTION geosearch.filter_parts(filter jsonb) RETURNS jsonb[]
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
RETURN ARRAY(
    SELECT CASE
        -- One moment is written in several ways.
        WHEN part ? 'after' THEN jsonb_build_object('after', (part ->> 'after')::timestamptz)
        WHEN part ? 'before' THEN jsonb_build_object('before', (part ->> 'before')::timestamptz)
        ELSE part
    END AS part
    FROM jsonb_array_elements(CASE
        WHEN filter = '{}' THEN '[]'
        WHEN filter ? 'and' THEN filter -> 'and'
        ELSE jsonb_build_array(filter)
    END) AS part
    ORDER BY part
);

COMMENT ON FUNCTION geosearch.filter_parts(jsonb) IS
    'The conditions of a filter, to compare it with another.';

CREATE FUNCTION geosearch.filter_words(filter jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    name CONSTANT text := (SELECT key FROM jsonb_object_keys(filter) AS key);
    value CONSTANT jsonb := filter -> name;
BEGIN
    RETURN CASE
        WHEN name IS NULL OR filter = '{"and": []}' THEN 'everything'
        WHEN name IN ('and', 'or') THEN (
            SELECT string_agg(
                format(CASE WHEN part ?| '{and, or}' THEN '(%s)' ELSE '%s' END, filter_words(part)),
                format(' %s ', name) ORDER BY number
            )
            FROM jsonb_array_elements(value) WITH ORDINALITY AS p (part, number)
        )
        WHEN name = 'not' THEN format(
            CASE WHEN value ?| '{and, or}' THEN 'not (%s)' ELSE 'not %s' END, filter_words(value)
        )
        WHEN name = 'within'
        THEN format('within a polygon of %s points', ST_NPoints(ST_GeomFromGeoJSON(value)))
        WHEN jsonb_typeof(value) = 'array' THEN format('%s %s', name, (
            SELECT string_agg(item, ',' ORDER BY number)
            FROM jsonb_array_elements_text(value) WITH ORDINALITY AS i (item, number)
        ))
        WHEN jsonb_typeof(value) = 'boolean' THEN format('%s %s', name, initcap(filter ->> name))
        ELSE format('%s %s', name, filter ->> name)
    END;
END
$$;

COMMENT ON FUNCTION geosearch.filter_words(jsonb) IS 'A filter, for people.';

-- The checked filter has kilometres as metres, and collections by id.
CREATE FUNCTION geosearch.filter_json(
    wanted geosearch.photo_filter, near_km float8, collections text[], include_estimated boolean
)
RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT jsonb_build_object('and', coalesce(jsonb_agg(
    CASE WHEN holds THEN condition ELSE jsonb_build_object('not', condition) END
), '[]'))
FROM (VALUES
    (true, 'within', ST_AsGeoJSON(wanted.within, 20, 0)::jsonb),
    (true, 'near', CASE WHEN wanted.near IS NOT NULL THEN jsonb_build_array(
        ST_Y(wanted.near::geometry), ST_X(wanted.near::geometry), near_km
    ) END),
    (true, 'after', to_jsonb(wanted.taken_after)),
    (true, 'before', to_jsonb(wanted.taken_before)),
    (true, 'collections', to_jsonb(collections)),
    (true, 'authors', to_jsonb(wanted.authors)),
    (true, 'licences', to_jsonb(wanted.licences)),
    (true, 'accuracy_m', to_jsonb(wanted.accuracy_m)),
    (true, 'include_estimated', to_jsonb(nullif(include_estimated, false))),
    (false, 'authors', to_jsonb(wanted.not_authors)),
    (false, 'photos', to_jsonb(wanted.not_photos)),
    (true, NULL, (wanted.more).canonical)
) AS c (holds, name, value)
CROSS JOIN LATERAL jsonb_array_elements(CASE
    WHEN name IS NOT NULL THEN jsonb_build_array(jsonb_build_object(name, value))
    WHEN value = '{}' THEN '[]'
    WHEN value ? 'and' THEN value -> 'and'
    ELSE jsonb_build_array(value)
END) AS e (condition)
WHERE c.value IS NOT NULL;
END;

COMMENT ON FUNCTION geosearch.filter_json IS
    'The conditions of geosearch.localize as calibrations keep a filter.';

-- In SQL no neighbours are verified: 0.
CREATE FUNCTION geosearch.calibration_for(
    model bigint, asked jsonb, verified integer DEFAULT 0, others text[] DEFAULT '{}',
    words boolean DEFAULT false
) RETURNS bigint
LANGUAGE sql STABLE PARALLEL UNSAFE
BEGIN ATOMIC
SELECT c.id
FROM geosearch.calibrations AS c, geosearch.filter_parts(c.filter) AS parts,
    geosearch.filter_parts(asked) AS wanted
WHERE c.model_id = calibration_for.model AND parts IN (wanted, '{}')
    AND coalesce((c.parameters #>> '{domain,verify}')::integer, 0) = verified
    AND coalesce(c.parameters #> '{pool,fingerprints}', '[]') = to_jsonb(others)
    AND coalesce((c.parameters #>> '{domain,words}')::boolean, false) = words
ORDER BY parts = wanted DESC, c.id DESC
LIMIT 1;
END;

COMMENT ON FUNCTION geosearch.calibration_for IS
    'The latest visible calibration of a model, alone or together with others of these fingerprints, '
    'for a filter, or else for none, fitted with so many neighbours verified, to words or else to '
    'photos; NULL if there is none.';

CREATE FUNCTION geosearch.find_calibration(id bigint, model bigint, words boolean) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, geosearch, pg_temp
AS $$
DECLARE
    known record;
BEGIN
    -- In SQL a model answers alone.
    SELECT CASE WHEN jsonb_typeof(c.parameters -> 'pool') IS DISTINCT FROM 'object' THEN c.model_id END
        AS model_id, c.model,
        coalesce((c.parameters #>> '{domain,words}')::boolean, false) AS words
    INTO known FROM calibrations AS c WHERE c.id = find_calibration.id;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no calibration %s', id),
            HINT = 'Ids: SELECT id, model, filter FROM geosearch.calibrations';
    ELSIF known.model_id IS DISTINCT FROM model THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('calibration %s is of the model %s, not %s', id, known.model,
                (SELECT m.name FROM models AS m WHERE m.id = model)),
            HINT = 'Ids: SELECT id, model, filter FROM geosearch.calibrations';
    ELSIF known.words <> words THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format(
                'calibration %s was fitted to %s', id,
                CASE WHEN known.words THEN 'words, and a photo is asked'
                    ELSE 'photos, and words are asked' END
            ),
            HINT = format('Say so of the embedding: words => %s.', known.words);
    END IF;
    RETURN id;
END
$$;

COMMENT ON FUNCTION geosearch.find_calibration IS
    'The id of a visible calibration of a model, for words or for photos, or an error.';

-- In what a question to so many references by a filter differs from what was fitted; NULL if in
-- nothing. Half more references, or half of them gone, and a calibration says nothing.
CREATE FUNCTION geosearch.calibration_differs(domain jsonb, asked jsonb, matches bigint) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT CASE
    WHEN jsonb_typeof(domain) <> 'object' THEN NULL
    WHEN (domain ->> 'verify')::integer > 0 THEN format(
        'it was fitted with %s neighbours verified, not 0', domain ->> 'verify'
    )
    WHEN geosearch.filter_parts(domain -> 'where') <> geosearch.filter_parts(asked) THEN format(
        'it was fitted for %s, not for %s',
        geosearch.filter_words(domain -> 'where'), geosearch.filter_words(asked)
    )
    WHEN matches < 0.5 * fitted OR matches >= floor(1.5 * fitted) + 1 THEN format(
        'there were %s references, now %s',
        to_char(fitted, 'FM999,999,999,999'), to_char(matches, 'FM999,999,999,999')
    )
END
FROM (SELECT (domain -> 'references')::bigint AS fitted) AS known;
END;

COMMENT ON FUNCTION geosearch.calibration_differs(jsonb, jsonb, bigint) IS
    'In words, why a calibration does not fit a question by a filter; NULL if it may.';

CREATE FUNCTION geosearch.count_matching(model bigint, wanted geosearch.photo_filter) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    matches bigint;
BEGIN
    EXECUTE 'SELECT count(*) FROM geosearch.embeddings WHERE model_id = $1 AND '
        || filter_condition(wanted)
    INTO matches USING model, wanted;
    RETURN matches;
END
$$;

COMMENT ON FUNCTION geosearch.count_matching(bigint, geosearch.photo_filter) IS
    'The photos embedded with a model that pass a filter.';

CREATE FUNCTION geosearch.domain_words(domain jsonb) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT format(
    '%s %s of %s to %s references%s on %s; %s',
    to_char((domain -> 'n')::bigint, 'FM999,999,999,999'),
    CASE WHEN (domain ->> 'words')::boolean THEN 'texts' ELSE 'queries' END, domain ->> 'queries',
    to_char((domain -> 'references')::bigint, 'FM999,999,999,999'),
    CASE WHEN (domain ->> 'verify')::integer > 0
        THEN format(', %s neighbours verified,', domain ->> 'verify')
    END,
    domain ->> 'made',
    (
        SELECT string_agg(
            format('its %s %% regions held %s %%', level, round(100 * share::float8)),
            ', ' ORDER BY level::float8
        )
        FROM jsonb_each_text(domain -> 'coverage') AS c (level, share)
    )
);
END;

COMMENT ON FUNCTION geosearch.domain_words(jsonb) IS 'What a calibration was fitted for, in one line.';

-- What it makes of the neighbours

-- The density's own level for a level that holds, or the other way round: geosearch.calibration's
-- level_correction.py.
CREATE FUNCTION geosearch.nominal_levels() RETURNS float8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '{
    0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85,
    0.9, 0.95, 0.99, 1
}'::float8[];

COMMENT ON FUNCTION geosearch.nominal_levels() IS
    'The levels at which a calibration says what the level of its density is; and 0 and 1.';

CREATE FUNCTION geosearch.logistic(logit float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1 / (1 + exp(least(-logit, 700)));

COMMENT ON FUNCTION geosearch.logistic(float8) IS 'The probability of a logit.';

-- JSON lists of numbers, nested or not.
CREATE FUNCTION geosearch.numbers(list jsonb) RETURNS float8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN translate(list::text, '[]', '{}')::float8[];

COMMENT ON FUNCTION geosearch.numbers(jsonb) IS 'Numbers of JSON as an array.';

-- `fitted` are the parameters of a calibration; positions in degrees and cosine distances are those
-- of the neighbours in order of rank.
CREATE FUNCTION geosearch.calibrated_place(
    fitted jsonb, lats float8[], lons float8[], distances float8[],
    min_presence float8 DEFAULT NULL, levels float8[] DEFAULT '{0.5,0.9}',
    OUT lat float8, OUT lon float8, OUT agreement float8, OUT bandwidth_km float8,
    OUT radii_km float8[], OUT probability_within_km jsonb,
    OUT presence float8, OUT confident boolean, OUT strange boolean
)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000000
SET search_path = pg_catalog, geosearch, pg_temp
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_variable
DECLARE
    earth CONSTANT float8 := 6371;
    count CONSTANT integer := cardinality(lats);
    sharpness CONSTANT float8 := fitted -> 'sharpness';
    kernels CONSTANT jsonb := fitted -> 'kernels';
    prior CONSTANT jsonb := fitted -> 'prior';
    said CONSTANT jsonb := fitted -> 'presence';
    low CONSTANT float8 := fitted #> '{spacing,low}';
    high CONSTANT float8 := fitted #> '{spacing,high}';
    weights float8[]; sharp float8[];
    measured float8; spacing float8;
    nearest float8; second float8;
    evidence float8[];
    shares float8[]; doubt float8;
    angles float8[]; widths float8[]; masses float8[];
    raw float8[];
BEGIN
    IF fitted -> 'kernels' IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'these are no parameters of a calibration',
            HINT = 'Give geosearch.calibrations.parameters.';
    ELSIF min_presence < 0 OR min_presence > 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('min_presence %s is no probability', min_presence),
            HINT = 'Choose 0 to 1.';
    ELSIF cardinality(lats) > 0 IS NOT TRUE THEN  -- no neighbours
        RETURN;
    END IF;
    weights := neighbour_weights(distances, fitted ->> 'weighting');
    -- spacing.py, of which a calibration knows the range
    IF count > 1 THEN
        measured := neighbour_spacing(lats, lons, weights);
    END IF;
    spacing := CASE
        WHEN measured IS NULL THEN (fitted #> '{spacing,middle}')::float8
        ELSE least(high, greatest(low, measured))
    END;
    strange := (measured BETWEEN low / 1.5 AND high * 1.5) IS NOT TRUE;

    -- summit.py: soft weights make the modes, sharp ones decide between them.
    bandwidth_km := least(pi() * earth, greatest(0.001, (fitted -> 'bandwidth')::float8 * spacing));
    -- What is next to nothing would underflow.
    sharp := ARRAY(
        SELECT CASE WHEN w > 1e-100 THEN exp(greatest(-600, sharpness * ln(w))) ELSE 0 END
        FROM unnest(weights) WITH ORDINALITY AS n (w, number) ORDER BY number
    );
    sharp := ARRAY(
        SELECT CASE WHEN w > 1e-100 * total THEN w / total ELSE 0 END
        FROM (SELECT sum(w) AS total FROM unnest(sharp) AS w) AS sums,
            unnest(sharp) WITH ORDINALITY AS n (w, number)
        ORDER BY number
    );
    SELECT m.lat, m.lon, m.mass INTO lat, lon, agreement
    FROM density_modes(lats, lons, weights, bandwidth_km, sharpness = 1) AS m
    ORDER BY CASE WHEN sharpness <> 1 THEN (
        SELECT sum(n.w * exp(greatest(-300, -2 * (earth / bandwidth_km * half_chord) ^ 2)))
        FROM unnest(lats, lons, sharp) AS n (lat, lon, w),
            sin(great_circle_km(m.lat, m.lon, n.lat, n.lon) / 2 / earth) AS half_chord
    ) END DESC, m.density DESC
    LIMIT 1;

    -- evidence.py, standardised
    nearest := greatest(distances[1], 1e-4);
    second := greatest(distances[least(2, count)], 1e-4);
    SELECT ARRAY[
        ln(nearest),
        ln(second / nearest),
        ln(greatest(agreement, 1e-6)),
        ln(sum(w * w)),
        ln(1 + max(away) FILTER (WHERE number = 1)),
        coalesce(sum(w) FILTER (WHERE away < 5), 0),
        ln(1 + sum(w * away)),
        ln(spacing / (fitted -> 'scale_km')::float8)
    ] INTO evidence
    FROM (
        SELECT
            number, CASE WHEN w > 1e-100 THEN w ELSE 0 END AS w,
            great_circle_km(lat, lon, n.lat, n.lon) / spacing AS away
        FROM unnest(lats, lons, weights) WITH ORDINALITY AS n (lat, lon, w, number)
    ) AS neighbours;
    evidence := ARRAY(
        SELECT (greatest(s.low, least(s.high, e)) - s.mean) / s.deviation
        FROM unnest(
            evidence, numbers(fitted #> '{scale,mean}'), numbers(fitted #> '{scale,deviation}'),
            numbers(fitted #> '{scale,low}'), numbers(fitted #> '{scale,high}')
        ) WITH ORDINALITY AS s (e, mean, deviation, low, high, number)
        ORDER BY number
    );

    -- presence.py: the smaller of two, by the evidence and against a stranger.
    IF said <> 'null' THEN
        SELECT least(
            logistic(logit),
            logistic(-(away ^ 2) / 2 - ln(deviation * sqrt(2 * pi())) - (middle + deviation * away))
        ) INTO presence
        FROM (
            SELECT sum(v * e) AS logit
            FROM unnest(numbers(said -> 'logit'), 1::float8 || evidence) AS term (v, e)
        ) AS told, (
            SELECT
                middle, deviation, greatest(ln(nearest) - middle, 0) / deviation AS away
            FROM jsonb_to_record(said) AS known (middle float8, deviation float8)
        ) AS typical;
        confident := presence >= coalesce(min_presence, (fitted -> 'min_presence')::float8);
    END IF;

    -- kernels.py: how likely it is near the summit, near a neighbour, or anywhere (last). Of an
    -- answer that is not confident the prior has what the presence leaves.
    doubt := CASE WHEN NOT confident THEN 1 - presence ELSE 0 END;
    shares := ARRAY(
        SELECT (1 - doubt) * e / sum(e) OVER ()
        FROM (
            SELECT number, exp(greatest(-300, logit - max(logit) OVER ())) AS e
            FROM (
                SELECT number, (
                    SELECT sum(v * e)
                    FROM unnest(numbers(line), 1::float8 || evidence) AS term (v, e)
                ) AS logit
                FROM jsonb_array_elements(kernels -> 'gate') WITH ORDINALITY AS g (line, number)
            ) AS logits
        ) AS exponents
        ORDER BY number
    );
    shares[cardinality(shares)] := shares[cardinality(shares)] + doubt;

    -- The density as rings round the estimate.
    SELECT array_agg(angle), array_agg(width), array_agg(mass) INTO angles, widths, masses
    FROM (
        SELECT 0::float8 AS angle, width * spacing / earth AS width, shares[number] AS mass
        FROM unnest(numbers(kernels -> 'summit')) WITH ORDINALITY AS k (width, number)
        UNION ALL
        SELECT
            great_circle_km(lat, lon, n.lat, n.lon) / earth, width * spacing / earth,
            shares[jsonb_array_length(kernels -> 'summit') + number] * n.w
        FROM unnest(numbers(kernels -> 'neighbour')) WITH ORDINALITY AS k (width, number),
            unnest(lats, lons, sharp) AS n (lat, lon, w)
        UNION ALL
        -- prior.py: a hundredth of it is uniform over the Earth, to 1e-4.
        SELECT
            great_circle_km(lat, lon, p.lat, p.lon) / earth, width,
            shares[cardinality(shares)] * mass
        FROM unnest(numbers(prior -> 'lat'), numbers(prior -> 'lon'), numbers(prior -> 'km'))
            WITH ORDINALITY AS p (lat, lon, km, number)
        CROSS JOIN LATERAL (
            SELECT km / earth AS width, 0.99 / jsonb_array_length(prior -> 'km') AS mass
            UNION ALL SELECT 100, 0.01 WHERE number = 1
        ) AS kernel
    ) AS rings
    WHERE mass > 1e-12;

    -- level_correction.py, of the kind of query that has this spacing
    SELECT 0::float8 || numbers(kind #> '{radius_levels,raw}') || 1::float8 INTO raw
    FROM jsonb_array_elements(fitted -> 'kinds') WITH ORDINALITY AS k (kind, number)
    WHERE (kind -> 'above_km')::float8 <= spacing
    ORDER BY number DESC LIMIT 1;
    probability_within_km := (
        SELECT jsonb_object_agg(
            km, interpolated(least(held.mass, 1), raw, nominal_levels())
        )
        FROM jsonb_array_elements_text(fitted -> 'within_km') AS km,
            rings_within(angles, masses, widths, least(km::float8 / earth, pi())) AS held
    );
    radii_km := ARRAY(
        SELECT earth * radius
        FROM unnest(ring_radii(angles, masses, widths, ARRAY(
            SELECT interpolated(greatest(level, 1e-100), nominal_levels(), raw)
            FROM unnest(usable_levels(levels)) WITH ORDINALITY AS l (level, number)
            ORDER BY number
        ))) WITH ORDINALITY AS r (radius, number)
        ORDER BY number
    );
END
$$;

COMMENT ON FUNCTION geosearch.calibrated_place IS
    'The answer of a calibration (its `parameters`) to neighbours at positions in degrees, with their '
    'cosine distances, nearest first: the place, its agreement, radii that hold these levels, the '
    'probabilities of smaller errors than so many kilometres, and whether the place is among the '
    'references at all.';
