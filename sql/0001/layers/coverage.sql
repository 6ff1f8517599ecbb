-- Where the reference photos are: their number in cells of equal area, kept in a table, because
-- counting a million photos takes seconds and a map is redrawn at every turn of the wheel.

-- A grid of n bands of latitude, each divided into as many equal cells as its length suggests. The
-- edges of the bands lie where sin(latitude) has grown by the cells' share of the whole: by
-- Archimedes' theorem all cells then have the same area. Cells are numbered from the south-west, on
-- from one grid to the next.
CREATE FUNCTION geosearch.coverage_bands()
RETURNS TABLE (
    cell_km integer, band integer, first_cell integer, cells integer, south float8, north float8
)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET jit = off  -- it would take a hundred times as long as the work
AS $$
    WITH bands AS (
        SELECT
            grid,
            band,
            greatest(3, round(2 * grid * cos(pi() * ((band - 0.5) / grid - 0.5)))::integer) AS cells
        FROM (VALUES (90), (360)) AS grids (grid), generate_series(1, grid) AS band
    ), counted AS (
        SELECT
            *,
            sum(cells) OVER (PARTITION BY grid) AS total,
            sum(cells) OVER (PARTITION BY grid ORDER BY band) - cells AS before,
            sum(cells) OVER (ORDER BY grid, band) - cells AS before_all
        FROM bands
    )
    SELECT
        round(6371 * sqrt(4 * pi() / total))::integer,
        band::integer,
        before_all::integer + 1,
        cells::integer,
        degrees(asin(2 * before / total::float8 - 1)),
        degrees(asin(2 * (before + cells) / total::float8 - 1))
    FROM counted
    ORDER BY grid, band
$$;

COMMENT ON FUNCTION geosearch.coverage_bands() IS
    'The two grids that photos are counted in, as bands from south to north: the side of a cell in '
    'kilometres, the number of the first cell, the cells in the band, its latitudes in degrees.';

-- With the rights of the tables' owner: whoever adds photos keeps it true, and counts nothing else.
CREATE FUNCTION geosearch.refresh_coverage(collection text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
SET jit = off
-- What is counted has no statistics, and a nested loop over it would take minutes.
SET enable_nestloop = off
AS $$
DECLARE
    seen CONSTANT bigint[] := visible_to(caller());
    wanted bigint := (
        SELECT id FROM all_collections AS c WHERE c.name = collection AND c.id = ANY (seen)
    );
BEGIN
    IF collection IS NOT NULL AND wanted IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no collection %L', collection),
            HINT = 'Collections: SELECT name FROM geosearch.collections.';
    END IF;
    -- Two at once would both insert the same cells.
    PERFORM pg_advisory_xact_lock(hashtext('geosearch coverage'));
    WITH grids AS MATERIALIZED (
        SELECT
            cell_km,
            array_agg(south ORDER BY band) AS south,
            array_agg(north ORDER BY band) AS north,
            array_agg(cells ORDER BY band) AS cells,
            array_agg(first_cell ORDER BY band) AS first
        FROM coverage_bands()
        GROUP BY cell_km
    ), counted AS MATERIALIZED (
        SELECT
            collection_id, shelf, cell_km, band, place, first[band] + place AS cell,
            count(*) AS photos
        FROM all_photos
        CROSS JOIN grids
        CROSS JOIN LATERAL (SELECT width_bucket(ST_Y(geom), south) AS band) AS in_band
        CROSS JOIN LATERAL (
            SELECT
                least(floor((ST_X(geom) + 180) / 360 * cells[band]), cells[band] - 1)::integer
                    AS place
        ) AS in_cell
        WHERE geom IS NOT NULL AND position_source <> 'place'
            AND (wanted IS NULL OR collection_id = wanted)
        GROUP BY collection_id, shelf, cell_km, band, place, cell
    ), emptied AS (
        DELETE FROM all_coverage AS old
        WHERE (wanted IS NULL OR collection_id = wanted) AND NOT EXISTS (
            SELECT FROM counted
            WHERE counted.collection_id = old.collection_id AND counted.cell = old.cell
        )
    )
    INSERT INTO all_coverage (collection_id, shelf, cell_km, cell, photos, geom)
    SELECT
        counted.collection_id,
        counted.shelf,
        counted.cell_km,
        counted.cell,
        counted.photos,
        ST_Multi(ST_MakeEnvelope(
            place / cells[band]::float8 * 360 - 180, south[band],
            (place + 1) / cells[band]::float8 * 360 - 180, north[band], 4326
        ))
    FROM counted
    JOIN grids USING (cell_km)
    LEFT JOIN all_coverage AS old USING (collection_id, shelf, cell)
    WHERE old.photos IS DISTINCT FROM counted.photos
    ORDER BY collection_id, cell
    ON CONFLICT (collection_id, cell, shelf)
        DO UPDATE SET photos = excluded.photos, created_at = excluded.created_at;
    RETURN (
        SELECT count(*) FROM all_coverage
        WHERE collection_id = ANY (seen) AND (wanted IS NULL OR collection_id = wanted)
    );
END
$$;

COMMENT ON FUNCTION geosearch.refresh_coverage(text) IS
    'Count the photos of a collection, or of all, in the cells of geosearch.coverage again; returns '
    'the number of cells that hold any.';

-- What a decision changes, whoever decides; with the rights of whoever places the photo.
CREATE FUNCTION geosearch.count_in_coverage(
    collection bigint, shelf bigint, place geometry, now_at geometry
) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, geosearch, public, pg_temp
SET jit = off
AS $$
DECLARE
    item record;
BEGIN
    IF place IS NOT DISTINCT FROM now_at THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('geosearch coverage'));
    FOR item IN
        SELECT DISTINCT ON (more, cell_km) more, cell_km, cells, south, north,
            least(floor((ST_X(at) + 180) / 360 * cells), cells - 1)::integer AS nth, first_cell
        FROM (VALUES (-1, place), (1, now_at)) AS g (more, at)
        JOIN coverage_bands() ON south <= ST_Y(at)
        ORDER BY more, cell_km, band DESC
    LOOP
        DELETE FROM all_coverage AS c
        WHERE c.collection_id = collection AND c.shelf = count_in_coverage.shelf
            AND c.cell = item.first_cell + item.nth AND c.photos + item.more < 1;
        UPDATE all_coverage AS c SET photos = c.photos + item.more, created_at = now()
        WHERE c.collection_id = collection AND c.shelf = count_in_coverage.shelf
            AND c.cell = item.first_cell + item.nth;
        IF NOT FOUND AND item.more = 1 THEN
            INSERT INTO all_coverage (collection_id, shelf, cell_km, cell, photos, geom)
            VALUES (
                collection, count_in_coverage.shelf, item.cell_km, item.first_cell + item.nth, 1,
                ST_Multi(ST_MakeEnvelope(
                    item.nth / item.cells::float8 * 360 - 180, item.south,
                    (item.nth + 1) / item.cells::float8 * 360 - 180, item.north, 4326
                ))
            );
        END IF;
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.count_in_coverage(bigint, bigint, geometry, geometry) IS
    'Counts a photo of a collection that was at one place, or at none, at another, or at none.';
