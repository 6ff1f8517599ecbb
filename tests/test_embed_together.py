"""Several runs of one model at once: they share the photos, whoever is killed, moved or deleted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from geosearch.database import leases
from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Database
from geosearch.database.leases import one_of_several, only_one
from geosearch.deletion.photo_deletion import delete_photos
from geosearch.deletion.photo_moves import move_photos
from geosearch.deletion.record_deletion import delete_model
from geosearch.errors import DatabaseError
from geosearch.features import Backbone, EmbedSummary, embed, embedding_run
from geosearch.features.model_rows import register_model
from geosearch.retrieval.filters import InCollections
from tests.rows import fetch
from tests.test_embed import DESCRIPTION, MeanColours, put, rejects, stored

COUNT = 60


@dataclass
class Watched:
    """A backbone that counts how often it saw each photo, and stops at the first when told to."""

    seen: Counter[bytes] = field(default_factory=Counter)
    at_work: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.go_on.set()

    def backbone(self, sleep: float = 0.0) -> Backbone:
        def see(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            self.at_work.set()
            assert self.go_on.wait(30)
            time.sleep(sleep)
            self.seen.update(each.tobytes() for each in pixels)
            return MeanColours()(pixels)

        see.device = "cpu"  # type: ignore[attr-defined]
        return Backbone(DESCRIPTION, see)  # type: ignore[arg-type]


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases run out soon, and others are looked after often."""
    monkeypatch.setattr(leases, "_TERM_S", 1.0)
    monkeypatch.setattr(leases, "_RENEWED_S", 0.2)
    monkeypatch.setattr(leases, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(embedding_run, "_LOOKS_EVERY_S", 0.05)


@contextmanager
def at_work(database: Database, watched: Watched) -> Iterator[Callable[[], EmbedSummary]]:
    """A run that has claimed eight photos and waits; what lets it go on, to its end."""
    watched.go_on.clear()
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(lambda: embed(database, watched.backbone(), batch_size=2, workers=2))
        try:
            assert watched.at_work.wait(30)
            while fetch(database, "SELECT count(*) FROM geosearch.claims") != [(8,)]:
                time.sleep(0.01)

            def go_on() -> EmbedSummary:
                watched.go_on.set()
                return run.result(30)

            yield go_on
        finally:
            watched.go_on.set()


def nothing_is_left(database: Database) -> None:
    assert fetch(database, "SELECT FROM geosearch.leases") == []
    assert fetch(database, "SELECT FROM geosearch.claims") == []


def test_runs_of_one_model_share_the_photos(
    database: Database, tmp_path: Path, watched: Watched
) -> None:
    paths = put(database, tmp_path, COUNT)
    paths[5].unlink()
    seen: list[tuple[int, int | None]] = []

    def run(number: int) -> EmbedSummary:
        report = (lambda *at: seen.append(at)) if number == 0 else None
        backbone = watched.backbone(sleep=0.02)
        return embed(database, backbone, batch_size=1, workers=2, progress=report)

    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(run, range(3)))

    assert len(stored(database)) == COUNT - 1
    assert watched.seen.total() == COUNT - 1
    assert set(watched.seen.values()) == {1}
    assert sum(each.embedded for each in done) == COUNT - 1
    assert all(each.embedded for each in done)
    # Whoever comes to it first finds that it cannot be read: the others do not try.
    assert sum(each.rejected for each in done) == 1
    assert set(rejects(database)) == {paths[5].name}
    for each in done:
        assert each.pending == each.embedded + each.rejected + each.others
        assert each.gone == 0
    # One sees what all do; it never goes beyond what is to do.
    assert seen[0][0] < seen[-1][0] == done[0].pending
    runs = """
        SELECT sum((counts -> 'embedded')::int), bool_and(finished_at IS NOT NULL)
        FROM geosearch.runs WHERE kind = 'embed'
    """
    assert fetch(database, runs) == [(COUNT - 1, True)]
    nothing_is_left(database)
    assert embed(database, watched.backbone()).pending == 1  # a later run tries again


def test_who_comes_later_does_the_rest_and_waits_for_what_is_claimed(
    database: Database, tmp_path: Path, watched: Watched
) -> None:
    put(database, tmp_path, 20)
    other = Watched()
    with at_work(database, watched) as go_on, ThreadPoolExecutor(1) as thread:
        later = thread.submit(lambda: embed(database, other.backbone(), batch_size=2))
        while len(stored(database)) < 12:
            time.sleep(0.01)
        assert not later.done()  # the model is not whole yet
        first = go_on()
        second = later.result(30)
    assert (first.embedded, first.others) == (8, 12)
    assert (second.pending, second.embedded, second.others) == (20, 12, 8)
    nothing_is_left(database)


def test_claims_of_the_dead_are_taken_over_and_who_was_only_slow_writes_nothing_twice(
    database: Database, tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, tmp_path, 20)
    monkeypatch.setattr(leases, "_RENEWED_S", 3600.0)  # it stands still, as far as others see
    with at_work(database, watched) as go_on:
        monkeypatch.setattr(leases, "_RENEWED_S", 0.2)
        other = embed(database, Watched().backbone())
        assert (other.embedded, other.others) == (20, 0)
        slow = go_on()
    assert (slow.embedded, slow.rejected, slow.gone, slow.others) == (0, 0, 0, 20)
    assert len(stored(database)) == 20


