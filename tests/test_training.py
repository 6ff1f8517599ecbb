"""Training: what it holds out, what it makes, and that neither kills nor processes change that."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from geosearch import storage
from geosearch.database.connection import Database
from geosearch.errors import InputError, ModelError, NotFoundError
from geosearch.evaluation import evaluate
from geosearch.features import backbones, embed, load_backbone
from geosearch.features.backbones import resolve
from geosearch.features.checkpoint import save_checkpoint
from geosearch.features.model_rows import find_model
from geosearch.features.preprocessing import Preprocessing
from geosearch.geocells import load_classifiers, make_partition
from geosearch.ingest import ingest
from geosearch.retrieval import nearest
from geosearch.retrieval.duplicates import Exclusions
from geosearch.storage import read_bytes
from geosearch.training import Augmentation, Training
from geosearch.training.augment import _Cut
from geosearch.training.loading import Loader
from geosearch.training.network import Network
from geosearch.training.photos import Photos, place_cells, read_photos, split_photos
from geosearch.training.trainer import schedule
from geosearch.training.training_run import TrainSummary, train
from tests.command_line import CommandLine
from tests.json_schemas import check_documents

pytestmark = pytest.mark.system

PHOTOS, AUTHORS, SIDE = 60, 12, 32
PREPROCESSING = Preprocessing(SIDE, SIDE, (127.0, 127.0, 127.0), (64.0, 64.0, 64.0))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower with more, and the other processes have one too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def place(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small backbone; its photos and their partitions are in the database.

    A photo's colours follow from its position, so that there is something to learn.
    """
    folder = tmp_path_factory.mktemp("training")
    random = np.random.default_rng(0)
    with (folder / "photos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("uri", "lat", "lon", "author"))
        for index in range(PHOTOS):
            author = index % AUTHORS
            lat, lon = 50 * np.sin(author), 14.0 * author - 80
            colour = np.array([128 + 2 * lat, 128 + 1.4 * lon, 40 + 15 * author])
            noise = random.normal(0, 25, (40, 48, 3))
            pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:02d}.png")
            rows.writerow((f"{index:02d}.png", lat + index / 100, lon, f"author {author}"))
    save_backbone(folder)
    added = ingest(module_database, [folder / "photos.csv"], collection="small").added
    assert added == PHOTOS
    make_partition(module_database, "coarse", max_photos=30)
    make_partition(module_database, "fine", max_photos=6)
    return folder


