"""Exact nearest neighbours of many queries at once: one pass over a model's embeddings.

The embeddings, from the server or from their copy on this machine, meet all queries in a matrix
product, block by block, so memory depends on the queries and not on the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosearch.arguments import check_range
from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import OPEN, embeddings_on, visible_shelves
from geosearch.errors import InputError
from geosearch.retrieval.embedding_blocks import Block, packed, read_blocks
from geosearch.retrieval.embedding_copy import LEAST_VALUES, PART_ROWS, EmbeddingCopy
from geosearch.retrieval.facts import Facts, facts
from geosearch.retrieval.filters import EVERYTHING, Filter
from geosearch.settings import CacheSettings
from geosearch.waiting import Progress

#: Values in one block of embeddings: 8 MiB as float32.
BLOCK_VALUES = 2**21
#: Queries multiplied at once: bounds the scores held in memory.
QUERY_ROWS = 512


@dataclass(frozen=True)
class BatchNeighbours:
    """The neighbours of n queries, nearest first.

    Parameters
    ----------
    photo_id
        (n, k); -1 beyond a query's `count`.
    distance
        (n, k) cosine distances, 0 to 2; infinite beyond a query's `count`.
    count
        (n,) neighbours found: fewer than k only if fewer photos match.
    matches
        (n,) photos that passed the filter and were not excluded.
    """

    photo_id: NDArray[np.int64]
    distance: NDArray[np.float64]
    count: NDArray[np.int64]
    matches: NDArray[np.int64]


def nearest_batch(
    database: Database,
    model_id: int,
    queries: NDArray[np.float32],
    k: int,
    where: Filter = EVERYTHING,
    *,
    excluded: Sequence[Collection[int]] | None = None,
    shelves: Sequence[int] | None = None,
    block_rows: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> BatchNeighbours:
    """The `k` photos nearest to each of `queries` (n, D) that pass `where`, compared with all.

    Distances are float32 sums, as pgvector's are: photos whose distances differ by less than that
    error may swap places. Photos with equal embeddings come in order of their id. Embeddings that
    are zero have no direction and are no one's neighbours.

    Parameters
    ----------
    excluded
        For each query, ids of photos that must not become its neighbours.
    shelves
        Where to search; default: all shelves this login may see.
    block_rows
        Embeddings multiplied at once, rounded up to a multiple of 64; default: about 8 MiB.
    device
        `cpu`, or a PyTorch device such as `cuda` for the product.
    progress
        Called with the number of embeddings compared so far, and None.

    Raises
    ------
    InputError
        `k` is below 1, a query is zero or not finite, or has another dimension than the model.
    NotFoundError
        The model, or a collection in the filter, does not exist.
    """
    check_range("k", k, 1)
    if excluded is not None and len(excluded) != len(queries):
        raise ValueError(f"{len(queries)} queries but {len(excluded)} sets of excluded photos")
    with database.connection() as connection:
        # What changes meanwhile is not seen, by whichever way the embeddings come.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        known = facts(database, connection, model_id)
        units = _unit_queries(queries, known.dimension)
        if shelves is None:
            shelves = visible_shelves(connection, estimated=where.includes_estimated)
        blocks = _blocks(connection, known, where, shelves, block_rows)
        return best_of(blocks, units, k, excluded=excluded, device=device, progress=progress)


def _blocks(
    connection: Connection,
    known: Facts,
    where: Filter,
    shelves: Sequence[int],
    block_rows: int | None,
) -> Generator[Block]:
    """The matching embeddings of these shelves: of the open one from its copy, if that pays.

    A pass over all photos makes the copy; one over few, that would find less than half of it there,
    has the server send those alone.
    """
    dimension = known.dimension
    condition, values = where.compile(connection)
    if block_rows is None:
        # A power of two, as are the parts of a copy.
        block_rows = min(2 ** (BLOCK_VALUES // dimension).bit_length() // 2, PART_ROWS)
    rows = -(-block_rows // 64) * 64
    if OPEN in shelves and known.total * dimension >= LEAST_VALUES and CacheSettings().copy_bytes:
        copy = EmbeddingCopy(connection, known.model_id, dimension, known.total)
        if where == EVERYTHING or copy.share() >= 0.5:
            shelves = [shelf for shelf in shelves if shelf != OPEN]
            chosen = None if where == EVERYTHING else (condition, values)
            yield from packed(copy.blocks(chosen), rows)
    if shelves:
        table = embeddings_on(known.model_id, shelves)
        yield from read_blocks(connection, dimension, rows, table, condition, values)


def best_of(
    blocks: Generator[Block],
    units: NDArray[np.float32],
    k: int,
    *,
    excluded: Sequence[Collection[int]] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> BatchNeighbours:
    """The `k` photos of `blocks` nearest to each of `units` (n, D), as `nearest_batch` says.

    A block is made while the one before is multiplied; without queries, none is asked for.
    """
    best = _Best(len(units), k, excluded)
    multiply = _product(units, device)
    done = 0
    for block in _ahead(blocks) if len(units) else ():
        best.meet(block.photo_id)
        for first, scores in multiply(block):
            best.offer(first, scores, block.photo_id)
        done += len(block.photo_id)
        if progress is not None:
            progress(done, None)
    return best.result()


def _ahead(blocks: Generator[Block]) -> Iterator[Block]:
    """The same blocks; the next one is read and decoded while the last one is multiplied."""
    with closing(blocks), ThreadPoolExecutor(1, "geosearch-read") as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block


def _unit_queries(queries: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    if queries.ndim != 2 or queries.shape[1] != dimension:
        raise InputError(
            f"the queries are of shape {queries.shape}; the model's embeddings have"
            f" {dimension} dimensions"
        )
    # As halfvec, like the single query.
    stored = queries.astype(np.float16).astype(np.float32)
    lengths = np.linalg.norm(stored, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise InputError(f"query {bad[0]} is zero or not finite, so it has no direction")
    return np.asarray(stored / lengths, dtype=np.float32)


#: Scores (m, r) of queries with the photos of a block: an array, or a tensor where it was computed.
_Scores = Any


def _product(
    units: NDArray[np.float32], device: str
) -> Callable[[Block], Iterator[tuple[int, _Scores]]]:
    """A block's scores with the queries `first`, `first + 1`, …: at most `QUERY_ROWS` at a time."""
    memory = np.empty((0, 0), dtype=np.float32)

    def on_cpu(block: Block) -> Iterator[tuple[int, _Scores]]:
        nonlocal memory
        if memory.shape[1] != len(block.units):
            memory = np.empty((min(QUERY_ROWS, len(units)), len(block.units)), dtype=np.float32)
        for first in range(0, len(units), QUERY_ROWS):
            chosen = units[first : first + QUERY_ROWS]
            made = np.matmul(chosen, block.units.T, out=memory[: len(chosen)])
            yield first, made[:, : len(block.photo_id)]

    if device == "cpu":
        return on_cpu
    import torch

    queries = torch.from_numpy(units).to(device)

    def on_device(block: Block) -> Iterator[tuple[int, _Scores]]:
        embeddings = torch.from_numpy(block.units).to(device)[: len(block.photo_id)].T
        for first in range(0, len(units), QUERY_ROWS):
            yield first, queries[first : first + QUERY_ROWS] @ embeddings

    return on_device


