"""Embedding on the nodes of a Ray cluster, which places the work, and begins lost work anew.

What there is to do is shared by the database (`embedding_claims`), or is in parts that are written
whole (`embedding_files`): so whatever is lost or begun twice, no photo is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TypeVar, Unpack

from geosearch.arguments import check_range
from geosearch.database.connection import Database
from geosearch.database.session import open_database
from geosearch.errors import ClusterError, GeosearchError
from geosearch.features.embedding_run import EmbedOptions, EmbedSummary, done_by_runs, embed
from geosearch.features.places_model import refuse_places
from geosearch.installation import optional
from geosearch.waiting import Progress

T = TypeVar("T")

#: Times that work is begun anew after its process or node was lost.
_RETRIES = 20
#: Seconds between two reports of progress.
_REPORT_S = 1.0
_AGAIN = "Run the same command again: what is done stays done."


class Cluster:
    """A Ray cluster that this process is connected to."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        gpus = int(ray.cluster_resources().get("GPU", 0))
        cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        #: Processors that are one task's; 0 where each has a GPU.
        self.processors = 0 if gpus else min(filter(None, cpus), default=1)
        #: Tasks at once: one for each GPU; else one for so many processors of a node.
        self.size = gpus or max(1, sum(each // self.processors for each in cpus))

    def run(
        self,
        function: Callable[..., T],
        calls: Iterable[tuple[Any, ...]],
        report: Callable[[], None],
    ) -> Iterator[T]:
        """What a function of this package gives for each call, in any order, as tasks of Ray."""
        needs = {"num_cpus": self.processors} if self.processors else {"num_gpus": 1}
        options = {"max_retries": _RETRIES, "scheduling_strategy": "SPREAD"} | needs
        task = self._ray.remote(function).options(**options)
        waiting: list[Any] = []
        left = iter(calls)
        while True:
            while len(waiting) < 2 * self.size and (call := next(left, None)) is not None:
                waiting.append(task.remote(*call))
            if not waiting:
                return
            done, waiting = self._ray.wait(waiting, timeout=_REPORT_S)
            report()
            yield from self._ray.get(done)


@contextmanager
def ray_cluster(address: str) -> Iterator[Cluster]:
    """Connect to a cluster by the address of its head, `host:6379`, or `auto` on one of its nodes.

    Raises
    ------
    MissingExtraError
        Ray is not installed here.
    ClusterError
        There is no cluster, or it broke off.
    """
    ray = optional("`ray`", "ray", "ray")
    with redirect_stdout(sys.stderr):  # Ray prints what it does about lost nodes
        yield from _connected(ray, address)


def _connected(ray: Any, address: str) -> Iterator[Cluster]:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"no Ray cluster can be reached at {address}: {error}",
            "See how one is started: docs/cluster.md",
        ) from error
    try:
        yield Cluster(ray)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, GeosearchError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        raise ClusterError(f"the Ray cluster broke off: {error}", _AGAIN) from error
    finally:
        ray.shutdown()


def embed_on_ray(
    database: Database, address: str, model: str, device: str, **options: Unpack[EmbedOptions]
) -> EmbedSummary:
    """As `embed`, by one process for each GPU of a cluster, or without GPUs for each node.

    They open the database by the same URL, and read photos by their uris: both must mean the same
    on all nodes. `workers` are the threads of each. What is summed is of all runs of the model that
    have begun since.

    Raises
    ------
    GeosearchError
        As `embed` and `ray_cluster`.
    """
    check_range("batch_size", options.get("batch_size"), 1)
    check_range("workers", options.get("workers"), 1)
    refuse_places(model, "photos are not embedded")
    progress: Progress | None = options.pop("progress", None)
    started = time.perf_counter()
    with database.connection() as connection:
        ((before,),) = connection.execute(
            "SELECT coalesce(max(id), 0) FROM geosearch.runs"
        ).fetchall()

    def done(model_id: int | None = None) -> tuple[int, int]:
        with database.connection() as connection:
            return done_by_runs(connection, model_id, after=before)

    def report() -> None:
        if progress is not None:
            progress(sum(done()), None)

    with ray_cluster(address) as cluster:
        if cluster.processors and options.get("workers") is None:
            options["workers"] = cluster.processors
        call = (database.url, model, device, dict(options))
        shares = list(cluster.run(_share, [call] * cluster.size, report))
    embedded, rejected = done(shares[0].model_id)
    gone = sum(share.gone for share in shares)
    seconds = time.perf_counter() - started
    return EmbedSummary(
        run_id=max(share.run_id for share in shares),
        model_id=shares[0].model_id,
        model=shares[0].model,
        pending=embedded + rejected + gone,
        embedded=embedded,
        rejected=rejected,
        gone=gone,
        others=0,
        skipped=max(share.skipped for share in shares),
        seconds=seconds,
        photos_per_s=(embedded + rejected) / seconds,
    )


def _share(url: str, model: str, device: str, options: EmbedOptions) -> EmbedSummary:
    with open_database(url) as database:
        return embed(database, model, device=device, **options)
