"""Programs for those who work on geosearch; `reference` makes pages of the documentation."""
