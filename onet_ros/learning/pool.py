"""Training data as an endless, repeatable stream: chunks of samples made ahead of the training, and a pool of them.

Chunk c depends on the seed and c alone, and batch b on the seed, b and the chunks in the pool at that moment; which
chunks those are is fixed by the settings. So a run can be stopped anywhere and go on exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from onet_ros.learning.own_objects import TENSORS, OwnObjects
from onet_ros.learning.source import SIZE_STEP, AnySamples, Batch, PointSource, SampleSource, sample_tensors
from onet_ros.learning.world import Samples

# Seeds of chunks, of batches, of validation and of the user's own objects must never meet; nor those of what is held
# out to calibrate on and to check that, and of what is only looked at.
CHUNK_STREAM, BATCH_STREAM, VALIDATION_STREAM, OWN_STREAM = 0, 1, 2, 3
FITTING_STREAM, HELD_OUT_STREAM, SHEET_STREAM = 4, 5, 6


def stream_generator(seed: int, stream: int, index: int) -> torch.Generator:
    """A CPU generator of its own for each (seed, stream, index)."""
    mixed = (seed * 1_000_003 + stream) * 1_000_000_007 + index
    return torch.Generator().manual_seed(mixed % (2**63))


class ChunkStream(Dataset[AnySamples]):
    """Chunk index -> samples; index `first` + i of the whole run is item i.

    Args:
        kept: chunks of the same seed, size and source by their index in the run: taken from there, and put there when
            they are made. For runs of one process that are to share them.
    """

    def __init__(
        self,
        seed: int,
        size: int,
        source: SampleSource,
        first: int,
        count: int,
        device: str = "cpu",
        kept: dict[int, AnySamples] | None = None,
    ) -> None:
        self.seed, self.size, self.source = seed, size, source
        self.first, self.count, self.device = first, count, device
        self.kept = kept

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: int) -> AnySamples:
        index = self.first + item
        if self.kept is not None and index in self.kept:
            return self.kept[index]
        generator = stream_generator(self.seed, CHUNK_STREAM, index)
        with torch.no_grad():
            chunk = self.source.make(self.size, generator, self.device)
        if self.kept is not None:
            self.kept[index] = chunk
        return chunk


class SampleStore:
    """Chunks side by side in one table on one device, the newest in the place of the oldest.

    Args:
        chunks: how many are kept.
        chunk_size: rows of a chunk at most.
        device: of the table, and of what is read from it.
    """

    def __init__(self, chunks: int, chunk_size: int, device: torch.device | str) -> None:
        self._chunks, self._chunk_size, self._device = chunks, chunk_size, torch.device(device)
        self._kind: type[Any] = Samples
        self._table: dict[str, Tensor] = {}
        self._families: list[list[str]] = []
        self._added = 0

    def add(self, chunk: AnySamples) -> None:
        """Put a chunk in; all are of one kind."""
        if not self._table:
            self._kind, rows = type(chunk), self._chunks * self._chunk_size
            columns = {name: getattr(chunk, name) for name in sample_tensors(self._kind)}
            self._table = {
                name: torch.empty(rows, *column.shape[1:], dtype=column.dtype, device=self._device)
                for name, column in columns.items()
            }
        start = self._added % self._chunks * self._chunk_size
        for name, column in self._table.items():
            column[start : start + len(chunk.families)] = getattr(chunk, name).to(self._device)
        self._families = [*self._families, chunk.families][-self._chunks :]
        self._added += 1

    def __len__(self) -> int:
        """How many samples there are."""
        return sum(len(families) for families in self._families)

    def rows(self, picks: Tensor) -> Any:
        """The samples with numbers `picks` (n,) int64 on the CPU, counted from the oldest chunk on."""
        ends = torch.tensor([len(families) for families in self._families]).cumsum(0)
        which = torch.searchsorted(ends, picks, right=True)
        within = picks - torch.cat([torch.zeros(1, dtype=torch.int64), ends])[which]
        places = (self._added - len(self._families) + which) % self._chunks * self._chunk_size + within
        index = places.to(self._device)
        families = [self._families[c][r] for c, r in zip(which.tolist(), within.tolist(), strict=True)]
        return self._kind(families=families, **{name: column[index] for name, column in self._table.items()})


class SamplePool:
    """The last `chunks_kept` chunks, from which batches are drawn; every `steps_per_chunk` steps a new one comes in.

    Args:
        first_step: the step to go on from; the chunks that were in the pool then are made again.
        workers: processes that make chunks ahead; 0 makes them in this process (on a GPU, on that device).
        device: where chunks are made when there are no workers.
        own, own_share: the user's prepared objects, and how likely a sample of a batch is one of theirs (points only).
        kept: see `ChunkStream`; without workers.
        batch_device: where the chunks are kept and batches are drawn; None: where chunks are made.
    """

    def __init__(
        self,
        seed: int,
        source: SampleSource,
        chunk_size: int,
        chunks_kept: int,
        steps_per_chunk: int,
        first_step: int = 0,
        last_step: int = 2**31,
        workers: int = 0,
        device: str = "cpu",
        own: OwnObjects | None = None,
        own_share: float = 0.0,
        kept: dict[int, AnySamples] | None = None,
        batch_device: torch.device | str | None = None,
    ) -> None:
        self.seed, self.steps_per_chunk = seed, steps_per_chunk
        self._source, self._own, self._own_share = source, own, own_share
        newest = first_step // steps_per_chunk
        oldest = max(0, newest - chunks_kept + 1)
        count = last_step // steps_per_chunk + 1 - oldest
        stream = ChunkStream(seed, chunk_size, source, oldest, count, device, kept)
        loader = DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_one_thread if workers else None,
            multiprocessing_context="spawn" if workers and torch.cuda.is_available() else None,  # CUDA does not fork
        )
        self._chunks: Iterator[AnySamples] = iter(loader)
        self._store = SampleStore(chunks_kept, chunk_size, device if batch_device is None else batch_device)
        self._next = oldest
        self._fill(first_step)

    def _fill(self, step: int) -> None:
        while self._next <= step // self.steps_per_chunk:
            self._store.add(next(self._chunks))
            self._next += 1

    def batch(self, step: int, size: int, points: tuple[int, int], queries: int) -> Batch:
        """The batch of a step: `size` samples of the pool, each varied anew (see `SampleSource.draw`).

        Args:
            points: fewest and most seen points; one number is drawn for the batch.
            queries: labelled points per sample.
        """
        self._fill(step)
        generator = stream_generator(self.seed, BATCH_STREAM, step)
        chosen = self._store.rows(torch.randint(len(self._store), (size,), generator=generator))
        chosen = self._with_own_objects(chosen, step)
        count = points[0] + SIZE_STEP * int(
            torch.randint((points[1] - points[0]) // SIZE_STEP + 1, (1,), generator=generator)
        )
        return self._source.draw(chosen, count, queries, generator)

    def _with_own_objects(self, samples: Any, step: int) -> Any:
        """Some of the samples replaced by views of own objects; by draws of their own, so that the others stay."""
        if self._own is None or not isinstance(self._source, PointSource):
            return samples
        generator = stream_generator(self.seed, OWN_STREAM, step)
        rows = torch.nonzero(torch.rand(len(samples.points), generator=generator) < self._own_share).flatten()
        if not len(rows):
            return samples
        own = self._own.draw(len(rows), generator, self._source.world)
        device = samples.points.device
        columns = {
            name: getattr(samples, name).index_copy(0, rows.to(device), getattr(own, name).to(device))
            for name in TENSORS
        }
        families = list(samples.families)
        for row, family in zip(rows.tolist(), own.families, strict=True):
            families[row] = family
        return Samples(families=families, **columns)


def held_out_batches(
    seed: int, stream: int, count: int, points: int, source: SampleSource, device: torch.device | str = "cpu"
) -> list[Batch]:
    """At least `count` samples of a stream that training never uses, with 2048 uniform queries each.

    Args:
        points: how many seen points each has.
        device: where they are put; they are made on the CPU, so that they are the same everywhere.
    """
    generator = stream_generator(seed, stream, 0)
    batches: list[Batch] = []
    made = 0
    while made < count:
        samples: Any = source.make(min(64, count), generator, "cpu")
        uniform = samples.queries.shape[1] // 2
        samples = dataclasses.replace(samples, queries=samples.queries[:, :uniform], inside=samples.inside[:, :uniform])
        batches.append(source.draw(samples, points, 2048, generator).to(device))
        made += len(samples.families)
    return batches


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
