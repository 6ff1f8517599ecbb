"""What is asked of a training: all that shapes its result, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from geosearch.arguments import check_range
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import InputError
from geosearch.json_record import Record
from geosearch.training.augment import Augmentation

#: Minutes between checkpoints unless told otherwise.
CHECKPOINT_MINUTES = 10.0


@dataclass(frozen=True)
class Training(Record):
    """A training; equal ones of equal photos give equal networks.

    `collection`: its photos, None for all. `partitions`: names, for the losses that classify.
    `loss_options`: of `geosearch.training.losses`.

    `epochs`: times each photo is seen. `batch_size`: photos per forward pass, over all processes;
    `accumulate` passes make one step. The learning rate rises over the first `warm_up` share of
    the steps to `learning_rate` (`head_learning_rate` for what the loss learns) and falls by a
    cosine to 0. `clip`: greatest norm of a step's gradient.

    `backbone`: the spec of what it begins with; of a `Backbone` its name.

    `freeze`: stages of the backbone, from the first, that stay as they are. `cache_frozen`: number
    of versions of each photo whose frozen part is computed once and kept; 0: none is kept and
    every epoch sees new versions.

    `validation`: share of the photos held out, by places `place_km` wide and by authors.
    `validate_every`: epochs. `queries`, `references`: most photos that validation by retrieval
    takes of those held out and of those trained on. `patience`: stop after so many validations
    without a better one and return the best network; None: never, and return the last.
    """

    collection: str | None = None
    backbone: str = DEFAULT_MODEL
    loss: str = "classification"
    partitions: tuple[str, ...] = ()
    loss_options: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 10
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float = 3e-4
    head_learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    warm_up: float = 0.05
    clip: float = 1.0
    freeze: int = 0
    cache_frozen: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    validation: float = 0.05
    place_km: float = 25.0
    validate_every: int = 1
    queries: int = 500
    references: int = 2000
    patience: int | None = None
    mixed_precision: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.backbone, str):
            object.__setattr__(self, "backbone", self.backbone.description.name)
        counts = ("epochs", "batch_size", "accumulate", "validate_every", "patience")
        for name in (*counts, "queries", "references"):
            check_range(name, getattr(self, name), 1)
        for name in ("freeze", "cache_frozen", "seed", "weight_decay"):
            check_range(name, getattr(self, name), 0)
        for name in ("learning_rate", "head_learning_rate", "clip", "place_km"):
            check_range(name, getattr(self, name), 0, above=True)
        check_range("validation", self.validation, 0, 0.5)
        check_range("warm_up", self.warm_up, 0, 0.9)
        if self.cache_frozen and not self.freeze:
            raise InputError(
                "`cache_frozen`: no stage is frozen", "Give `freeze`, or leave the cache out."
            )
        if self.patience is not None and self.validation == 0:
            raise InputError(
                "`patience`: nothing is held out to validate by", "Give `validation` above 0."
            )

    def digest(self, *facts: str) -> str:
        """sha256, hex, of the options and of facts about what they name."""
        plain = json.dumps([self.to_json(), *facts])
        # 10 and 10.0 are the same option.
        canonical = json.dumps(json.loads(plain, parse_int=float), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()
