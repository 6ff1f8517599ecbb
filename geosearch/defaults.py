"""Defaults that commands show in their help, which need not load what goes by them."""

#: The backbone used where none is asked for.
DEFAULT_MODEL = "packaged/efficientnet-lite0"

#: Cosine distance below which a reference is a near-duplicate of the query. Measured with the
#: default model: `benchmarks/duplicates.py`.
DUPLICATE_DISTANCE = 0.02

#: Weights of the neighbours in a density.
DEFAULT_WEIGHTING = "power:10"

#: Less probable than this, what a photo states is doubtful.
LEAST_PROBABILITY = 0.9

#: Copies farther apart than this, in metres and seconds, differ: receivers and clocks do by less.
APART_M, APART_S = 100.0, 600.0