def _greatest(scores: _Scores, count: int) -> NDArray[np.float32]:
    """The `count`-th greatest score (m,) of each query."""
    place = scores.shape[1] - count
    if isinstance(scores, np.ndarray):
        return np.asarray(np.partition(scores, place)[:, place])
    return np.asarray(scores.topk(count).values[:, -1].cpu())


def _reaching(scores: _Scores, floor: NDArray[np.float32]) -> list[NDArray[Any]]:
    """Queries, columns and values (c,) of the scores that reach their query's floor (m,)."""
    if isinstance(scores, np.ndarray):
        at = np.divmod(np.flatnonzero(scores >= floor[:, None]), scores.shape[1])
        return [*at, scores[at]]
    at = (scores >= scores.new_tensor(floor)[:, None]).nonzero(as_tuple=True)
    # Only what may be a neighbour leaves the device: all scores are many times the embeddings.
    return [each.cpu().numpy() for each in (*at, scores[at])]


class _Best:
    """The best `k` of all scores offered so far, for each of n queries.

    Candidates are kept until they are twice as many as needed, and only then sorted out: a
    running order after every block would cost as much as the product.
    """

    def __init__(self, n: int, k: int, excluded: Sequence[Collection[int]] | None) -> None:
        self._n, self._k = n, k
        self._excluded = None if excluded is None else [frozenset(ids) for ids in excluded]
        everyone = frozenset[int]().union(*(self._excluded or ()))
        self._excluded_ids = np.array(sorted(everyone), dtype=np.int64)
        self._most_excluded = max(map(len, self._excluded or ()), default=0)
        #: A candidate of a query needs this score: that many better ones are known.
        self._floor = np.full(n, -np.inf, dtype=np.float32)
        #: Their queries, scores and photos.
        self._new: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
        self._size = 0
        self._met = 0
        self._met_excluded: set[int] = set()

    def meet(self, photo_id: NDArray[np.int64]) -> None:
        """Count photos (r,) that are about to be offered to every query."""
        self._met += len(photo_id)
        self._met_excluded |= set(photo_id[np.isin(photo_id, self._excluded_ids)].tolist())

    def offer(self, first: int, scores: _Scores, photo_id: NDArray[np.int64]) -> None:
        """Take scores (m, r) of queries `first` to `first + m` with photos (r,)."""
        m, r = scores.shape
        floor = self._floor[first : first + m]
        enough = self._k + self._most_excluded
        if r >= enough and np.isneginf(floor).any():
            np.maximum(floor, _greatest(scores, enough), out=floor)
        query, column, score = _reaching(scores, floor)
        if self._excluded is not None:
            keep = self._allowed(first + query, column, photo_id)
            query, column, score = query[keep], column[keep], score[keep]
        self._new.append((first + query, score, photo_id[column]))
        self._size += len(query)
        if self._size > 2 * self._n * self._k:
            self._prune()

    def _allowed(
        self, query: NDArray[np.int64], column: NDArray[np.int64], photo_id: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        assert self._excluded is not None
        allowed = np.ones(len(query), dtype=bool)
        suspects = np.isin(photo_id, self._excluded_ids)[column]
        for index in np.flatnonzero(suspects):
            allowed[index] = int(photo_id[column[index]]) not in self._excluded[query[index]]
        return allowed

    def _prune(self) -> None:
        """Raise the floors to the `k`-th best so far, and drop what is below them."""
        query, score, photo_id = self._joined()
        order = np.argsort(query, kind="stable")  # of a few runs in order
        query, score, photo_id = query[order], score[order], photo_id[order]
        count = np.bincount(query, minlength=self._n)
        width = max(self._k, int(count.max()))
        if width <= 4 * self._k:
            table = np.full((self._n, width), -np.inf, np.float32)
            table[query, np.arange(len(query)) - (np.cumsum(count) - count)[query]] = score
            last = np.partition(table, width - self._k)[:, width - self._k]
            np.maximum(self._floor, last, out=self._floor)
            keep = score >= self._floor[query]
            self._new, self._size = [(query[keep], score[keep], photo_id[keep])], int(keep.sum())
        if self._size > 1.5 * self._n * self._k:  # of one query, or as good as the k-th
            self._sort()

    def _joined(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        empty = np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64)
        query, score, photo_id = map(np.concatenate, zip(empty, *self._new, strict=True))
        return query, score, photo_id

    def _sort(self) -> None:
        """Put them in order, and keep the best `k` of each query."""
        query, score, photo_id = self._joined()
        # One key for query and score sorts much faster than two; its float64 keeps differences in
        # score down to 1e-9 for 100,000 queries.
        key = 4.0 * query - score
        order = np.argsort(key)
        equal = np.diff(key[order], prepend=-np.inf, append=np.inf) == 0
        tied = np.flatnonzero(equal[:-1] | equal[1:])
        among = order[tied]
        order[tied] = among[np.lexsort((photo_id[among], key[among]))]
        query = query[order]
        rank = np.arange(len(query)) - np.searchsorted(query, np.arange(self._n))[query]
        last = rank == self._k - 1
        self._floor[query[last]] = score[order[last]]
        keep = order[rank < self._k]
        self._new, self._size = [(query[rank < self._k], score[keep], photo_id[keep])], len(keep)

    def result(self) -> BatchNeighbours:
        """What was found."""
        self._sort()
        ((query, score, found),) = self._new
        count = np.bincount(query, minlength=self._n)
        photo_id = np.full((self._n, self._k), -1, dtype=np.int64)
        distance = np.full((self._n, self._k), np.inf)
        filled = np.arange(self._k) < count[:, None]
        photo_id[filled] = found
        distance[filled] = 1 - np.clip(score.astype(np.float64), -1, 1)
        matches = np.full(self._n, self._met)
        for number, ids in enumerate(self._excluded or ()):
            matches[number] -= len(ids & self._met_excluded)
        return BatchNeighbours(photo_id, distance, count, matches)