@pytest.mark.parametrize("what", ["delete", "move", "private"])
def test_photos_may_be_deleted_or_moved_while_they_are_embedded(
    database: Database, tmp_path: Path, watched: Watched, what: str
) -> None:
    put(database, tmp_path / "a", 6, "first")
    put(database, tmp_path / "b", 7, "second")
    with database.connection() as connection:
        connection.execute("SELECT geosearch.add_collection('hidden')")
        set_private(connection, "hidden", private=True)
    with at_work(database, watched) as go_on:  # six of the first, two of the second
        if what == "delete":
            assert delete_photos(database, InCollections("first")).goes["photos"] == 6
        elif what == "move":
            assert move_photos(database, InCollections("first"), to="hidden").photos == 6
        else:
            with database.connection() as connection:
                assert set_private(connection, "first", private=True).photos == 6
        assert len(fetch(database, "SELECT FROM geosearch.claims")) == 2
        done = go_on()
    embedded, gone = (7, 6) if what == "delete" else (13, 0)
    assert (done.pending, done.embedded, done.gone) == (13, embedded, gone)
    rows = fetch(
        database,
        "SELECT p.shelf = e.shelf FROM geosearch.all_embeddings AS e "
        "JOIN geosearch.all_photos AS p ON p.id = e.photo_id",
    )
    assert rows == [(True,)] * embedded
    nothing_is_left(database)


def test_a_model_is_not_deleted_while_any_run_embeds_with_it(
    database: Database, tmp_path: Path, watched: Watched
) -> None:
    put(database, tmp_path, 20)
    with at_work(database, watched) as go_on:
        with pytest.raises(DatabaseError, match="another run works with the model"):
            delete_model(database, DESCRIPTION.name)
        with database.connection() as connection:
            model = register_model(connection, DESCRIPTION).id
        assert go_on().embedded == 20
    refusal = DatabaseError("taken")
    with (
        only_one(database, f"embed {model}", refusal),
        pytest.raises(DatabaseError, match="is being deleted"),
    ):
        embed(database, watched.backbone())
    delete_model(database, DESCRIPTION.name)
    nothing_is_left(database)


def test_a_lease_is_had_by_one_or_shared_by_several(database: Database) -> None:
    refusal = DatabaseError("taken")
    with one_of_several(database, "a", refusal) as first:
        with one_of_several(database, "a", refusal) as second:
            assert second.since == first.since
            assert second.holder != first.holder
            with pytest.raises(DatabaseError, match="taken"), only_one(database, "a", refusal):
                pass
        with only_one(database, "b", refusal):
            for kind in (only_one, one_of_several):
                with pytest.raises(DatabaseError, match="taken"), kind(database, "b", refusal):
                    pass
        time.sleep(1.3)  # renewed meanwhile
        with pytest.raises(DatabaseError, match="taken"), only_one(database, "a", refusal):
            pass
    with only_one(database, "a", refusal) as third:
        assert third.since > first.since
    nothing_is_left(database)


#: Starts processes that embed, each a copy of itself, which has loaded all they need.
NURSERY = """
import os, sys, time
from geosearch.database import leases
from geosearch.database.connection import Database
from geosearch.features import embed, embedding_run
from tests.test_embed import backbone

leases._TERM_S, leases._RENEWED_S = 2.0, 0.4
embedding_run.COMMIT_EVERY_S, embedding_run._LOOKS_EVERY_S = 0.05, 0.05
slow = backbone(before=lambda: time.sleep(float(sys.argv[2])))
for line in sys.stdin:
    victim = int(line)
    if victim:
        print(os.waitpid(victim, 0)[1], flush=True)
    elif child := os.fork():
        print(child, flush=True)
    else:
        with Database(sys.argv[1], pool_size=3) as database:
            embed(database, slow, batch_size=1, workers=2)
        os._exit(0)
"""


def kill_and_finish(database: Database, kills: int, sleep: float) -> None:
    """Four processes, of which one after the other is killed and replaced, until all is done."""
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, database.url, str(sleep)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as nursery:

        def ask(what: int) -> int:
            assert nursery.stdin is not None
            assert nursery.stdout is not None
            nursery.stdin.write(f"{what}\n")
            return int(nursery.stdout.readline())

        running = [ask(0) for _ in range(4)]
        try:
            for number in range(kills):
                before, deadline = embedded(database), time.monotonic() + 60
                while embedded(database) == before:  # somebody is at work
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                # Now one that has just begun, now one that has been at work for long.
                victim = running.pop(number % 4)
                os.kill(victim, signal.SIGKILL)
                assert ask(victim) == signal.SIGKILL, f"all was done before kill {number + 1}"
                running.append(ask(0))
            assert [ask(process) for process in running] == [0] * 4
            running.clear()
        finally:
            for process in running:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
    assert len(stored(database)) == embedded(database)  # no photo twice


def embedded(database: Database) -> int:
    ((count,),) = fetch(database, "SELECT count(*) FROM geosearch.embeddings")
    return int(count)


@pytest.mark.parametrize(
    ("photos", "kills"), [(60, 3), pytest.param(880, 50, marks=pytest.mark.system)]
)
def test_four_processes_lose_and_double_nothing_when_some_are_killed(
    database: Database, tmp_path: Path, photos: int, kills: int
) -> None:
    put(database, tmp_path, photos)
    kill_and_finish(database, kills, sleep=0.15)
    assert len(stored(database)) == photos
    # What a killed run wrote is what it says of itself, and what all wrote is all there is.
    assert fetch(
        database, "SELECT sum((counts -> 'embedded')::int) FROM geosearch.runs WHERE kind = 'embed'"
    ) == [(photos,)]
    assert fetch(database, "SELECT FROM geosearch.claims") == []
