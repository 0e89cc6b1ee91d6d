"""Where training samples come from, by what the network observes: points, a picture or a voxel grid.

A `SampleSource` makes samples of one kind and draws batches from them; pool, trainer, validation and calibration know
no more of them than that. `sources.source_for` is the door.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from onet_ros.learning.world import Samples, WorldSettings, make_samples
from onet_ros.networks import AnyObservation, Observation

# Batches come in a few sizes only, so that memory freed by one serves another.
SIZE_STEP = 64


@dataclass(frozen=True)
class Batch:
    """What one training step sees: B observations with labelled queries (B, M, 3) and labels (B, M) float."""

    observation: AnyObservation
    queries: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> Batch:
        return Batch(self.observation.to(device), self.queries.to(device), self.labels.to(device))


class AnySamples(Protocol):
    """N samples of any kind: a dataclass of tensors with a row for each, and

    Attributes:
        queries: (N, Q, 3) float32, each object's own frame; the first half uniform in the box, the others near the
            surface.
        inside: (N, Q) bool, the labels.
        families: (N,) names.
    """

    @property
    def queries(self) -> Tensor: ...
    @property
    def inside(self) -> Tensor: ...
    @property
    def families(self) -> list[str]: ...


class SampleSource(Protocol):
    """Samples of one kind; equal sources give equal samples."""

    def make(self, n: int, generator: torch.Generator, device: torch.device | str) -> AnySamples:
        """About n samples; a few fewer where some come to nothing."""
        ...

    def draw(self, samples: Any, points: int, queries: int, generator: torch.Generator) -> Batch:
        """A batch of these samples, each varied at random in ways that leave the labels true.

        Args:
            points: seen points per sample; of no interest to networks that observe none.
            queries: labelled points per sample.
        """
        ...


S = TypeVar("S")


def sample_tensors(kind: type[Any]) -> list[str]:
    """Names of the tensors of a class of samples."""
    return [f.name for f in dataclasses.fields(kind) if f.name != "families"]


def gather_rows(chunks: Sequence[S], which: Sequence[int], rows: Sequence[int]) -> S:
    """Row rows[i] of chunks[which[i]], for each i, as samples of the same kind."""
    picks = list(zip(which, rows, strict=True))
    kind: Any = type(chunks[0])
    columns = {name: torch.stack([getattr(chunks[c], name)[r] for c, r in picks]) for name in sample_tensors(kind)}
    families: list[Any] = [chunk.families for chunk in chunks]  # type: ignore[attr-defined]  # every kind has them
    gathered: S = kind(families=[families[c][r] for c, r in picks], **columns)
    return gathered


def draw_queries(samples: AnySamples, queries: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(N, queries, 3) of each sample's queries, with repetition, and their labels (N, queries) float."""
    device = samples.queries.device
    picks = torch.randint(samples.queries.shape[1], (len(samples.families), queries), generator=generator).to(device)
    asked = samples.queries.gather(1, picks.unsqueeze(2).expand(-1, -1, 3))
    return asked, samples.inside.gather(1, picks).float()


def left_or_right(n: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """(n, 1, 1) of 1 and -1: which samples are mirrored."""
    return (torch.randint(2, (n, 1, 1), generator=generator) * 2 - 1).to(device)


@dataclass(frozen=True)
class PointSource:
    """What a depth camera saw of the simulated world."""

    world: WorldSettings

    def make(self, n: int, generator: torch.Generator, device: torch.device | str) -> Samples:
        return make_samples(n, generator, self.world, device)

    def draw(self, samples: Samples, points: int, queries: int, generator: torch.Generator) -> Batch:
        """Random subsets of the samples' points and queries, half of the samples mirrored left to right."""
        device = samples.points.device
        n = len(samples.points)
        point_picks = torch.randint(samples.points.shape[1], (n, points), generator=generator).to(device)
        asked, labels = draw_queries(samples, queries, generator)
        mirror = left_or_right(n, generator, device)
        side = torch.cat([torch.ones_like(mirror), mirror, torch.ones_like(mirror)], dim=2).float()
        seen = samples.points.gather(1, point_picks.unsqueeze(2).expand(-1, -1, 3)) * side
        around = _some_background(samples.background, generator) * side
        observation = Observation(seen, around, samples.viewpoint * side.squeeze(1), samples.scale)
        return Batch(observation, asked * side, labels)


def _some_background(background: Tensor, generator: torch.Generator) -> Tensor:
    """Background points as a robot may have them: for a third of the batches none, else a random number; (N, M, 3)."""
    share = float(torch.rand(1, generator=generator)) * 1.5 - 0.5
    count = int(max(0.0, share) * background.shape[1]) // SIZE_STEP * SIZE_STEP
    picks = torch.randperm(background.shape[1], generator=generator)[:count].to(background.device)
    return background[:, picks]
