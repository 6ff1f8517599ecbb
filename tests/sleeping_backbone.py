"""A backbone that takes its time, by an entry point, as another package would bring one."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosearch.database import leases
from geosearch.features.backbones import PLUGINS
from geosearch.features.description import Source
from tests.test_embed import DESCRIPTION, MeanColours

#: Set for processes that are killed: what they had claimed is soon anybody's.
SHORT_LEASES = "SLEEPING_BACKBONE_SHORT_LEASES"
if SHORT_LEASES in os.environ:
    leases._TERM_S, leases._RENEWED_S = 3.0, 0.5


class Sleeping(MeanColours):
    """Takes so many seconds for each photo."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(self.seconds * len(pixels))
        return super().__call__(pixels)


def source(seconds: str) -> Source:
    """What `sleeping/SECONDS` stands for."""
    name = f"sleeping/{seconds}"
    return Source(replace(DESCRIPTION, name=name), network=lambda device: Sleeping(float(seconds)))


def install(folder: Path) -> None:
    """Make `sleeping/…` known to every Python on whose path the folder is, and this checkout."""
    about = folder / "sleeping_backbone-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: sleeping-backbone\nVersion: 1.0\n"
    )
    (about / "entry_points.txt").write_text(f"[{PLUGINS}]\nsleeping = {__name__}:source\n")
