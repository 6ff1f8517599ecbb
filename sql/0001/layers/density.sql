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
COMMENT ON COLUMN geosearch.gis_density.id IS 'Id of the cell in the answer.';
COMMENT ON COLUMN geosearch.gis_density.localization_id IS 'The answer.';
COMMENT ON COLUMN geosearch.gis_density.photo IS 'Path or URL of the query, for map tips.';
COMMENT ON COLUMN geosearch.gis_density.evaluation_id IS 'Evaluation it belongs to, if any.';
COMMENT ON COLUMN geosearch.gis_density.density_per_km2 IS
    'Probability per square kilometre, the mean over the cell.';
COMMENT ON COLUMN geosearch.gis_density.share IS 'Share of the probability in the cell, 0 to 1.';
COMMENT ON COLUMN geosearch.gis_density.level IS
    'Share in this and all denser cells: level of the smallest region that contains the cell.';
COMMENT ON COLUMN geosearch.gis_density.area_km2 IS 'Area, square kilometres.';
COMMENT ON COLUMN geosearch.gis_density.geom IS
    'The cell (WGS 84); none crosses the antimeridian.';