def save_backbone(folder: Path) -> None:
    """Weights drawn at random, with the statistics that batch normalisation needs."""
    torch.manual_seed(0)
    network = torchvision.models.shufflenet_v2_x0_5(weights=None)
    pixels = [PREPROCESSING.apply(Image.open(path)) for path in sorted(folder.glob("*.png"))]
    values = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches: here, of the one
    with torch.no_grad():
        network.train()((values - 127) / 64)
    save_checkpoint(
        folder / "begin.safetensors",
        network.state_dict(),
        architecture="torchvision/shufflenet_v2_x0_5",
        preprocessing=PREPROCESSING,
    )


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embed by PyTorch: to export a network takes longer than to train it here."""
    monkeypatch.setattr(backbones, "onnx_network", lambda *_: None)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEOSEARCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def small(place: Path, **options: Any) -> Training:
    """A training of a second."""
    return replace(
        Training(
            collection="small",
            backbone=f"file:{place / 'begin.safetensors'}",
            partitions=("coarse", "fine"),
            epochs=3,
            batch_size=16,
            learning_rate=2e-3,
            freeze=4,
            validation=0.15,
            augmentation=Augmentation(crop=(0.6, 1.0), rotation=10),
        ),
        **options,
    )


def run(database: Database, output: Path, training: Training, **options: Any) -> TrainSummary:
    summary = train(database, output, training, device="cpu", **options)
    assert summary is not None
    return summary


def curves(folder: Path) -> list[dict[str, str]]:
    with (folder / "curves.csv").open() as file:
        return list(csv.DictReader(file))


def training_losses(summary: TrainSummary) -> list[float]:
    return [float(row["loss"]) for row in curves(Path(summary.curves).parent) if row["loss"]]


@pytest.fixture(scope="module")
def trained(
    module_database: Database, place: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainSummary:
    folder = tmp_path_factory.mktemp("trained")
    return run(module_database, folder / "new.safetensors", longer(place))


def longer(place: Path) -> Training:
    """A training that gets somewhere."""
    return small(place, epochs=12, batch_size=8, learning_rate=1e-3, head_learning_rate=1e-2)


# What is held out


positions = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@given(positions, st.floats(1, 5000))
def test_a_point_is_in_one_place_whichever_way_it_is_written(
    at: tuple[float, float], km: float
) -> None:
    lat, lon = at
    cells = place_cells([lat, lat], [lon, lon + 360], km)
    assert cells[0] == cells[1]
    assert len(set(place_cells([90, 90, 90], [-180, 0, 77], 40030).tolist())) == 1


def test_places_are_about_as_wide_as_asked() -> None:
    random = np.random.default_rng(0)
    lat = np.degrees(np.arcsin(random.uniform(-1, 1, 200_000)))
    cells = place_cells(lat, random.uniform(-180, 180, 200_000), 1000)
    sphere = 4 * np.pi * 6371.0**2
    assert len(np.unique(cells)) == pytest.approx(sphere / 1000**2, rel=0.02)


def scattered(authors: Sequence[str | None], seed: int) -> Photos:
    random = np.random.default_rng(seed)
    n = len(authors)
    return Photos(
        [f"/{index}.jpg" for index in range(n)],
        [bytes([index % 256]) * 32 for index in range(n)],
        random.uniform(40, 50, n),
        random.uniform(0, 10, n),
        authors,
    )


@given(
    st.lists(st.sampled_from([None, *"abcdefghij"]), min_size=40, max_size=120), st.integers(0, 99)
)
def test_no_place_and_no_author_is_on_both_sides(authors: list[str | None], seed: int) -> None:
    photos = scattered(authors, seed)
    split = split_photos(photos, 0.2, place_km=50, seed=seed)
    cells = place_cells(photos.lat, photos.lon, 50)
    sides = (split.training, split.validation)
    assert not set(cells[split.training]) & set(cells[split.validation])
    first, second = ({authors[row] for row in side} - {None, split.source} for side in sides)
    assert not first & second
    assert len(split.training) + len(split.validation) + split.left_out == len(photos)
    again = split_photos(photos, 0.2, place_km=50, seed=seed)
    assert again.validation.tolist() == split.validation.tolist()


def test_about_the_share_asked_for_is_held_out() -> None:
    photos = scattered([f"author {index % 200}" for index in range(2000)], 0)
    split = split_photos(photos, 0.1, place_km=2, seed=0)
    assert len(split.validation) == pytest.approx(200, abs=10)


def test_an_author_of_most_photos_is_a_source_and_may_be_on_both_sides() -> None:
    photos = scattered(["an agency"] * 80 + ["somebody"] * 20, 0)
    split = split_photos(photos, 0.1, place_km=20, seed=0)
    assert split.source == "an agency"
    assert len(split.validation) >= 10


def test_photos_of_one_place_cannot_be_held_out(place: Path) -> None:
    photos = scattered([None] * 50, 0)
    with pytest.raises(InputError, match="none can be held out"):
        split_photos(photos, 0.1, place_km=40_000, seed=0)


# Augmentation


def picture(width: int = 96, height: int = 64) -> Image.Image:
    """A smooth picture, different everywhere."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns * 255 / width, rows * 255 / height, (rows + columns) % 256], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def test_a_version_follows_from_seed_photo_and_number_alone() -> None:
    how = Augmentation(rotation=20, blur=2, flip=True)
    made = how.apply(picture(), PREPROCESSING, b"a" * 32, 3)
    assert made.shape == (SIDE, SIDE, 3)
    assert made.dtype == np.uint8
    assert np.array_equal(made, how.apply(picture(), PREPROCESSING, b"a" * 32, 3))
    for other, photo, version in (
        (replace(how, seed=1), b"a" * 32, 3),
        (how, b"b" * 32, 3),
        (how, b"a" * 32, 4),
    ):
        assert not np.array_equal(made, other.apply(picture(), PREPROCESSING, photo, version))


