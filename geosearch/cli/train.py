"""`geosearch train`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from geosearch.cli.console import JsonOption, database, out, print_json, progress_bar, table
from geosearch.cli.options import DeviceOption
from geosearch.errors import EXIT_SOME_REJECTED, InputError
from geosearch.features import DEFAULT_MODEL
from geosearch.training import Augmentation, Training
from geosearch.training.training_options import CHECKPOINT_MINUTES

if TYPE_CHECKING:
    from geosearch.training.training_run import TrainSummary

_TRAINING, _AUGMENTATION = Training(), Augmentation()


def train(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.safetensors", help="The new weights.")
    ],
    collection: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its photos; default: all.")
    ] = None,
    backbone: Annotated[
        str, typer.Option(metavar="SPEC", help="Where to begin: a model as for geosearch embed.")
    ] = DEFAULT_MODEL,
    loss: Annotated[
        str,
        typer.Option(
            help="classification, smoothed, contrastive, triplet or distance-logistic.",
        ),
    ] = _TRAINING.loss,
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
    epochs: Annotated[int, typer.Option(help="Times each photo is seen.")] = _TRAINING.epochs,
    batch_size: Annotated[
        int, typer.Option(help="Photos per pass, over all processes.")
    ] = _TRAINING.batch_size,
    accumulate: Annotated[
        int, typer.Option(help="Passes per step; pairs are within one pass.")
    ] = _TRAINING.accumulate,
    learning_rate: Annotated[
        float, typer.Option(help="Greatest learning rate of the backbone.")
    ] = _TRAINING.learning_rate,
    head_learning_rate: Annotated[
        float, typer.Option(help="And of the classifiers.")
    ] = _TRAINING.head_learning_rate,
    weight_decay: Annotated[
        float, typer.Option(help="AdamW's weight decay.")
    ] = _TRAINING.weight_decay,
    warm_up: Annotated[
        float, typer.Option(help="Share of the steps in which the learning rate rises.")
    ] = _TRAINING.warm_up,
    clip: Annotated[
        float, typer.Option(help="Greatest norm of a step's gradient.")
    ] = _TRAINING.clip,
    freeze: Annotated[
        int, typer.Option(help="Stages left as they are (see geosearch models stages).")
    ] = _TRAINING.freeze,
    cache_frozen: Annotated[
        int,
        typer.Option(
            metavar="V",
            help="Compute the frozen stages once for V versions of each photo, and keep that.",
        ),
    ] = _TRAINING.cache_frozen,
    crop: Annotated[
        str, typer.Option(metavar="A,B", help="Areas of the random cuts; above 1: mirrored edges.")
    ] = ",".join(map(str, _AUGMENTATION.crop)),
    stretch: Annotated[
        float, typer.Option(help="Greatest ratio of a cut's sides.")
    ] = _AUGMENTATION.stretch,
    rotation: Annotated[
        float, typer.Option(help="Greatest turn, degrees.")
    ] = _AUGMENTATION.rotation,
    flip: Annotated[
        bool, typer.Option("--flip", help="Mirror every other version.")
    ] = _AUGMENTATION.flip,
    colour: Annotated[
        float, typer.Option(help="Greatest change of brightness, contrast, saturation; a share.")
    ] = _AUGMENTATION.colour,
    blur: Annotated[float, typer.Option(help="Greatest blur, pixels.")] = _AUGMENTATION.blur,
    augment_seed: Annotated[int, typer.Option(help="Seed of the versions.")] = _AUGMENTATION.seed,
    validation: Annotated[
        float, typer.Option(help="Share of the photos held out, by place and author.")
    ] = _TRAINING.validation,
    place_km: Annotated[
        float, typer.Option(help="Width of a place that is held out as a whole.")
    ] = _TRAINING.place_km,
    validate_every: Annotated[int, typer.Option(help="Epochs.")] = _TRAINING.validate_every,
    queries: Annotated[
        int, typer.Option(help="Most photos held out that are validated by.")
    ] = _TRAINING.queries,
    references: Annotated[
        int, typer.Option(help="Most photos they are searched among.")
    ] = _TRAINING.references,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many validations without a better one; keep the best network."
        ),
    ] = None,
    full_precision: Annotated[
        bool, typer.Option("--full-precision", help="Float32 throughout, on CUDA too.")
    ] = False,
    seed: Annotated[
        int, typer.Option(help="Seed of the order, of what is held out, of the classifiers.")
    ] = _TRAINING.seed,
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
        collection=collection,
        backbone=backbone,
        loss=loss,
        partitions=tuple(name.strip() for name in partitions.split(",") if name.strip()),
        loss_options=dict(map(_loss_option, loss_option or ())),
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        learning_rate=learning_rate,
        head_learning_rate=head_learning_rate,
        weight_decay=weight_decay,
        warm_up=warm_up,
        clip=clip,
        freeze=freeze,
        cache_frozen=cache_frozen,
        augmentation=Augmentation(
            crop=_areas(crop),
            stretch=stretch,
            rotation=rotation,
            flip=flip,
            colour=colour,
            blur=blur,
            seed=augment_seed,
        ),
        validation=validation,
        place_km=place_km,
        validate_every=validate_every,
        queries=queries,
        references=references,
        patience=patience,
        mixed_precision=not full_precision,
        seed=seed,
    )
    # Imports torch, for which geosearch --help need not wait.
    from geosearch.training.training_run import train as train_backbone

    with database(context) as opened, progress_bar("photos") as bar:
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
    if as_json:
        print_json(summary.to_json())
    else:
        _show(summary)
    if summary.unreadable:
        raise typer.Exit(EXIT_SOME_REJECTED)


def _show(summary: TrainSummary) -> None:
    lines = [
        f"{summary.model} (model {summary.model_id}, run {summary.run_id})",
        f"{summary.photos:,} photos trained on, {summary.held_out:,} held out, "
        f"{summary.left_out:,} left out, {summary.unreadable:,} unreadable",
        f"{summary.steps:,} steps, {summary.seen:,} photos in {summary.seconds:,.0f} s",
    ]
    if summary.source is not None:
        lines.append(
            f"most photos are by {summary.source!r}: taken for a source, which may be on both sides"
        )
    for line in lines:
        out.print(escape(line), highlight=False, soft_wrap=True)
    if summary.before is not None and summary.after is not None:
        thresholds = list(summary.before["density"])
        shown = table("photos held out", *(f"{km} km" for km in thresholds), "median", "loss")
        for when, figures in (("before", summary.before), ("after", summary.after)):
            for method in ("nearest", "density"):
                shares = (f"{figures[method][km]:.1%}" for km in thresholds)
                rest = (
                    (f"{figures['median_km']:,.0f} km", f"{figures['loss']:.3f}")
                    if method == "density"
                    else ("", "")
                )
                shown.add_row(f"{when}, {method}", *shares, *rest)
        out.print(shown)
    out.print(f"curves: {escape(summary.curves)}", highlight=False, soft_wrap=True)
    if summary.cache is not None:
        out.print(
            f"frozen features: {escape(summary.cache)}, {summary.cache_bytes / 1e9:.1f} GB, for "
            "further trainings; may be removed",
            highlight=False,
            soft_wrap=True,
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
