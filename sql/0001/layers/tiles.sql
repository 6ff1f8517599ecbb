-- Vector tiles (Mapbox Vector Tile 2.1) of the layers, the views gis_…, in the web's tiling: zoom z,
-- column x from the west, row y from the north. For anyone with SQL, and for tile servers that call
-- functions: Martin looks for these arguments and gives what stands in the URL after ? as query,
-- pg_tileserv gives ?query={…}.

-- Points are thinned by a grid of 64 x 64 cells a tile: a cell shows its rows as one point, at their
-- mean, with their number as `count`; a row alone is shown as it is, with what is known of it. So a
-- tile has at most 4,096 points at any zoom, no row is lost, and zooming in takes groups apart.
CREATE FUNCTION geosearch.mvt(
    z integer, x integer, y integer, query json DEFAULT '{}'
)
RETURNS bytea
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 10000
SET search_path = pg_catalog, geosearch, public, pg_temp
SET datestyle = 'ISO'  -- dates are written into the statement
SET jit = off
AS $$
DECLARE
    extent CONSTANT integer := 4096;
    cells CONSTANT integer := 64;
    buffer CONSTANT integer := 64;  -- of shapes, so that their outlines leave no seams
    layer CONSTANT text := coalesce(query ->> 'layer', 'photos');
    view CONSTANT regclass := to_regclass('geosearch.' || quote_ident('gis_' || layer));
    answer bigint;
    problem text;
    columns text[];
    points boolean;
    fields text;
    tiles float8;
    margin float8;
    box geometry;
    wanted text;
    tile bytea;
