"""Procedural objects as signed distance fields: endless, batched, seeded, without files or meshes.

`draw_shapes` is the door: it picks a family for each object (see `families`), draws its parameters and answers signed
distances for the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onet_ros.learning.families import FAMILIES
from onet_ros.learning.solid import Draw, Solid

DistanceField = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ShapeBatch:
    """N objects, those of one family side by side.

    Attributes:
        groups: (family name, first row, end row, solid) of each family in the batch.
        reach: (N,) metres; a ball of this radius about the origin holds the object.
        upright: (N,) how likely each is put down standing.
    """

    groups: list[tuple[str, int, int, Solid]]
    reach: Tensor
    upright: Tensor

    def __len__(self) -> int:
        return len(self.reach)

    @property
    def names(self) -> list[str]:
        """The family of each row."""
        return [name for name, start, end, _ in self.groups for _ in range(start, end)]

    def distance(self, p: Tensor) -> Tensor:
        """(N, m, 3) metres, each object's own frame -> (N, m) metres, negative inside."""
        return torch.cat([solid.distance(p[start:end]) for _, start, end, solid in self.groups])


def draw_shapes(
    n: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    families: Sequence[str] | None = None,
) -> ShapeBatch:
    """n objects of randomly chosen families.

    Args:
        generator: a CPU generator; the same state gives the same objects on every device.
        families: names to choose from; all of them when None.

    Raises:
        ValueError: an unknown family.
    """
    names = sorted(FAMILIES) if families is None else list(families)
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise ValueError(f"unknown families {unknown}; known are {', '.join(sorted(FAMILIES))}")
    weights = torch.tensor([FAMILIES[name][1] for name in names])
    picks = torch.multinomial(weights, n, replacement=True, generator=generator).sort().values
    groups = []
    start = 0
    for index, name in enumerate(names):
        count = int((picks == index).sum())
        if count:
            solid = FAMILIES[name][0](Draw(count, generator, device))
            groups.append((name, start, start + count, solid))
            start += count
    reach = torch.cat([solid.reach for *_, solid in groups])
    upright = torch.cat([torch.full_like(solid.reach, solid.upright) for *_, solid in groups])
    return ShapeBatch(groups, reach, upright)
