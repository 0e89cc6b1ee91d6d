"""GPU kernels for telling bodies apart: which vertices are connected, and which lie near what was seen."""

from __future__ import annotations

import torch

from onet_ros.gpu_kernels import GpuKernels, jit, tl

SEEDS = 32  # that are looked at together
CHUNK = 1024  # points whose distances from all seeds are known at once, where there is no kernel

_kernels = GpuKernels("bodies are told apart operation by operation", block=128)


def connected(faces: torch.Tensor, vertices: int) -> torch.Tensor | None:
    """Faces (F, 3) int64 -> (V,) int64 the lowest vertex that each is connected with; None without kernels.

    Trees of vertices, each one's parent a lower one, are joined face by face, by all faces at once (union by the atomic
    minimum: Komura, GPU-based cluster-labeling algorithm without the use of conventional iteration, Computer Physics
    Communications, 2015).
    """
    if not _kernels.fit(faces):
        return None
    parents = torch.arange(vertices, dtype=torch.int32, device=faces.device)
    roots = torch.empty(vertices, dtype=torch.int64, device=faces.device)
    count = 2 * len(faces)
    if _kernels.launch(_unite, count, faces.contiguous(), parents, count) and _kernels.launch(
        _find, vertices, parents, roots, vertices
    ):
        return roots
    return None


def within_reach(
    points: torch.Tensor, objects: torch.Tensor, seeds: torch.Tensor, first_seeds: torch.Tensor, reach: torch.Tensor
) -> torch.Tensor:
    """(N,) bool, points with a seed of their object within reach, and those whose object has no seeds.

    Args:
        points: (N, 3) float64.
        objects: (N,) int64, from 0 to B - 1.
        seeds: (S, 3) float32, those of an object side by side.
        first_seeds: (B + 1,) int64, where each object's seeds begin, and where the last one's end.
        reach: (B,) float32.
    """
    if _kernels.fit(points):
        near = torch.empty(len(points), dtype=torch.bool, device=points.device)
        arguments = (points, objects, seeds, first_seeds, reach, near.view(torch.uint8), len(points))
        if _kernels.launch(_near, len(points), *arguments, SEEDS=SEEDS):
            return near
    counts = first_seeds.diff()
    of_seeds = torch.arange(len(counts), device=seeds.device).repeat_interleave(counts)
    parts = []
    for some, numbers in zip(points.float().split(CHUNK), objects.split(CHUNK), strict=True):
        distances = torch.cdist(some, seeds, compute_mode="donot_use_mm_for_euclid_dist")
        within = (distances <= reach[numbers, None]) & (numbers[:, None] == of_seeds)
        parts.append(within.any(dim=1) | (counts[numbers] == 0))
    return torch.cat(parts)


# ruff: noqa: ANN001, ANN202 - the arguments of a kernel are pointers, numbers and constants


@jit
def _root(parents, vertex, mask):  # type: ignore[no-untyped-def]
    """Up the tree to the top, past what other programs may just have put there: the cache would not know."""
    parent = tl.load(parents + vertex, mask, 0, cache_modifier=".cg")
    climbing = mask & (parent != vertex)
    while tl.max(climbing.to(tl.int32), axis=0) > 0:
        vertex = tl.where(climbing, parent, vertex)
        parent = tl.load(parents + vertex, climbing, 0, cache_modifier=".cg")
        climbing = climbing & (parent != vertex)
    return vertex


@jit
def _unite(faces, parents, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Two of each face's edges: the trees of both ends become one."""
    edge = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    active = edge < count
    corner = faces + 3 * (edge // 2) + edge % 2
    one, other = tl.load(corner, active, 0).to(tl.int32), tl.load(corner + 1, active, 0).to(tl.int32)
    while tl.max(active.to(tl.int32), axis=0) > 0:
        one, other = _root(parents, one, active), _root(parents, other, active)
        active = active & (one != other)
        low, high = tl.minimum(one, other), tl.maximum(one, other)
        before = tl.atomic_min(parents + high, low, active)
        # If it was not the top of its tree any more, that which was above it is still to be joined.
        active = active & (before != high)
        one, other = tl.where(active, before, low), low


@jit
def _find(parents, roots, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    vertex = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = vertex < count
    tl.store(roots + vertex, _root(parents, vertex, mask).to(tl.int64), mask)


@jit
def _near(  # type: ignore[no-untyped-def]
    points, objects, seeds, first_seeds, reach, near, count, SEEDS: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = row < count
    x = tl.load(points + 3 * row, mask, 0.0).to(tl.float32)
    y = tl.load(points + 3 * row + 1, mask, 0.0).to(tl.float32)
    z = tl.load(points + 3 * row + 2, mask, 0.0).to(tl.float32)
    owner = tl.load(objects + row, mask, 0)
    seed, end = tl.load(first_seeds + owner, mask, 0), tl.load(first_seeds + owner + 1, mask, 0)
    limit = tl.load(reach + owner, mask, 0.0)
    found = seed == end
    looking = mask & (seed < end)
    while tl.max(looking.to(tl.int32), axis=0) > 0:
        each = seed[:, None] + tl.arange(0, SEEDS)[None, :]
        there = looking[:, None] & (each < end[:, None])
        dx = tl.load(seeds + 3 * each, there, 0.0) - x[:, None]
        dy = tl.load(seeds + 3 * each + 1, there, 0.0) - y[:, None]
        dz = tl.load(seeds + 3 * each + 2, there, 0.0) - z[:, None]
        within = there & (dx * dx + dy * dy + dz * dz <= limit[:, None] * limit[:, None])
        found = found | (tl.max(within.to(tl.int32), axis=1) > 0)
        seed += SEEDS
        looking = looking & (seed < end) & (found == 0)
    tl.store(near + row, found.to(tl.uint8), mask)
