-- The density of answers for GIS and for servers of maps; as the views in sql/layers.

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