def test_no_augmentation_is_what_embedding_does() -> None:
    none = Augmentation(crop=(1.0, 1.0), stretch=1.0, colour=0.0)
    square = picture(80, 80)
    assert np.array_equal(
        none.apply(square, PREPROCESSING, b"a" * 32, 0), PREPROCESSING.apply(square)
    )


def test_a_quarter_turn_is_numpys() -> None:
    square = picture(SIDE, SIDE)
    turned = _Cut(1.0, 1.0, np.pi / 2, 0.5, 0.5).take(square, SIDE, Image.Resampling.BILINEAR)
    # Source x runs down the result: the picture is seen turned to the left.
    assert np.asarray(turned) == pytest.approx(np.rot90(np.asarray(square), 1), abs=1)


def test_beyond_its_edges_a_photo_is_mirrored() -> None:
    square = np.asarray(picture(SIDE, SIDE)).astype(float)
    cut = _Cut(4.0, 1.0, 0.0, 0.5, 0.5)
    wide = cut.take(picture(SIDE, SIDE), 2 * SIDE, Image.Resampling.BILINEAR)
    half = SIDE // 2
    assert np.asarray(wide) == pytest.approx(
        np.pad(square, ((half,) * 2,) * 2 + ((0, 0),), "symmetric"), abs=1
    )


def test_the_middle_of_a_turned_cut_stays_where_it_is() -> None:
    photo = picture(96, 64)
    for turn in (0.0, 0.3, -1.2):
        cut = _Cut(0.25, 1.0, turn, 0.25, 0.75).take(photo, 64, Image.Resampling.BICUBIC)
        x, y = 16 + 0.25 * (96 - 32), 16 + 0.75 * (64 - 32)
        red, green, _ = np.asarray(cut)[31:33, 31:33].mean(axis=(0, 1))
        assert (red * 96 / 255, green * 64 / 255) == pytest.approx((x - 0.5, y - 0.5), abs=0.6)


@pytest.mark.parametrize(
    "wrong",
    [{"crop": (0.5, 0.4)}, {"stretch": 0.5}, {"rotation": 200}, {"colour": 1.0}, {"blur": -1}],
)
def test_impossible_augmentations_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))}: "):
        Augmentation(**wrong)


# Options


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.001
    assert all(a > b for a, b in pairwise(rates[10:]))


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"epochs": 0}, "epochs: "),
        ({"learning_rate": 0.0}, "learning_rate: "),
        ({"learning_rate": float("inf")}, "learning_rate: "),
        ({"validation": 0.8}, "validation: "),
        ({"cache_frozen": 2, "freeze": 0}, "cache_frozen: "),
        ({"patience": 2, "validation": 0.0}, "patience: "),
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, Any], option: str) -> None:
    with pytest.raises(InputError, match=option):
        Training(**wrong)


# What training makes


def test_only_the_stages_that_are_not_frozen_change(place: Path, trained: TrainSummary) -> None:
    before, after = load_file(place / "begin.safetensors"), load_file(trained.checkpoint)
    assert set(after) == {name for name in before if not name.startswith("fc.")}
    changed = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"stage2", "stage3", "stage4", "conv5"}
    # Batch normalisation keeps its statistics.
    assert all(
        torch.equal(before[name], after[name]) for name in after if name.endswith("running_mean")
    )


def test_training_teaches_places(trained: TrainSummary) -> None:
    losses = training_losses(trained)
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])


def test_the_curves_hold_every_step_and_validation(trained: TrainSummary) -> None:
    rows = curves(Path(trained.curves).parent)
    steps = [int(row["step"]) for row in rows if row["loss"]]
    assert steps == list(range(1, trained.steps + 1))
    validated = [row for row in rows if row["validation_loss"]]
    assert [int(row["epoch"]) for row in validated] == list(range(13))
    assert trained.after is not None
    assert float(validated[-1]["density_200_km"]) == trained.after["density"]["200"]
    with Image.open(trained.curves) as picture:
        assert picture.size > (500, 300)


