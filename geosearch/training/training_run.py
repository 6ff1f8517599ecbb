"""From a collection to a model: train, write the checkpoint file, register it with its heads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geosearch.arguments import at_home
from geosearch.atomic_files import replacing
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Connection, Database
from geosearch.database.inserting import finish_run, start_run
from geosearch.errors import DatabaseError, InputError, ModelError
from geosearch.features.backbones import find_device, resolve
from geosearch.features.checkpoint import save_checkpoint
from geosearch.features.model_rows import register_model, require_model
from geosearch.geocells import Classifier, Partition, find_partition, store_classifiers
from geosearch.json_record import Record
from geosearch.training import training_state
from geosearch.training.interruption import interruptible
from geosearch.training.loading import Loader
from geosearch.training.losses import make_loss
from geosearch.training.network import Network
from geosearch.training.photos import Photos, read_photos, split_photos
from geosearch.training.processes import processes
from geosearch.training.trainer import Task, Trainer
from geosearch.training.training_options import CHECKPOINT_MINUTES, Training
from geosearch.versions import software_versions
from geosearch.waiting import Progress

#: In the folder of the state of a training under way: what it came to.
_FINISHED = "finished.json"


@dataclass(frozen=True)
class TrainSummary(Record):
    """What a training did and left.

    `photos` were trained on, `held_out` validated by, `left_out` used for neither, `unreadable`
    could not be read; `source` is an author taken for a source (`split_photos`). `seen` counts
    photos with repetitions, `seconds` those of all sessions. `before`, `after`: validations, None
    where nothing is held out. `cache`: the folder of the frozen features, which may be removed.
    """

    run_id: int
    model_id: int
    model: str
    checkpoint: str
    photos: int
    held_out: int
    left_out: int
    unreadable: int
    source: str | None
    classifiers: int
    steps: int
    seen: int
    seconds: float
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    curves: str
    cache: str | None
    cache_bytes: int


def train(
    database: Database,
    output: Path,
    training: Training,
    *,
    device: str = "auto",
    workers: int | None = None,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    restart: bool = False,
    licence: str | None = None,
    progress: Progress | None = None,
) -> TrainSummary | None:
    """Train a backbone and register the result as a model of the database.

    Beside `output`, FILE.safetensors, the folder FILE.training holds the state of a training under
    way, from which the same call goes on after a kill, and its curves. Started by `torchrun`, all
    processes of a machine or of several work as one; None is returned in all but the first.

    Parameters
    ----------
    workers
        Threads that load photos; default: one per core.
    restart
        Begin anew, even if there is a state or a result.
    licence
        Licence of the new weights, which is for you to say.
    progress
        Called with (photos seen, photos to see).

    Raises
    ------
    InputError
        An option, a partition or the output cannot be used, or the photos cannot be read.
    NotFoundError
        The collection or a partition does not exist.
    ModelError
        The backbone cannot be loaded, or all of it is frozen.
    DatabaseError
        The login may not store what the training makes.
    """
    output = at_home(output).resolve()
    folder = output.with_suffix(".training")
    place = find_device(device)
    source = resolve(training.backbone)
    if source.description.views > 1:
        raise InputError(
            f"the backbone {training.backbone} takes several views, of which none is trained on",
            "Train without them, and embed with file:OUTPUT+views9.",
        )
    with processes(place) as team:
        if team.first:
            _check_output(output)
        photos, partitions = team.share(lambda: _read(database, training))
        split = split_photos(
            photos, training.validation, place_km=training.place_km, seed=training.seed
        )
        digest = training.digest(
            photos.digest(), source.description.fingerprint, *map(_definition, partitions)
        )
        if not restart:
            done = team.share(lambda: _finished(database, output, folder, digest))
            if done is not None:
                return done if team.first else None
        # What the loss begins with follows from the seed, in every process.
        torch.manual_seed(training.seed)
        network = Network(source, training.freeze, place)
        loss = make_loss(
            training.loss,
            dimension=source.description.dimension,
            partitions=partitions,
            **training.loss_options,
        ).to(place)
        loader = Loader(photos, network, training, workers)
        # Only now, when all that was asked for is known to be possible, does a run begin.
        now, state = team.share(lambda: _restored(database, folder, digest, training, restart))
        task = Task(
            training, photos, split, partitions, network, loss, loader, team, folder, digest
        )
        trainer = Trainer(task, now, state)
        with interruptible() as interruption:
            trainer.run(60 * checkpoint_minutes, interruption, progress)
        if not team.first:
            return None
        return _finish(database, output, task, now, licence)


def _check_output(output: Path) -> None:
    if output.suffix != ".safetensors":
        raise InputError(
            f"`output`: {output}: the result is a safetensors file", "End it .safetensors."
        )
    if not output.parent.is_dir():
        raise InputError(f"`output`: {output}: its folder is missing", "Make it first.")


def _finished(database: Database, output: Path, folder: Path, digest: str) -> TrainSummary | None:
    """What the same training came to, where it ended, whether or not it could still say so."""
    if not output.exists() or (folder / training_state.NAME).exists():
        return None
    try:
        noted = json.loads((folder / _FINISHED).read_text(encoding="utf-8"))
        summary = TrainSummary(**noted["summary"])
        with database.connection() as connection:
            model = require_model(connection, resolve(f"file:{output}").description)
        if noted["digest"] == digest and model.id == summary.model_id:
            return summary
    except (OSError, ValueError, LookupError, TypeError, ModelError):
        pass  # somebody else's file, or that of another database
    raise InputError(
        f"`output`: {output}: there is such a file already",
        "Give another name, or `restart` to replace it.",
    )


def _read(database: Database, training: Training) -> tuple[Photos, tuple[Partition, ...]]:
    with database.connection() as connection:
        if training.partitions:
            _check_rights(connection)
        return (
            read_photos(connection, training.collection),
            tuple(find_partition(connection, name) for name in training.partitions),
        )


def _check_rights(connection: Connection) -> None:
    """See before hours of training that its classifiers may be stored."""
    row = connection.execute(
        "SELECT has_table_privilege('geosearch.classifiers', 'INSERT')"
    ).fetchone()
    if row != (True,):
        raise DatabaseError(
            "this login may not store classifiers, which `partitions` asks for",
            "It takes the role geosearch_owner: geosearch roles grant owner --to USER",
        )


def _definition(partition: Partition) -> str:
    """What makes a partition, so that another of its name is noticed."""
    return f"{partition.name} {partition.division.to_json()}"


def _restored(
    database: Database, folder: Path, digest: str, training: Training, restart: bool
) -> tuple[training_state.Progress, dict[str, Any]]:
    """The progress and state that a killed training left, or those of a new one."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"`output`: the folder {folder} cannot be made: {error.strerror}", "Give another name."
        ) from error
    now, state = training_state.Progress(), dict[str, Any]()
    if restart:
        (folder / training_state.NAME).unlink(missing_ok=True)
    if (folder / training_state.NAME).exists():
        now, state = training_state.restore(folder / training_state.NAME, digest)
    with database.connection() as connection:
        now.run_id = _begin(connection, now.run_id, training)
    return now, state


