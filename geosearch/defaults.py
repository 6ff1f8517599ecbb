"""Defaults that commands show in their help, which need not load what goes by them."""

#: The backbone used where none is asked for.
DEFAULT_MODEL = "packaged/efficientnet-lite0"

#: Cosine distance below which a reference is a near-duplicate of the query. Measured with the
#: default model: `benchmarks/duplicates.py`.
DUPLICATE_DISTANCE = 0.02

#: Weights of the neighbours in a density.
DEFAULT_WEIGHTING = "power:10"
