"""Sphere tracing of batched distance fields (Hart, The Visual Computer 12, 1996)."""

from __future__ import annotations

import torch
from torch import Tensor

from onet_ros.learning.shapes import DistanceField

TOLERANCE = 3e-4  # metres: a ray this near the surface has arrived (and is put on it by a last step)
ROUND = 4  # steps between two sortings-out of finished rays


def sphere_trace(
    distance: DistanceField, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, steps: int = 48
) -> Tensor:
    """March N bundles of m rays to the surfaces of N objects.

    Args:
        distance: (N, k, 3) -> (N, k), a bound on the distance.
        origins: (N, m, 3) or broadcastable, metres.
        directions: (N, m, 3), any length; the result is measured in it.
        near, far: (N, m) where each ray enters and leaves the object's surroundings; rays with near >= far are not
            followed.
        steps: at most so many; a ray still on its way then has missed (it grazes a surface).

    Returns:
        (N, m) such that origin + t * direction is the hit; inf where there is none.
    """
    n, m = near.shape
    origins = origins.expand(n, m, 3)
    length = directions.norm(dim=2)
    result = torch.full_like(near, torch.inf)
    index = torch.arange(m, device=near.device).expand(n, m)
    t, alive = near.clone(), near < far
    for start in range(0, steps, ROUND):
        width = int(alive.sum(dim=1).max())
        if width == 0:
            break
        # Keep the rays that are still on their way, side by side; rows with fewer are padded with finished ones.
        order = alive.to(torch.uint8).topk(width, dim=1).indices
        index, t, alive = index.gather(1, order), t.gather(1, order), alive.gather(1, order)
        o = origins.gather(1, index.unsqueeze(2).expand(-1, -1, 3))
        d = directions.gather(1, index.unsqueeze(2).expand(-1, -1, 3))
        speed = 1.0 / length.gather(1, index)
        end = far.gather(1, index)
        for _ in range(min(ROUND, steps - start)):
            gap = distance(o + t.unsqueeze(2) * d)
            arrived = alive & (gap < TOLERANCE)
            result.scatter_reduce_(1, index, torch.where(arrived, t + gap * speed, torch.inf), reduce="amin")
            alive = alive & ~arrived
            t = torch.where(alive, t + gap * speed, t)
            alive = alive & (t < end)
    return result


def enter_box(origins: Tensor, directions: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays cross an axis-aligned box: (N, m) near and far in units of the direction; near >= far for a miss.

    Args:
        origins, directions: (N, m, 3), metres.
        low, high: (N, 3), metres.
    """
    inverse = 1.0 / torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a = (low.unsqueeze(1) - origins) * inverse
    b = (high.unsqueeze(1) - origins) * inverse
    near = torch.minimum(a, b).amax(dim=2).clamp(min=0.0)
    far = torch.maximum(a, b).amin(dim=2)
    return near, far
