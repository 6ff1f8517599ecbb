"""Sample photos that are real, geotagged and need no download."""
