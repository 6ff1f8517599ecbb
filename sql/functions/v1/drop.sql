DROP AGGREGATE geosearch.kde_mode(geometry, VARIADIC float8[]);
DROP FUNCTION
    geosearch.sql_version, geosearch.kde_mode_of, geosearch.kde_mode_add,
    geosearch.localize_photo, geosearch.localize,
    geosearch.nearest_to_photo, geosearch.copies_of, geosearch.embedding_of, geosearch.nearest,
    geosearch.use_index, geosearch.find_model, geosearch.search_setting, geosearch.recall_curve,
    geosearch.border, geosearch.filter_condition, geosearch.make_filter,
    geosearch.density_radii, geosearch.ring_mass, geosearch.density_mode, geosearch.usable_bandwidth,
    geosearch.climb,
    geosearch.neighbour_weights,
    geosearch.great_circle_km(geometry, geometry),
    geosearch.great_circle_km(float8, float8, float8, float8),
    geosearch.refuse;
DROP TYPE geosearch.photo_filter;