def _begin(connection: Connection, run_id: int | None, training: Training) -> int:
    """The run's row: the one it began with, or a new one."""
    found = connection.execute(
        "SELECT id FROM geosearch.runs WHERE id = %s AND kind = 'train'", (run_id,)
    ).fetchone()
    if found is not None:
        return int(found[0])
    name = training.collection
    chosen = None if name is None else find_collection(connection, name)
    sources = [] if name is None else [name]
    return start_run(connection, "train", chosen, training.to_json(), sources=sources)


def _finish(
    database: Database,
    output: Path,
    task: Task,
    now: training_state.Progress,
    licence: str | None,
) -> TrainSummary:
    """Write the result, register it, and only then forget the state of the training."""
    assert now.run_id is not None
    counts: dict[str, Any] = {
        "photos": len(task.split.training),
        "held_out": len(task.split.validation),
        "left_out": task.split.left_out,
        "unreadable": len(now.unreadable),
        "source": task.split.source,
        "steps": now.steps,
        "seen": now.seen,
        "before": now.before,
        "after": now.after,
    }
    begun = task.network.description
    provenance = {
        "run_id": now.run_id,
        "options": task.training.to_json(),
        "begun_with": {
            "name": begun.name,
            "fingerprint": begun.fingerprint,
            "licence": begun.licence,
        },
        "photos_sha256": task.photos.digest(),
        "software": software_versions(),
        "counts": counts,
    }
    save_checkpoint(
        output,
        task.network.weights(),
        architecture=begun.architecture,
        preprocessing=begun.preprocessing,
        pooling=begun.pooling,
        licence=licence,
        notes=f"trained by geosearch on {task.training.collection or 'all photos'}",
        training=provenance,
    )
    classifiers = [
        Classifier(
            partition,
            weights.detach().cpu().numpy(),
            bias.detach().cpu().numpy(),
            {"run_id": now.run_id, "trained": "with the network"},
        )
        for partition, (weights, bias) in zip(
            task.partitions, task.loss.classifiers(), strict=False
        )
    ]
    with database.connection() as connection:
        model = register_model(connection, resolve(f"file:{output}").description)
        store_classifiers(connection, model.id, classifiers)
        finish_run(connection, now.run_id, counts, model.id)
    cache = task.loader.cache
    summary = TrainSummary(
        run_id=now.run_id,
        model_id=model.id,
        model=model.name,
        checkpoint=str(output),
        classifiers=len(classifiers),
        seconds=now.seconds,
        **counts,
        curves=str(task.folder / "curves.png"),
        cache=None if cache is None else str(cache.folder),
        cache_bytes=0 if cache is None else cache.bytes,
    )
    with replacing(task.folder / _FINISHED) as part:
        part.write_text(json.dumps({"digest": task.digest, "summary": summary.to_json()}))
    task.checkpoint.unlink()
    return summary
