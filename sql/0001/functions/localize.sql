-- Where a photo was taken: neighbours, their density, its densest mode, and radii round it.

CREATE TYPE geosearch.place AS (
    estimate geometry(Point, 4326),
    agreement float8,
    radius_50_km float8,
    radius_90_km float8,
    bandwidth_km float8,
    neighbours integer,
    strategy text,
    expected_recall float8,
    reason text
);

COMMENT ON TYPE geosearch.place IS
    'Where a photo was taken, how far its neighbours agree, and how they were found.';

CREATE FUNCTION geosearch.localize(
    query halfvec,
    model text,
    k integer DEFAULT 100,
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
    weighting text DEFAULT 'power:10',
    include_estimated boolean DEFAULT false
)
RETURNS SETOF geosearch.place
LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 100000 ROWS 1
SET search_path = pg_catalog, geosearch, public, pg_temp
SET jit = off
AS $$
DECLARE
    lats float8[];
    lons float8[];
    weights float8[];
    distances float8[];
    mode record;
    radii float8[];
    answer place;
BEGIN
    SELECT
        array_agg(ST_Y(n.geom) ORDER BY n.rank), array_agg(ST_X(n.geom) ORDER BY n.rank),
        array_agg(n.distance ORDER BY n.rank),
        count(*), min(n.strategy), min(n.expected_recall), min(n.reason)
    INTO lats, lons, distances, answer.neighbours, answer.strategy, answer.expected_recall,
        answer.reason
    FROM nearest(
        query, model, k, within, taken_after, taken_before, collections, authors, not_authors,
        licences, accuracy_m, exact, near, near_km, not_photos, include_estimated
    ) AS n;
    IF answer.neighbours = 0 THEN
        answer.strategy := 'empty';
        answer.expected_recall := 1;
        answer.reason := 'no photo matches';
    ELSE
        weights := neighbour_weights(distances, weighting);
        answer.bandwidth_km := coalesce(bandwidth_km, neighbour_spacing(lats, lons, weights));
        SELECT * INTO mode FROM density_mode(lats, lons, weights, answer.bandwidth_km);
        radii := density_radii(
            lats, lons, weights, answer.bandwidth_km, mode.lat, mode.lon, ARRAY[0.5, 0.9]
        );
        answer.estimate := ST_SetSRID(ST_MakePoint(mode.lon, mode.lat), 4326);
        answer.agreement := mode.agreement;
        answer.radius_50_km := radii[1];
        answer.radius_90_km := radii[2];
    END IF;
    RETURN NEXT answer;
END
$$;

COMMENT ON FUNCTION geosearch.localize IS
    'Where a photo with this embedding was taken, by the k photos most like it: estimate, agreement '
    '(share of the neighbours'' weight behind it), and the radii round it that hold 50 and 90 % of '
    'their density, with kernels as wide as the neighbours'' spacing if no bandwidth is given. '
    'Nothing is recorded.';

CREATE FUNCTION geosearch.localize_photo(
    photo bigint,
    model text,
    k integer DEFAULT 100,
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
    weighting text DEFAULT 'power:10',
    include_estimated boolean DEFAULT false
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
    ARRAY(SELECT unnest(not_photos)) || geosearch.copies_of(photo), bandwidth_km, weighting,
    include_estimated
) AS l
$$;

COMMENT ON FUNCTION geosearch.localize_photo IS
    'Where a stored photo was taken, as geosearch.localize, without itself and files of the same '
    'bytes among the neighbours.';
