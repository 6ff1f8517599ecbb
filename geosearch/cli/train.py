"""`geosearch train`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli.console import JsonOption, Table, answer, database, say
from geosearch.cli.options import DeviceOption, fields_of, of_options, taking
from geosearch.errors import EXIT_SOME_REJECTED, InputError
from geosearch.progress_bar import make_bar
from geosearch.training import Augmentation, Training
from geosearch.training.training_options import CHECKPOINT_MINUTES
from geosearch.words import format_bytes, format_km, number_of

if TYPE_CHECKING:
    from geosearch.training.training_run import TrainSummary

#: Fields of `Training` and `Augmentation` that are options as they are.
_TRAINING = {
    "collection": "Its photos; default: all.",
    "backbone": "Where to begin: a model as for geosearch embed.",
    "loss": "classification, smoothed, contrastive, triplet or distance-logistic.",
    "epochs": "Times each photo is seen.",
    "batch_size": "Photos per pass, over all processes.",
    "accumulate": "Passes per step; pairs are within one pass.",
    "learning_rate": "Greatest learning rate of the backbone.",
    "head_learning_rate": "And of the classifiers.",
    "weight_decay": "AdamW's weight decay.",
    "warm_up": "Share of the steps in which the learning rate rises.",
    "clip": "Greatest norm of a step's gradient.",
    "freeze": "Stages left as they are (see geosearch models stages).",
    "cache_frozen": "Compute the frozen stages once for so many versions of each photo, and keep "
    "that.",
    "validation": "Share of the photos held out, by place and author.",
    "place_km": "Width of a place that is held out as a whole.",
    "validate_every": "Epochs.",
    "queries": "Most photos held out that are validated by.",
    "references": "Most photos they are searched among.",
    "patience": "Stop after so many validations without a better one; keep the best network.",
    "seed": "Seed of the order, of what is held out, of the classifiers.",
}
_AUGMENTATION = {
    "stretch": "Greatest ratio of a cut's sides.",
    "rotation": "Greatest turn, degrees.",
    "flip": "Mirror every other version.",
    "colour": "Greatest change of brightness, contrast, saturation; a share.",
    "blur": "Greatest blur, pixels.",
}


@taking(
    plain=of_options(*fields_of(Training, _TRAINING))(dict),
    augmentation=of_options(*fields_of(Augmentation, _AUGMENTATION))(dict),
)
def train(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.safetensors", help="The new weights.")
    ],
    partitions: Annotated[
        str,
        typer.Option(
            metavar="A,B,...", help="Geocells to classify into: names of geosearch partition."
        ),
    ] = "",
    loss_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="Option of the loss, such as margin=0.5."),
    ] = None,
    crop: Annotated[
        str, typer.Option(metavar="A,B", help="Areas of the random cuts; above 1: mirrored edges.")
    ] = ",".join(map(str, Augmentation().crop)),
    augment_seed: Annotated[int, typer.Option(help="Seed of the versions.")] = 0,
    full_precision: Annotated[
        bool, typer.Option("--full-precision", help="Float32 throughout, on CUDA too.")
    ] = False,
    device: DeviceOption = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that load photos; default: one per core.")
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option(min=0, help="Time between checkpoints.")
    ] = CHECKPOINT_MINUTES,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew; replace an earlier result.")
    ] = False,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the new weights, noted with them.")
    ] = None,
    as_json: JsonOption = False,
    *,
    plain: dict[str, Any],
    augmentation: dict[str, Any],
) -> None:
    """Train a backbone so that its embeddings tell the places of a collection apart.

    The result is a model: geosearch embed --model file:FILE.safetensors. Beside it, the folder
    FILE.training has the curves and, until the end, the state: the same command goes on from there
    after a kill. torchrun -m geosearch train ... uses several GPUs or processes. Exit code 3: done,
    but some photos could not be read.

    Example: geosearch train --collection mine --partitions coarse,fine --freeze 15
    --cache-frozen 4 -o new.safetensors
    """
    training = Training(
        **plain,
        partitions=tuple(name.strip() for name in partitions.split(",") if name.strip()),
        loss_options=dict(map(_loss_option, loss_option or ())),
        augmentation=Augmentation(crop=_areas(crop), seed=augment_seed, **augmentation),
        mixed_precision=not full_precision,
    )
    # Imports torch, for which geosearch --help need not wait.
    from geosearch.training.training_run import train as train_backbone

    with database(context) as opened, make_bar("photos") as bar:
        # Of several processes, one speaks.
        task = bar.add_task("train", total=None, visible=os.environ.get("RANK", "0") == "0")
        summary = train_backbone(
            opened,
            output,
            training,
            device=device,
            workers=workers,
            checkpoint_minutes=checkpoint_minutes,
            restart=restart,
            licence=licence,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if summary is None:
        return
    answer(as_json, summary, lambda: _show(summary))
    if summary.unreadable:
        raise typer.Exit(EXIT_SOME_REJECTED)


def _show(summary: TrainSummary) -> None:
    lines = [
        f"{summary.model} (model {summary.model_id}, run {summary.run_id})",
        f"{number_of(summary.photos, 'photo')} trained on, {summary.held_out:,} held out, "
        f"{summary.left_out:,} left out, {summary.unreadable:,} unreadable",
        f"{number_of(summary.steps, 'step')}, {number_of(summary.seen, 'photo')} "
        f"in {summary.seconds:,.0f} s",
    ]
    if summary.source is not None:
        lines.append(
            f"most photos are by {summary.source!r}: taken for a source, which may be on both sides"
        )
    for line in lines:
        say(line)
    if summary.before is not None and summary.after is not None:
        thresholds = list(summary.before["density"])
        shown = Table("photos held out", *(f"{km} km" for km in thresholds), "median", "loss")
        for when, figures in (("before", summary.before), ("after", summary.after)):
            for method in ("nearest", "density"):
                shares = (f"{figures[method][km]:.1%}" for km in thresholds)
                rest = (
                    (format_km(figures["median_km"]), f"{figures['loss']:.3f}")
                    if method == "density"
                    else ("", "")
                )
                shown.add_row(f"{when}, {method}", *shares, *rest)
        shown.print()
    say(f"curves: {summary.curves}")
    if summary.cache is not None:
        say(
            f"frozen features: {summary.cache}, {format_bytes(summary.cache_bytes)}, for "
            "further trainings; may be removed",
        )


def _loss_option(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise InputError(
            f"--loss-option {text!r} cannot be read", "Give it as NAME=NUMBER."
        ) from None


def _areas(text: str) -> tuple[float, float]:
    try:
        least, greatest = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"--crop {text!r} cannot be read", "Give two areas as --crop 0.35,1."
        ) from None
    return least, greatest