def test_the_model_is_registered_with_its_provenance(
    module_database: Database, place: Path, trained: TrainSummary
) -> None:
    with module_database.connection() as connection:
        model = find_model(connection, trained.model)
        row = connection.execute(
            """
            SELECT kind, model_id, name, sources, options, counts, finished_at >= started_at
            FROM geosearch.runs JOIN geosearch.collections ON collections.id = collection_id
            WHERE runs.id = %s
            """,
            (trained.run_id,),
        ).fetchone()
    assert row is not None
    kind, model_id, collection, sources, options, counts, ended = row
    assert (kind, model_id, collection, sources) == ("train", model.id, "small", ["small"])
    assert ended
    assert options == longer(place).to_json()
    assert counts["photos"] == trained.photos
    assert trained.photos + trained.held_out + trained.left_out == PHOTOS
    with safe_open(trained.checkpoint, framework="numpy") as file:
        training = json.loads(file.metadata()["description"])["training"]
    begun = resolve(f"file:{place / 'begin.safetensors'}").description
    assert training["run_id"] == trained.run_id
    assert training["options"] == options
    assert training["begun_with"]["fingerprint"] == begun.fingerprint
    assert "geosearch" in training["software"]


@pytest.mark.usefixtures("eager")
def test_the_classifiers_know_the_places_of_the_photos(
    module_database: Database, trained: TrainSummary
) -> None:
    backbone = load_backbone(trained.model, device="cpu")
    with module_database.connection() as connection:
        classifiers = load_classifiers(connection, trained.model_id)
        photos = read_photos(connection, "small")
    assert [each.partition.name for each in classifiers] == ["coarse", "fine"]
    pixels = [PREPROCESSING.apply(Image.open(uri)) for uri in photos.uris]
    embeddings = backbone.embed(np.stack(pixels))
    for classifier in classifiers:
        truth = classifier.partition.locate(photos.lat, photos.lon)
        found = classifier.log_probabilities(embeddings).argmax(axis=1)
        assert (found == truth).mean() > 0.3


@pytest.mark.usefixtures("eager")
def test_old_and_new_model_live_side_by_side(
    module_database: Database, place: Path, trained: TrainSummary
) -> None:
    old = f"file:{place / 'begin.safetensors'}"
    ingested = "SELECT count(*), max(id) FROM geosearch.photos"
    with module_database.connection() as connection:
        before = connection.execute(ingested).fetchone()
    summaries = [embed(module_database, spec, device="cpu") for spec in (old, trained.model)]
    assert [summary.embedded for summary in summaries] == [PHOTOS, PHOTOS]
    assert summaries[1].model_id == trained.model_id
    query = PREPROCESSING.apply(Image.open(place / "07.png")).copy()
    for summary in summaries:
        backbone = load_backbone(summary.model, device="cpu")
        found = nearest(module_database, summary.model_id, backbone.embed(query[None])[0], 5)
        assert Path(found.uri[0]).name == "07.png"
        assert found.distance[0] == pytest.approx(0, abs=1e-3)
    old_result, new_result = (
        evaluate(module_database, None, model=summary.model, exclusions=Exclusions(same_bytes=True))
        for summary in summaries
    )
    assert old_result.model != new_result.model
    for result in (old_result, new_result):
        assert (result.accuracy.n, result.excluded.same_bytes) == (PHOTOS, PHOTOS)
    assert new_result.hits(200) > old_result.hits(200)
    with module_database.connection() as connection:
        assert connection.execute(ingested).fetchone() == before


def test_a_metric_loss_trains_without_partitions(
    module_database: Database, place: Path, tmp_path: Path
) -> None:
    training = small(
        place, loss="triplet", partitions=(), loss_options={"positive_km": 100, "margin": 0.4}
    )
    summary = run(module_database, tmp_path / "new.safetensors", training)
    assert summary.classifiers == 0
    losses = training_losses(summary)
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


# The cache of the frozen part


def test_cached_features_are_those_of_the_frozen_stages_to_half_precision(
    module_database: Database, place: Path
) -> None:
    with module_database.connection() as connection:
        photos = read_photos(connection, "small")
    plain, kept = small(place), small(place, cache_frozen=2)
    network = Network(resolve(plain.backbone), plain.freeze, "cpu")
    loaders = [Loader(photos, network, each, 2) for each in (plain, kept)]
    rows = np.array([5, 0, 59, 17])
    for version in (None, 0, 1):
        (pixels,), (features,) = (list(loader.load([rows], version)) for loader in loaders)
        assert pixels.values.shape == (4, SIDE, SIDE, 3)
        expected = network.features(pixels.values)
        assert float((features.values - expected).norm() / expected.norm()) < 1e-3
        (again,) = loaders[1].load([rows[::-1].copy()], version)
        assert torch.equal(again.values.flip(0), features.values)


