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
# # Your own model
#
# Two ways to bring a network of yours: its weights in a file, which geosearch runs, or the vectors that you made with
# it elsewhere. Both stand beside the models that are there, and are compared on the same queries.

# %%
from pathlib import Path

import numpy as np
import torch
import torchvision

import geosearch
from geosearch.features.checkpoint import save_checkpoint
from geosearch.features.preprocessing import Preprocessing
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.window import Window

here = Path("sample")
europe = Window.of("-12,34,45,60")
write_space_sample(SpaceSample(references=120, queries=1, seed=3, window=europe), here)

gs = geosearch.connect()
gs.ingest(here / "references", collection="views")
gs.embed()
# %% [markdown]
# ## A file of weights
#
# Any network of torchvision, timm, transformers or ONNX. This one was never trained: it shows how much the trained
# one knows. A checkpoint says what the network is and how pictures are prepared for it, and is read without running
# code. For training on your photos see `geosearch train`.

# %%
torch.manual_seed(0)
network = torchvision.models.resnet18()
save_checkpoint(
    Path("mine.safetensors"),
    network.state_dict(),
    architecture="torchvision/resnet18",
    preprocessing=Preprocessing(
        resize=128, crop=128, mean=(124, 116, 104), std=(58, 57, 57), interpolation="bilinear"
    ),
    licence="CC0-1.0",
)
mine = gs.embed("file:mine.safetensors").model
mine

# %% [markdown]
# ## Vectors from elsewhere
#
# One vector for each photo, named by its file: a mean colour in nine fields, to have something.

# %%
from PIL import Image


def fields(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((3, 3)), np.float32).ravel() - 110


photos = gs.photos(collection="views")
np.save("colours.npy", np.stack([fields(each.uri) for each in photos]))
gs.import_embeddings("colours.npy", model="external:colours", collection="views", match="row")

# %%
gs.localize(fields(here / "queries" / "000001.jpg"), model="external:colours", k=10)

# %% [markdown]
# ## Which is best?
#
# Each photo is asked about by the others (`None`): no queries are needed. All views are by one author here, whose other
# photos may answer for once.

# %%
models = ("packaged/efficientnet-lite0", mine, "external:colours")
found = {
    each: gs.evaluate(None, model=each, k=10, within_km=(250, 750), exclude_same_author=False)
    for each in models
}
{
    name: each.accuracy.within | {"median km": each.accuracy.median_km}
    for name, each in found.items()
}

# %% [markdown]
# Several models also answer together: each by its own neighbours, and their densities as one.

# %%
together = gs.localize(here / "queries" / "000001.jpg", model=["packaged/efficientnet-lite0", mine])
[(each.model["name"], each.share) for each in together.members]

# %%
gs.close()
