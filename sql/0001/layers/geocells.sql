-- Geocells for GIS and for servers of maps; as the views in sql/layers.

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
