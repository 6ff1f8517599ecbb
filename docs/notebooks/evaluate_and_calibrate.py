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
# # Evaluate and calibrate
#
# How far off are the answers, and how likely is one to be right? Both take photos whose place is known and which the
# search does not know: here forty views, with the truth in `queries.csv`.

# %%
from pathlib import Path

import numpy as np
from matplotlib import pyplot

import geosearch
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.window import Window

here = Path("sample")
europe = Window.of("-12,34,45,60")
write_space_sample(SpaceSample(references=150, queries=40, seed=3, window=europe), here)

gs = geosearch.connect()
gs.ingest(here / "references", collection="views")
gs.embed()
# %% [markdown]
# ## How far off?
#
# One neighbour alone, or the density of many: each is a row of evaluations, with its answers.

# %%
within = (100, 250, 750)
tried = {
    "nearest": gs.evaluate(here / "queries.csv", method="nearest", within_km=within),
    "k = 50": gs.evaluate(here / "queries.csv", k=50, within_km=within),
}
{
    name: each.accuracy.within | {"median km": each.accuracy.median_km}
    for name, each in tried.items()
}

# %%
for name, each in tried.items():
    pyplot.plot(np.sort(each.errors_km), np.linspace(0, 1, len(each.errors_km)), label=name)
pyplot.xlabel("error, km")
pyplot.ylabel("share of queries")
_ = pyplot.legend()
# %% [markdown]
# With forty queries such a share is known to about a dozen points: `figures` has the intervals.

# %%
tried["k = 50"].figures.within[250]

# %% [markdown]
# ## How likely is it right?
#
# A calibration learns from one half of the queries and is measured on the other. What is better without it is refused;
# `force` records it all the same.

# %%
calibration = gs.calibrate(here / "queries.csv", within_km=within, force=True)
calibration.figures["coverage"]

# %% [markdown]
# From now on answers have probabilities, and say whether the place seems to be among the photos at all.

# %%
answer = gs.localize(here / "queries" / "000003.jpg")
answer.probability_within_km, answer.confident

# %%
answer

# %%
gs.close()
