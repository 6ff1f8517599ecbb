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
# # First answer
#
# From photos with positions to the place of a photo without one. The photos are cut from NASA's Blue Marble, so that
# nothing is downloaded; with your own, give `gs.ingest` your folder. The database is
# `geosearch.connect()`'s: a private PostgreSQL, or the one of `GEOSEARCH_DATABASE_URL`.

# %%
from pathlib import Path

import geosearch
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.window import Window

here = Path("sample")
europe = Window.of("-12,34,45,60")
write_space_sample(SpaceSample(references=150, queries=6, seed=3, window=europe), here)

gs = geosearch.connect()

# %% [markdown]
# Every photo becomes a row with its position, and a vector of what it shows.

# %%
gs.ingest(here / "references", collection="views", thumbnails=True)

# %%
gs.embed()

# %% [markdown]
# ## Where was this taken?
#
# The answer is a density over the Earth, from where the photos that look most like it were taken. It is recorded with
# all it rests on.

# %%
answer = gs.localize(here / "queries" / "000002.jpg", k=25)
answer

# %%
answer.lat, answer.lon, answer.place_name

# %% [markdown]
# The radius says how far the evidence is spread, not yet how often the truth is so near: that takes a calibration,
# see the notebook *Evaluate and calibrate*.

# %%
answer.radius_km

# %% [markdown]
# Knowing more helps more than a better network: limit the search to where the photo can be.

# %%
near = gs.localize(here / "queries" / "000002.jpg", k=25, near=(50, 10, 900))
_ = near.plot()
# %% [markdown]
# ## Many photos
#
# A photo that cannot be read is a row that says why, and stops nothing.

# %%
table = gs.localize_many([here / "queries", "missing.jpg"]).to_frame()
table[["photo", "lat", "lon", "place", "radius_90_km", "reason"]]

# %%
gs.close()
