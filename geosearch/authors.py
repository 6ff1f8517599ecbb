"""Authors of photos: who is a photographer, and who only names a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

#: An author of a larger share of all photos is a source, as an agency or an archive is.
_SOURCE_SHARE = 0.5


def source(authors: Collection[str | None]) -> str | None:
    """The author of more than half of the photos, None if there is none; one author a photo."""
    counts = Counter(author for author in authors if author)
    most, number = counts.most_common(1)[0] if counts else (None, 0)
    return most if number > _SOURCE_SHARE * len(authors) else None
