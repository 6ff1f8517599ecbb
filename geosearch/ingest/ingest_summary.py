"""What became of the photos of an ingest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from geosearch.errors import Reason
from geosearch.json_record import Record


@dataclass
class Tally:
    """Running counts of a batch or a run; see `IngestSummary` for their meaning."""

    seen: int = 0
    added: int = 0
    duplicates: int = 0
    unlocated: int = 0
    estimated: int = 0
    kept_unlocated: int = 0
    replaced: int = 0
    unchanged: int = 0
    moved: int = 0
    updated: int = 0
    embedded: int = 0
    by_reason: Counter[Reason] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add the counts of another tally to this one."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)


@dataclass(frozen=True)
class IngestSummary(Record):
    """What became of every photo and manifest row an ingest saw.

    Each is exactly one of added, duplicate, rejected, unlocated and estimated:
    `seen == added + duplicates + rejected + unlocated + estimated`.

    Attributes
    ----------
    run_id
        The run's row in `geosearch.runs`; None for a dry run.
    seen
        Photos, manifest rows, and folders that could not be listed.
    added
        Photos the collection holds with a position because of this run: new ones, and ones kept
        without a position before.
    duplicates
        Photos whose bytes the collection already held.
    rejected
        Photos and rows that cannot be used; each is a row of `geosearch.rejects`.
    unlocated
        Photos that say nothing of their position.
    estimated
        Photos stored with a position that was estimated: they are no references.
    kept_unlocated
        Of `unlocated` and `rejected`, the photos stored all the same, without a position.
    replaced
        Photos the collection held from before their file was edited, dropped with their
        embeddings for what the file is now. A file whose new bytes cannot be stored drops nothing.
    unchanged
        Of all, the files not read again: their size and time are as they were.
    moved
        Of `duplicates`, the photos whose file has another name or folder now.
    updated
        Stored photos of which an update changed something, but for positions that were missing.
    embedded
        Photos stored together with their embedding.
    by_reason
        `rejected` by reason code.
    warnings
        Fields left out of photos because they could not be read, by name (`taken_at`).
    unread
        Other files in the folders, no photos that we read, by their endings.
    """

    run_id: int | None
    seen: int
    added: int
    duplicates: int
    rejected: int
    unlocated: int
    estimated: int
    kept_unlocated: int
    replaced: int
    unchanged: int
    moved: int
    updated: int
    embedded: int
    by_reason: dict[str, int]
    warnings: dict[str, int]
    unread: dict[str, int]

    @classmethod
    def of(cls, tally: Tally, run_id: int | None) -> IngestSummary:
        """The summary of a finished run."""
        return cls(
            **vars(tally)
            | {
                "run_id": run_id,
                "rejected": tally.by_reason.total(),
                "by_reason": {reason.value: n for reason, n in sorted(tally.by_reason.items())},
                "warnings": dict(sorted(tally.warnings.items())),
                "unread": dict(sorted(tally.unread.items())),
            }
        )
