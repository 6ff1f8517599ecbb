"""`geosearch write-back`: positions that are known, written to where the photos are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from geosearch.cli.console import JsonOption, Table, answer, database, progress, say
from geosearch.cli.deleting import DryRunOption, YesOption, ask
from geosearch.cli.options import make_filter, option, taking
from geosearch.errors import EXIT_SOME_REJECTED, InputError

if TYPE_CHECKING:
    from geosearch.retrieval.filters import Filter
    from geosearch.write_back.write_back_run import WrittenBack

#: Positions that could not be written, of which a table shows so many.
_SHOWN = 20
_WHERE, _WHICH = "Where to", "Which"


@taking(
    option("sidecar", bool, "Into XMP sidecars (the default).", group=_WHERE),
    option("embed", bool, "Into the EXIF of the photos, by exiftool.", group=_WHERE),
    option("csv", str, "Into a table, which ingest reads.", metavar="FILE", group=_WHERE),
    option("immich", str, "To Immich; GEOSEARCH_IMMICH_KEY.", metavar="URL", group=_WHERE),
    option("overwrite", bool, "Over other positions, or a table, too.", group=_WHERE),
    option("ids", list[int], "A photo; repeatable.", spelt="--id", group=_WHICH),
    option("estimates", bool, "Also answers on photos without one.", group=_WHICH),
    option("min_probability", float, "Of these answers.", metavar="P", group=_WHICH),
    option("at_most_km", float, "Of an error so large.", 1, metavar="KM", group=_WHICH),
    where=make_filter,
)
def write_back(
    context: typer.Context,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    *,
    where: Filter,
    ids: list[int] | None,
    sidecar: bool,
    **given: Any,
) -> None:
    """Write positions that were corrected or reviewed to where the photos are.

    Example: geosearch write-back --collection mine --dry-run

    Example: geosearch write-back --collection mine --estimates --min-probability 0.95

    All photos that pass the conditions. What is said there already is left as it is: see
    docs/write-back.md.
    """
    from geosearch.write_back.write_back_run import write_back as work

    if sidecar and (given["embed"] or given["csv"] or given["immich"]):
        raise InputError("--sidecar, --embed, --csv and --immich exclude one another", "Give one.")
    with database(context) as opened:
        if dry_run or not yes:
            found = work(opened, where, ids=ids or (), dry_run=True, **given)
            if not dry_run:
                ask(found)
        if not dry_run:
            with progress("write", "photos") as report:
                found = work(opened, where, ids=ids or (), progress=report, **given)
    answer(as_json, found, lambda: _show(found))
    if found.failures:
        raise typer.Exit(EXIT_SOME_REJECTED)


def _show(found: WrittenBack) -> None:
    say(str(found))
    table = Table("photo", "file", "reason", "why", text=("file", "reason", "why"))
    for each in found.failures[:_SHOWN]:
        table.add_row(str(each.photo_id), each.path, each.reason, each.message)
    if found.failures:
        more = len(found.failures) - _SHOWN
        table.print(f"and {more:,} more: --json, or geosearch.write_backs" if more > 0 else None)
