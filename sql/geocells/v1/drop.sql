DROP VIEW geosearch.gis_geocells;
