"""Training data as an endless, repeatable stream: chunks of samples made ahead of the training, and a pool of them.

Chunk c depends on the seed and c alone, and batch b on the seed, b and the chunks in the pool at that moment; which
chunks those are is fixed by the settings. So a run can be stopped anywhere and go on exactly.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from onet_ros.learning.own_objects import TENSORS, OwnObjects
from onet_ros.learning.world import Samples, WorldSettings, make_samples
from onet_ros.networks import Observation

# Seeds of chunks, of batches, of validation and of the user's own objects must never meet; nor those of what is held
# out to calibrate on and to check that, and of what is only looked at.
CHUNK_STREAM, BATCH_STREAM, VALIDATION_STREAM, OWN_STREAM = 0, 1, 2, 3
FITTING_STREAM, HELD_OUT_STREAM, SHEET_STREAM = 4, 5, 6

# Batches come in a few sizes only, so that memory freed by one serves another.
SIZE_STEP = 64


def stream_generator(seed: int, stream: int, index: int) -> torch.Generator:
    """A CPU generator of its own for each (seed, stream, index)."""
    mixed = (seed * 1_000_003 + stream) * 1_000_000_007 + index
    return torch.Generator().manual_seed(mixed % (2**63))


@dataclass(frozen=True)
class Batch:
    """What one training step sees: B observations with labelled queries (B, M, 3) and labels (B, M) float."""

    observation: Observation
    queries: Tensor
    labels: Tensor


class ChunkStream(Dataset[Samples]):
    """Chunk index -> Samples; index `first` + i of the whole run is item i.

    Args:
        kept: chunks of the same seed, size and world by their index in the run: taken from there, and put there when
            they are made. For runs of one process that are to share them.
    """

    def __init__(
        self,
        seed: int,
        size: int,
        world: WorldSettings,
        first: int,
        count: int,
        device: str = "cpu",
        kept: dict[int, Samples] | None = None,
    ) -> None:
        self.seed, self.size, self.world = seed, size, world
        self.first, self.count, self.device = first, count, device
        self.kept = kept

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: int) -> Samples:
        index = self.first + item
        if self.kept is not None and index in self.kept:
            return self.kept[index]
        generator = stream_generator(self.seed, CHUNK_STREAM, index)
        with torch.no_grad():
            chunk = make_samples(self.size, generator, self.world, self.device)
        if self.kept is not None:
            self.kept[index] = chunk
        return chunk


class SamplePool:
    """The last `chunks_kept` chunks, from which batches are drawn; every `steps_per_chunk` steps a new one comes in.

    Args:
        first_step: the step to go on from; the chunks that were in the pool then are made again.
        workers: processes that make chunks ahead; 0 makes them in this process (on a GPU, on that device).
        own, own_share: the user's prepared objects, and how likely a sample of a batch is one of theirs.
        kept: see `ChunkStream`; without workers.
    """

    def __init__(
        self,
        seed: int,
        world: WorldSettings,
        chunk_size: int,
        chunks_kept: int,
        steps_per_chunk: int,
        first_step: int = 0,
        last_step: int = 2**31,
        workers: int = 0,
        device: str = "cpu",
        own: OwnObjects | None = None,
        own_share: float = 0.0,
        kept: dict[int, Samples] | None = None,
    ) -> None:
        self.seed, self.steps_per_chunk = seed, steps_per_chunk
        self._world, self._own, self._own_share = world, own, own_share
        newest = first_step // steps_per_chunk
        oldest = max(0, newest - chunks_kept + 1)
        count = last_step // steps_per_chunk + 1 - oldest
        stream = ChunkStream(seed, chunk_size, world, oldest, count, device, kept)
        loader = DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_one_thread if workers else None,
        )
        self._chunks: Iterator[Samples] = iter(loader)
        self._pool: deque[Samples] = deque(maxlen=chunks_kept)
        self._next = oldest
        self._fill(first_step)

    def _fill(self, step: int) -> None:
        while self._next <= step // self.steps_per_chunk:
            self._pool.append(next(self._chunks))
            self._next += 1

    def batch(self, step: int, size: int, points: tuple[int, int], queries: int) -> Batch:
        """The batch of a step: `size` samples of the pool, each with new points, new queries and perhaps mirrored.

        Args:
            points: fewest and most seen points; one number is drawn for the batch.
            queries: labelled points per sample.
        """
        self._fill(step)
        generator = stream_generator(self.seed, BATCH_STREAM, step)
        sizes = torch.tensor([len(chunk.points) for chunk in self._pool])
        picks = torch.randint(int(sizes.sum()), (size,), generator=generator)
        ends = sizes.cumsum(0)
        which = torch.searchsorted(ends, picks, right=True)
        rows = picks - (ends - sizes)[which]
        chosen = gather_rows(list(self._pool), which.tolist(), rows.tolist())
        chosen = self._with_own_objects(chosen, step)
        count = points[0] + SIZE_STEP * int(
            torch.randint((points[1] - points[0]) // SIZE_STEP + 1, (1,), generator=generator)
        )
        return draw_batch(chosen, count, queries, generator)

    def _with_own_objects(self, samples: Samples, step: int) -> Samples:
        """Some of the samples replaced by views of own objects; by draws of their own, so that the others stay."""
        if self._own is None:
            return samples
        generator = stream_generator(self.seed, OWN_STREAM, step)
        rows = torch.nonzero(torch.rand(len(samples.points), generator=generator) < self._own_share).flatten()
        if not len(rows):
            return samples
        own = self._own.draw(len(rows), generator, self._world)
        device = samples.points.device
        columns = {
            name: getattr(samples, name).index_copy(0, rows.to(device), getattr(own, name).to(device))
            for name in TENSORS
        }
        families = list(samples.families)
        for row, family in zip(rows.tolist(), own.families, strict=True):
            families[row] = family
        return Samples(families=families, **columns)


def gather_rows(chunks: list[Samples], which: list[int], rows: list[int]) -> Samples:
    """Row rows[i] of chunks[which[i]], for each i, as one Samples."""
    columns = {
        name: torch.stack([getattr(chunks[c], name)[r] for c, r in zip(which, rows, strict=True)]) for name in TENSORS
    }
    return Samples(families=[chunks[c].families[r] for c, r in zip(which, rows, strict=True)], **columns)


def draw_batch(samples: Samples, points: int, queries: int, generator: torch.Generator) -> Batch:
    """Random subsets of the samples' points and queries, half of the samples mirrored left to right."""
    device = samples.points.device
    n = len(samples.points)
    point_picks = torch.randint(samples.points.shape[1], (n, points), generator=generator).to(device)
    query_picks = torch.randint(samples.queries.shape[1], (n, queries), generator=generator).to(device)
    mirror = (torch.randint(2, (n, 1, 1), generator=generator) * 2 - 1).to(device)
    side = torch.cat([torch.ones_like(mirror), mirror, torch.ones_like(mirror)], dim=2).float()
    seen = samples.points.gather(1, point_picks.unsqueeze(2).expand(-1, -1, 3)) * side
    around = _some_background(samples.background, generator) * side
    asked = samples.queries.gather(1, query_picks.unsqueeze(2).expand(-1, -1, 3)) * side
    labels = samples.inside.gather(1, query_picks).float()
    observation = Observation(seen, around, samples.viewpoint * side.squeeze(1), samples.scale)
    return Batch(observation, asked, labels)


def held_out_batches(
    seed: int, stream: int, count: int, points: int, world: WorldSettings, device: torch.device | str = "cpu"
) -> list[Batch]:
    """At least `count` samples of a stream that training never uses, with 2048 uniform queries each.

    Args:
        points: how many seen points each has.
    """
    generator = stream_generator(seed, stream, 0)
    batches: list[Batch] = []
    made = 0
    while made < count:
        samples = make_samples(min(64, count), generator, world, device)
        uniform = samples.queries.shape[1] // 2
        samples = dataclasses.replace(samples, queries=samples.queries[:, :uniform], inside=samples.inside[:, :uniform])
        batches.append(draw_batch(samples, points, 2048, generator))
        made += len(samples.points)
    return batches


def _some_background(background: Tensor, generator: torch.Generator) -> Tensor:
    """Background points as a robot may have them: for a third of the batches none, else a random number; (N, M, 3)."""
    share = float(torch.rand(1, generator=generator)) * 1.5 - 0.5
    count = int(max(0.0, share) * background.shape[1]) // SIZE_STEP * SIZE_STEP
    picks = torch.randperm(background.shape[1], generator=generator)[:count].to(background.device)
    return background[:, picks]


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
