"""The QGIS styles of the layers (QML): one source for exported files, databases and projects."""

from __future__ import annotations

import re
from importlib import resources
from string import Template

from geosearch.layers.distance_colours import COLOURS, FARTHEST, class_names
from geosearch.thresholds import WORLD_KM
from geosearch.untrusted import for_map_tips

# What stands between these is there once for each class of distances, the nearest first.
_EACH_CLASS = re.compile(r" *<!-- each class -->\n(.*?) *<!-- end -->\n", re.DOTALL)
#: Beyond the farthest that two places can be apart, kilometres.
_BEYOND = 20100


def read_style(name: str) -> str:
    """The style of a layer, e.g. `regions`: a document of QML.

    Raises
    ------
    FileNotFoundError
        There is no such style.
    """
    text = (resources.files(__name__) / f"{name}.qml").read_text(encoding="utf-8")
    return for_map_tips(_EACH_CLASS.sub(lambda found: _each_class(Template(found[1])), text))


def _each_class(block: Template) -> str:
    """The block for every class: its `$number`, `$lower` and `$upper` (km), `$label`, `$colour`."""
    # The lowest holds 0, too.
    limits = zip((-1, *WORLD_KM), (*WORLD_KM, _BEYOND), strict=True)
    named = zip(limits, class_names(WORLD_KM), (*COLOURS, FARTHEST), strict=True)
    return "".join(
        block.substitute(number=number, lower=lower, upper=upper, label=label, colour=_rgb(colour))
        for number, ((lower, upper), label, colour) in enumerate(named)
    )


def _rgb(colour: str) -> str:
    return ",".join(str(part) for part in bytes.fromhex(colour[1:]))