BEGIN
    IF z IS NULL OR x IS NULL OR y IS NULL OR z NOT BETWEEN 0 AND 24
        OR x NOT BETWEEN 0 AND (1 << z) - 1 OR y NOT BETWEEN 0 AND (1 << z) - 1
    THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no tile %s/%s/%s', z, x, y),
            HINT = 'z is 0 to 24; x and y are 0 to 2^z - 1.';
    END IF;
    IF view IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no layer %L', layer),
            HINT = 'Layers: ' || (
                SELECT string_agg(substr(relname, 5), ', ' ORDER BY relname)
                FROM pg_class
                WHERE relnamespace = 'geosearch'::regnamespace AND relname LIKE 'gis\_%'
            ) || '.';
    END IF;
    IF json_typeof(query) <> 'object' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'query is no JSON object', HINT = 'For example {"layer": "photos"}.';
    END IF;
    IF query ->> 'answer' !~ '^[0-9]{1,18}$' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('answer is %L', query ->> 'answer'), HINT = 'Give the id of one.';
    END IF;
    answer := query ->> 'answer';
    -- Not to_jsonb of the row, which would write the geometry as GeoJSON first.
    SELECT
        array_agg(attname),
        bool_or(attname = 'geom' AND postgis_typmod_type(atttypmod) = 'Point'),
        string_agg(format('%1$L, layer.%1$I', attname), ', ' ORDER BY attnum)
            FILTER (WHERE attname NOT IN ('id', 'geom'))
    INTO columns, points, fields
    FROM pg_attribute
    WHERE attrelid = view AND attnum > 0 AND NOT attisdropped;
    SELECT string_agg(format('%L', key), ', ') INTO problem
    FROM json_object_keys(query) AS key
    WHERE key NOT IN ('layer', 'answer', 'model', 'after', 'before', 'collection')
        OR key IN ('model', 'collection') AND key <> ALL (columns)
        OR key IN ('after', 'before') AND 'taken_at' <> ALL (columns);
    IF problem IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('the layer %s cannot be asked for %s', layer, problem),
            HINT = 'Ask for layer, answer, and where it has such columns, for model, collection, '
                'after and before (of taken_at).';
    END IF;
    wanted := CASE
        -- At zoom 4 the larger cells are a tenth of a tile's side, at 5 the smaller a twentieth.
        WHEN 'cell_km' = ANY (columns) THEN CASE
            WHEN z <= 4 THEN 'cell_km = 222' ELSE 'cell_km = 56'
        END
        WHEN answer IS NULL THEN 'true'
        WHEN 'localization_id' = ANY (columns) THEN 'localization_id = $1'
        WHEN 'evaluation_id' = ANY (columns) THEN 'id = $1'  -- a row is an answer
        ELSE 'true'
    END || concat(
        ' AND model = ' || quote_literal(query ->> 'model'),
        ' AND collection = ' || quote_literal(query ->> 'collection'),
        ' AND taken_at >= ' || quote_literal(json_moment(query ->> 'after', 'after')),
        ' AND taken_at < ' || quote_literal(json_moment(query ->> 'before', 'before'))
    );
    tiles := 2.0 ^ z;
    margin := CASE WHEN points THEN 0 ELSE buffer::float8 / extent END;
    -- The tile in degrees: Web Mercator (EPSG:3857) backwards.
    box := ST_MakeEnvelope(
        (x - margin) / tiles * 360 - 180,
        degrees(atan(sinh(pi() * (1 - 2 * (y + 1 + margin) / tiles)))),
        (x + 1 + margin) / tiles * 360 - 180,
        degrees(atan(sinh(pi() * (1 - 2 * (y - margin) / tiles)))),
        4326
    );

    IF NOT points THEN
        EXECUTE format(
            $tile$
            SELECT ST_AsMVT(shown, $2, $3, 'shape', 'id')
            FROM (
                SELECT
                    ST_AsMVTGeom(
                        ST_Transform(ST_ClipByBox2D(geom, $4), 3857), $5, $3, $6
                    ) AS shape,
                    id,
                    jsonb_build_object(%s) AS properties
                FROM %s AS layer
                WHERE geom && $4 AND (%s)
                ORDER BY %s
            ) AS shown
            WHERE shape IS NOT NULL
            $tile$,
            fields,
            view,
            wanted,
            -- The largest regions at the bottom.
            CASE WHEN 'level' = ANY (columns) THEN 'level DESC, id' ELSE 'id' END
        )
        INTO tile
        USING answer, layer, extent, box, ST_TileEnvelope(z, x, y), buffer;
        RETURN tile;
    END IF;

    -- In plain arithmetic, which is much faster than a transformation: u runs from the west and v
    -- from the north edge of the tile, to 1.
    EXECUTE format(
        $tile$
        WITH groups AS (
            SELECT count(*) AS count, min(id) AS id, avg(u) AS u, avg(v) AS v
            FROM (
                SELECT
                    id,
                    (ST_X(geom) + 180) / 360 * $5 - $6 AS u,
                    (0.5 - atanh(sin(radians(ST_Y(geom)))) / (2 * pi())) * $5 - $7 AS v
                FROM %1$s
                -- A little more than the tile, whose edges are rounded; what is in it is decided
                -- below.
                WHERE geom && ST_Expand($4, 1e-4) AND abs(ST_Y(geom)) < 85.06 AND (%2$s)
                OFFSET 0  -- u and v are computed once
            ) AS placed
            -- Every point is in one tile: of two that meet, in the eastern and the southern one.
            WHERE u >= 0 AND (u < 1 OR $6 = $5 - 1) AND v >= 0 AND v < 1
            GROUP BY floor(u * $8), floor(v * $8)
        )
        SELECT ST_AsMVT(shown, $2, $3, 'shape', 'id')
        FROM (
            SELECT
                ST_Point(round(u * $3), round(v * $3)) AS shape,
                count,
                CASE WHEN count = 1 THEN id END AS id,
                CASE WHEN count = 1 THEN (
                    SELECT jsonb_build_object(%3$s)
                    FROM %1$s AS layer WHERE layer.id = groups.id
                ) END AS properties
            FROM groups
        ) AS shown
        $tile$,
        view,
        wanted,
        fields
    )
    INTO tile
    USING answer, layer, extent, box, tiles, x::float8, y::float8, cells::float8;
    RETURN tile;
END
$$;

COMMENT ON FUNCTION geosearch.mvt(integer, integer, integer, json) IS
    'A vector tile: query is a JSON object with layer (photos for the view gis_photos, and so on), '
    'answer (an id), model, collection, after and before (dates; UTC without a zone), all optional.';
