-- What the columns of the layers mean, for whoever looks at the views in SQL or QGIS, and for the
-- files that are exported. To be run when all views are there. A name means the same in every
-- layer, and is explained once; where it does not, the layers are named.

DO $$
DECLARE
    item record;
BEGIN
    FOR item IN
        WITH words (layer, name, meaning) AS (VALUES
            (NULL, 'accuracy_m', 'Accuracy of the position, metres.'),
            (NULL, 'area_km2', 'Area, square kilometres.'),
            (NULL, 'author', 'Photographer or account.'),
            (NULL, 'cell_km',
                'Side of a square of the cell''s area, kilometres: 222 or 56. Choose one.'),
            (NULL, 'changed_at', 'When a count first found so many.'),
            (NULL, 'collection', 'Collection the photo belongs to.'),
            (NULL, 'collections', 'Their collections.'),
            (NULL, 'confident', 'False: not in this collection. NULL without calibration.'),
            (NULL, 'continent', 'Continent, as the source divides them.'),
            (NULL, 'created_at', 'When the answer was given.'),
            (NULL, 'density_per_km2',
                'Probability per square kilometre, the mean over the cell.'),
            (NULL, 'distance', 'Cosine distance to the query.'),
            (NULL, 'error_km',
                'Great-circle distance to the truth, kilometres, where that is known.'),
            (NULL, 'evaluation_id', 'Evaluation it belongs to, if any.'),
            ('photos', 'geom', 'Position (WGS 84).'),
            ('estimates', 'geom',
                'Estimated position (WGS 84); NULL where no photo passed the filter.'),
            ('regions', 'geom', 'The region (WGS 84), cut at the antimeridian.'),
            ('neighbours', 'geom', 'Position of the photo at the time (WGS 84).'),
            ('lines', 'geom',
                'Great circle (WGS 84) from the estimate, cut at the antimeridian.'),
            ('errors', 'geom',
                'Great circle (WGS 84) from the estimate, cut at the antimeridian.'),
            ('borders', 'geom', 'Its area (WGS 84).'),
            (NULL, 'geom', 'The cell (WGS 84), cut at the antimeridian.'),
            ('photos', 'id', 'Id of the photo.'),
            ('estimates', 'id', 'Id of the answer.'),
            ('errors', 'id', 'Id of the answer.'),
            ('regions', 'id', 'Id of the region.'),
            ('neighbours', 'id', 'Id of the neighbour in the answer.'),
            ('lines', 'id', 'Id of the neighbour in the answer.'),
            ('density', 'id', 'Id of the cell in the answer.'),
            ('coverage', 'id', 'Number of the cell.'),
            ('geocells', 'id', 'Id of the cell.'),
            ('borders', 'id', 'Id of the border.'),
            (NULL, 'height', 'Height in pixels, as stored.'),
            (NULL, 'iso_a2', 'ISO 3166-1 alpha-2 code, if known.'),
            (NULL, 'iso_a3', 'ISO 3166-1 alpha-3 code, if known.'),
            (NULL, 'kind', 'country, or region: a group or part of some.'),
            ('regions', 'level', 'Share of the density inside, 0 to 1.'),
            ('density', 'level',
                'Share in this and all denser cells: level of the smallest region that contains '
                'the cell.'),
            (NULL, 'licence', 'Licence of the photo.'),
            (NULL, 'localization_id', 'Id of the answer.'),
            (NULL, 'method', 'How the estimate was found.'),
            (NULL, 'model', 'Model that looked at the photo.'),
            (NULL, 'name', 'English name.'),
            (NULL, 'neighbour', 'Path or URL of the photo at the time, for map tips.'),
            (NULL, 'neighbour_id', 'The photo; it may be gone since.'),
            (NULL, 'number', 'Number of the cell in its partition, from 0.'),
            (NULL, 'partition', 'Name of the partition.'),
            (NULL, 'partition_id', 'Id of the partition.'),
            (NULL, 'photo', 'Path or URL of the query, for map tips.'),
            ('coverage', 'photos', 'Photos in the cell.'),
            ('geocells', 'photos', 'Photos in the cell, of those the partition was made of.'),
            (NULL, 'photos_per_km2', 'Photos in the cell by its area.'),
            (NULL, 'position_source', 'exif, xmp or manifest.'),
            (NULL, 'radius_km_50', 'Radius round the estimate with half the density, kilometres.'),
            (NULL, 'radius_km_90', 'Radius round the estimate with 90 % of it, kilometres.'),
            (NULL, 'rank', '1 is the nearest.'),
            (NULL, 'score', 'Share of the neighbours'' weight near the estimate, 0 to 1.'),
            (NULL, 'share', 'Share of the probability in the cell, 0 to 1.'),
            (NULL, 'source_id', 'Identifier at the source.'),
            (NULL, 'spread_km', 'Spread of the photos round their medoid, kilometres.'),
            (NULL, 'subregion', 'Part of the continent, as the source divides them.'),
            (NULL, 'taken_at', 'When taken (UTC if no zone is known).'),
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
