# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # SQL and maps
#
# Photos, vectors and answers are tables of PostgreSQL with PostGIS: questions that join them are SQL, and what comes
# back is a table of pandas or a layer of GeoPandas.

# %%
from pathlib import Path

import shapely

import geosearch
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.window import Window

here = Path("sample")
europe = Window.of("-12,34,45,60")
write_space_sample(SpaceSample(references=150, queries=8, seed=3, window=europe), here)

gs = geosearch.connect()
gs.ingest(here / "references", collection="views")
gs.embed()
gs.localize_many(here / "queries", k=15).to_frame()[["localization_id", "place"]]

# %% [markdown]
# ## A question in SQL
#
# Values are parameters, `%(name)s`, and shapes of Shapely are values, too.

# %%
iberia = shapely.box(-10, 36, 3.5, 44)
gs.sql(
    """
    SELECT id, ST_Y(geom) AS lat, ST_X(geom) AS lon, geosearch.place_name(geom) AS place
    FROM geosearch.photos
    WHERE ST_Within(geom, %(area)s)
    ORDER BY geom <-> ST_SetSRID(ST_Point(-3.7, 40.4), 4326)
    LIMIT %(most)s
    """,
    area=iberia,
    most=5,
)

# %% [markdown]
# Neighbours are a function of SQL: which photos look like photo 1, and how far away were they taken?

# %%
alike = gs.sql(
    """
    SELECT n.rank, n.distance, geosearch.great_circle_km(p.geom, n.geom) AS km
    FROM geosearch.photos AS p, geosearch.nearest_to_photo(p.id, %(model)s, 10) AS n
    WHERE p.id = 1
    """,
    model="packaged/efficientnet-lite0",
).to_frame()
alike.round(3)

# %% [markdown]
# ## Maps
#
# Photos, estimates and regions as layers on one map; `.to_file("photos.gpkg")` hands them to QGIS.

# %%
photos = gs.photos(collection="views").to_geopandas()
estimates = gs.sql("SELECT id, estimate FROM geosearch.localizations").to_geopandas()
countries = gs.sql(
    "SELECT name, geom FROM geosearch.borders WHERE kind = 'country' AND geom && %(area)s",
    area=shapely.box(-12, 34, 45, 60),
).to_geopandas()
answer = gs.load(1).to_geopandas()

axes = countries.plot(figsize=(9, 6), color="#f5f2ea", edgecolor="#a89f90", linewidth=0.6)
axes.set_facecolor("#cfdfe8")
answer[answer.kind == "region"].plot(ax=axes, color="#f9822a", alpha=0.25)
photos.plot(ax=axes, color="#7a6a5a", markersize=8, label="photo")
answer[answer.kind == "neighbour"].plot(ax=axes, color="#1f3b63", markersize=26, label="neighbour")
estimates.plot(ax=axes, color="#c2570c", markersize=70, marker="*", label="estimate")
axes.set(xlim=(-12, 45), ylim=(34, 60), xlabel="degrees east", ylabel="degrees north")
axes.set_title("Where eight photos were taken, and the regions of the first answer")
_ = axes.legend()
# %%
gs.close()
