DROP FUNCTION geosearch.mvt;
DROP VIEW geosearch.gis_borders, geosearch.gis_coverage, geosearch.gis_errors, geosearch.gis_lines,
    geosearch.gis_neighbours, geosearch.gis_regions, geosearch.gis_estimates, geosearch.gis_photos;
DROP FUNCTION geosearch.refresh_coverage, geosearch.coverage_bands, geosearch.great_circle_line;
