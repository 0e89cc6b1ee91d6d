"""Procedural objects as meshes, to look at: the world's shapes as they come to rest on its table."""

from __future__ import annotations

import torch
import trimesh
from torch import Tensor

from onet_ros.learning.families import FAMILIES
from onet_ros.learning.pool import SHEET_STREAM, stream_generator
from onet_ros.learning.world import place_objects
from onet_ros.surface import ExtractionSettings, extract_surface

# 192 cells along the longest edge: 1 mm for 20 cm, so that walls of 2 mm are two cells thick.
SETTINGS = ExtractionSettings(
    start_resolution=48, doublings=2, refinement_steps=0, max_triangles=0, min_body_fraction=0.0
)


def family_counts(count: int) -> dict[str, int]:
    """How many objects of each family: shares by how often training draws them, and one of each if there is room."""
    least = 1 if count >= len(FAMILIES) else 0
    total = sum(weight for _, weight in FAMILIES.values())
    shares = {name: (count - least * len(FAMILIES)) * weight / total for name, (_, weight) in FAMILIES.items()}
    counts = {name: least + int(share) for name, share in shares.items()}
    largest_remainders = sorted(shares, key=lambda name: int(shares[name]) - shares[name])
    for name in largest_remainders[: count - sum(counts.values())]:
        counts[name] += 1
    return counts


def shape_meshes(count: int, seed: int = 0) -> list[tuple[str, trimesh.Trimesh]]:
    """Family and mesh of each object, those of a family side by side; metres, resting on z = 0, z up.

    The n-th object of a family is the same in every list that has one.
    """
    return [
        (name, shape_mesh(name, stream_generator(seed, SHEET_STREAM, 1000 * list(FAMILIES).index(name) + number)))
        for name, own in family_counts(count).items()
        for number in range(own)
    ]


def resting_size(mesh: trimesh.Trimesh) -> tuple[float, float, float]:
    """Length and width of the smallest upright box about it, and its height; metres."""
    width, length = sorted(trimesh.bounds.oriented_bounds_2D(mesh.vertices[:, :2])[1])
    return float(length), float(width), float(mesh.extents[2])


@torch.no_grad()
def shape_mesh(family: str, generator: torch.Generator) -> trimesh.Trimesh:
    """The closed mesh of one object of a family at rest; metres, resting on z = 0."""
    placed = place_objects(1, generator, families=[family])
    low, high = placed.low[0], placed.high[0]
    middle, half = (low + high) / 2.0, 0.52 * float((high - low).max())

    def field(points: Tensor) -> Tensor:
        return -placed.distance(points.unsqueeze(0)).squeeze(0)

    seeds = placed.surface[0].numpy()
    return extract_surface(field, (middle - half).numpy(), (middle + half).numpy(), 0.0, SETTINGS, seeds=seeds)