def test_another_training_reads_no_photo_twice(
    module_database: Database, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(module_database, tmp_path / "a.safetensors", small(place, cache_frozen=2))

    def forbidden(uri: str) -> bytes:
        raise AssertionError(f"{uri} is read again")

    monkeypatch.setattr(storage, "read_bytes", forbidden)
    other = small(place, cache_frozen=2, loss="contrastive", partitions=(), epochs=4)
    second = run(module_database, tmp_path / "b.safetensors", other)
    assert second.cache == first.cache
    assert second.seen == 4 * second.photos


# Reading photos


def test_few_photos_are_read_ahead_however_many_there_are(
    module_database: Database, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = small(place, batch_size=8)
    with module_database.connection() as connection:
        photos = read_photos(connection, "small")
    read: list[str] = []

    def counted(uri: str) -> bytes:
        read.append(uri)
        return read_bytes(uri)

    monkeypatch.setattr(storage, "read_bytes", counted)
    network = Network(resolve(training.backbone), training.freeze, "cpu")
    loader = Loader(photos, network, training, workers=2)
    endless = repeat(np.arange(8))
    loaded = loader.load(endless, 0)
    for _ in range(5):
        assert len(next(loaded).rows) == 8
        time.sleep(0.02)
    loaded.close()
    assert len(read) <= (5 + 4) * 8


def test_photos_that_cannot_be_read_are_left_out_and_counted(
    database: Database, place: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in place.glob("*.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "photos.csv").write_text((place / "photos.csv").read_text())
    ingest(database, [folder / "photos.csv"], collection="small")
    (folder / "03.png").unlink()
    (folder / "04.png").write_bytes((folder / "05.png").read_bytes())  # changed since
    training = small(place, loss="contrastive", partitions=(), epochs=1, validation=0.0)
    summary = run(database, tmp_path / "new.safetensors", training)
    assert summary.unreadable == 2
    assert summary.photos == PHOTOS
    for path in folder.glob("*.png"):
        path.unlink()
    with pytest.raises(InputError, match="none of 16 photos could be read"):
        run(database, tmp_path / "none.safetensors", training)
    with pytest.raises(InputError, match="none of the photos to validate by could be read"):
        run(database, tmp_path / "none.safetensors", replace(training, validation=0.15))


# Ends and errors


def test_it_stops_when_validation_gets_no_better(
    module_database: Database, place: Path, tmp_path: Path
) -> None:
    training = small(place, epochs=9, learning_rate=1e-12, head_learning_rate=1e-12, patience=2)
    summary = run(module_database, tmp_path / "new.safetensors", training)
    assert summary.seen == 3 * summary.photos


def test_errors_name_what_to_do(module_database: Database, place: Path, tmp_path: Path) -> None:
    output = tmp_path / "new.safetensors"
    with pytest.raises(ModelError, match="no later one has weights"):
        run(module_database, output, small(place, freeze=99))
    with pytest.raises(NotFoundError, match="no partition 'finest'"):
        run(module_database, output, small(place, partitions=("finest",)))
    with pytest.raises(InputError, match="partitions: "):
        run(module_database, output, small(place, partitions=()))
    with pytest.raises(NotFoundError, match="collection"):
        run(module_database, output, small(place, collection="none"))
    with pytest.raises(InputError, match=r"End it \.safetensors"):
        run(module_database, tmp_path / "new.pt", small(place))
    output.write_bytes(b"mine")
    with pytest.raises(InputError, match="restart"):
        run(module_database, output, small(place))
    assert output.read_bytes() == b"mine"
    (tmp_path / "taken.training").touch()
    with pytest.raises(InputError, match=r"taken\.training cannot be made"):
        run(module_database, tmp_path / "taken.safetensors", small(place))


def test_a_training_that_has_ended_may_be_run_again(
    module_database: Database, place: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new.safetensors"
    first = run(module_database, output, small(place))
    written = output.stat().st_mtime_ns
    assert run(module_database, output, small(place)) == first
    assert output.stat().st_mtime_ns == written
    with pytest.raises(InputError, match="there is such a file already"):
        run(module_database, output, small(place, seed=5))
    output.write_bytes(b"mine")
    with pytest.raises(InputError, match="there is such a file already"):
        run(module_database, output, small(place))


def test_a_training_that_is_refused_leaves_no_run(
    module_database: Database, place: Path, tmp_path: Path
) -> None:
    def runs() -> Any:
        with module_database.connection() as connection:
            return connection.execute("SELECT count(*) FROM geosearch.runs").fetchone()

    before = runs()
    for wrong in ({"freeze": 99}, {"loss_options": {"scale": -1.0}}, {"loss": "best"}):
        with pytest.raises((InputError, ModelError)):
            run(module_database, tmp_path / "new.safetensors", small(place, **wrong))
    assert runs() == before
    assert not list(tmp_path.glob("*.training"))


def test_a_training_that_diverges_says_so(
    module_database: Database, place: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the training diverges"):
        run(module_database, tmp_path / "new.safetensors", small(place, learning_rate=1e30))
    assert not (tmp_path / "new.safetensors").exists()


def test_a_checkpoint_of_another_training_is_not_gone_on_from(
    module_database: Database, place: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new.safetensors"

    def stop(done: int, total: int | None) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(module_database, output, small(place), checkpoint_minutes=0, progress=stop)
    with pytest.raises(InputError, match="another training"):
        run(module_database, output, small(place, seed=1))
    with pytest.raises(NotFoundError, match="no collection 'smal'"):
        run(module_database, output, small(place, collection="smal"), restart=True)
    assert (tmp_path / "new.training" / "checkpoint.pt").exists()
    assert run(module_database, output, small(place, seed=1), restart=True).steps > 0


# Kills and processes


def command(place: Path, output: Path, *more: str) -> list[str]:
    """`geosearch train` with the options of `small`."""
    return [
        *("train", "--collection", "small", "--backbone", f"file:{place / 'begin.safetensors'}"),
        *("--epochs", "3", "--batch-size", "16", "--freeze", "4", "--validation", "0.15"),
        *("--learning-rate", "0.002"),
        *("--crop", "0.6,1", "--rotation", "10", "--device", "cpu", "-o", str(output), *more),
    ]


def environment(database: Database, cache: Path) -> dict[str, str]:
    return {
        **os.environ,
        "GEOSEARCH_DATABASE_URL": database.url,
        "GEOSEARCH_CACHE_DIR": str(cache),
        "OMP_NUM_THREADS": "1",
    }


def kill_when(
    ready: Callable[[], bool], arguments: list[str], variables: dict[str, str], with_signal: int
) -> int:
    """Run the command, send it a signal once `ready`, and return its exit status."""
    process = subprocess.Popen(
        [sys.executable, "-m", "geosearch", *arguments], env=variables, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(with_signal)
    process.communicate()
    return process.returncode


def test_killed_twice_it_ends_with_the_weights_of_the_uninterrupted_training(
    module_database: Database, place: Path, tmp_path: Path, cache: Path
) -> None:
    training = small(place, epochs=12)
    whole = run(module_database, tmp_path / "whole.safetensors", training)
    output, state = tmp_path / "killed.safetensors", tmp_path / "killed.training"
    arguments = command(place, output, "--partitions", "coarse,fine", "--epochs", "12")
    variables = environment(module_database, cache)

    def steps(count: int) -> Callable[[], bool]:
        def reached() -> bool:
            path = state / "curves.csv"
            rows = curves(state) if path.exists() else []
            return any(row["loss"] and int(row["step"]) >= count for row in rows)

        return reached

    often = [*arguments, "--checkpoint-minutes", "0"]
    assert kill_when(steps(5), often, variables, signal.SIGKILL) == -signal.SIGKILL
    assert (state / "checkpoint.pt").exists()
    assert not output.exists()
    # The second session checkpoints only because it is asked to stop.
    assert kill_when(steps(15), arguments, variables, signal.SIGTERM) == -signal.SIGTERM
    summary = run(module_database, output, training)
    assert not (state / "checkpoint.pt").exists()
    assert (summary.steps, summary.seen) == (whole.steps, whole.seen)
    one, other = load_file(whole.checkpoint), load_file(output)
    assert all(torch.equal(one[name], other[name]) for name in one)
    with module_database.connection() as connection:
        heads = [
            load_classifiers(connection, each.model_id)[1].weights for each in (whole, summary)
        ]
    assert np.array_equal(heads[0], heads[1])
    one_curve, other_curve = (curves(Path(each.curves).parent) for each in (whole, summary))
    assert len(one_curve) == len(other_curve)
    for row, same in zip(one_curve, other_curve, strict=True):
        assert row.keys() == same.keys()
        for name in row.keys() - {"seconds", "density_median_km"}:
            assert row[name] == same[name]
        # A distance is a figure of NumPy's, whose last digit may hang on where an array begins.
        mine, its = row["density_median_km"], same["density_median_km"]
        assert mine == its or float(mine) == pytest.approx(float(its), rel=1e-12)


@pytest.mark.parametrize("loss", ["classification", "contrastive"])
def test_two_processes_give_the_result_of_one(
    module_database: Database, place: Path, tmp_path: Path, cache: Path, loss: str
) -> None:
    classes = loss == "classification"
    training = small(
        place,
        loss=loss,
        partitions=("coarse", "fine") if classes else (),
        accumulate=2,
        learning_rate=1e-5,
        head_learning_rate=1e-4,
    )
    alone = run(module_database, tmp_path / "alone.safetensors", training)
    output = tmp_path / "together.safetensors"
    more = ["--loss", loss, "--accumulate", "2", "--json", "--learning-rate", "1e-5"]
    more += ["--head-learning-rate", "1e-4"]
    if classes:
        more += ["--partitions", "coarse,fine"]
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", "geosearch", *command(place, output, *more)),
        ],
        env=environment(module_database, cache),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    check_documents(["train"], ran.stdout)
    together = json.loads(ran.stdout)
    assert together["steps"] == alone.steps
    begin = load_file(place / "begin.safetensors")
    one, other = load_file(alone.checkpoint), load_file(output)
    moved = sum(float((one[name] - begin[name]).square().sum()) for name in one)
    apart = sum(float((one[name] - other[name]).square().sum()) for name in one)
    # AdamW blows up rounding where a gradient is next to nothing; losses and gradients show none.
    assert apart < 1e-2 * moved
    paths = [Path(alone.curves).parent, Path(together["curves"]).parent]
    for name in ("loss", "gradient_norm"):
        first, second = ([float(row[name]) for row in curves(path) if row[name]] for path in paths)
        assert first == pytest.approx(second, rel=5e-3)
    if classes:
        with module_database.connection() as connection:
            heads = [
                load_classifiers(connection, model)[1].weights
                for model in (alone.model_id, together["model_id"])
            ]
        assert np.abs(heads[0] - heads[1]).mean() < 1e-4


# The command


def test_the_command_trains_and_says_what_came_of_it(
    module_database: Database,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    geosearch = CommandLine(module_database.url, capsys)
    ran = geosearch(*command(place, tmp_path / "new.safetensors", "--partitions", "coarse"))
    assert ran.code == 0, ran.err
    assert "after, density" in ran.out
    assert f"model:{tmp_path}" not in ran.out
    assert str(tmp_path / "new.safetensors") in ran.out
    wrong = geosearch(*command(place, tmp_path / "x.safetensors", "--loss-option", "margin"))
    assert wrong.code == 2
    assert "NAME=NUMBER" in wrong.err


def test_stages_are_listed(
    module_database: Database, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    geosearch = CommandLine(module_database.url, capsys)
    stages = geosearch("models", "stages", f"file:{place / 'begin.safetensors'}", "--json").json()
    assert stages[0] == {"kind": "Conv2d", "weights": 648, "shape": [24, 16, 16], "bytes": 12288}
    assert len(stages) == 3 + 1 + 4 + 8 + 4 + 3
    assert stages[-1]["shape"] == [1024, 1, 1]
