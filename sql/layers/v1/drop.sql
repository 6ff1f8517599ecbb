DROP FUNCTION geosearch.mvt;
DROP VIEW geosearch.gis_neighbours, geosearch.gis_regions, geosearch.gis_estimates,
    geosearch.gis_photos;
