"""What the licence of a model's weights asks of those who use it."""

from __future__ import annotations

import re

from geosearch.features.description import Description

#: Beginnings of those under which weights may be used for anything.
_FREE = (
    *("apache", "mit", "bsd", "cc0", "cc-by-4", "cc-by-sa", "isc", "unlicense", "gpl", "lgpl"),
    *("agpl", "mpl", "cdla"),
)
_NOT_COMMERCIAL = re.compile(r"\bnc\b|non-?commercial|research")


def remark(description: Description) -> str | None:
    """What to say of a model that is chosen, where its weights are not free for any use."""
    licence = (description.licence or "").lower()
    if _NOT_COMMERCIAL.search(licence):
        terms = "allows no commercial use"
    elif all(each.strip().startswith(_FREE) for each in licence.split(",") if licence):
        return None
    else:
        terms = "has terms of its own"
    return f"the weights of {description.name} are under {description.licence}, which {terms}"
