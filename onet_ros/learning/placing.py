"""How objects come to rest on a table: points on their surface, and the pose they settle into."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onet_ros.learning.shapes import DistanceField

SETTLING_STEPS = 160


def surface_points(distance: DistanceField, reach: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Points on the surface of N objects, thinner parts and far ends favoured.

    Random points in the bounding ball walk down the distance along its gradient. Of two candidates each the better one
    is kept, so that walks which got stuck are rare.

    Returns:
        (N, count, 3) metres, the object's own frame.
    """
    n, device = len(reach), reach.device
    directions = torch.randn(n, count, 3, generator=generator).to(device)
    radius = torch.rand(n, count, 1, generator=generator).to(device) ** (1.0 / 3.0)
    p = directions / directions.norm(dim=2, keepdim=True).clamp(min=1e-9) * radius * reach[:, None, None]
    for _ in range(5):
        d, gradient = distance_and_gradient(distance, p)
        p = p - d.unsqueeze(2) * gradient / gradient.square().sum(dim=2, keepdim=True).clamp(min=0.2)
    error = distance(p).abs()
    # Walks that did not arrive give way to those that did, of the same object.
    order = error.argsort(dim=1)
    arrived = (error < 5e-4).sum(dim=1).clamp(min=8)
    slots = torch.arange(count, device=device)[None] % arrived[:, None]
    chosen = order.gather(1, slots)
    return p.gather(1, chosen.unsqueeze(2).expand(-1, -1, 3))


def distance_and_gradient(distance: DistanceField, p: Tensor) -> tuple[Tensor, Tensor]:
    """(N, m) signed distance and its (N, m, 3) gradient."""
    with torch.enable_grad():
        q = p.detach().requires_grad_(True)
        d = distance(q)
        (gradient,) = torch.autograd.grad(d.sum(), q)
    return d.detach(), torch.nan_to_num(gradient)


def settle(points: Tensor, down: Tensor) -> Tensor:
    """The direction that ends up pointing down when N bodies are let go on a table.

    A body at rest has its centre of mass as low as it gets nearby: the resting directions are the local minima over the
    unit sphere of the support function h(d) = max_i (p_i - c) . d, the height of the centre c over the table when d
    points down. A subgradient walk with shrinking steps rolls there.

    Args:
        points: (N, P, 3) metres on the surface; their mean stands for the centre of mass.
        down: (N, 3) unit directions to start from.

    Returns:
        (N, 3) unit directions.
    """
    centred = points - points.mean(dim=1, keepdim=True)
    size = centred.norm(dim=2).amax(dim=1, keepdim=True)
    centred = centred / size.unsqueeze(2)
    for i in range(SETTLING_STEPS):
        step = 0.08 * math.exp(-5.0 * i / SETTLING_STEPS)
        lowest = (centred @ down.unsqueeze(2)).squeeze(2).argmax(dim=1)
        contact = centred.gather(1, lowest[:, None, None].expand(-1, 1, 3)).squeeze(1)
        tangent = contact - (contact * down).sum(dim=1, keepdim=True) * down
        down = down - step * tangent / tangent.norm(dim=1, keepdim=True).clamp(min=1e-3)
        down = down / down.norm(dim=1, keepdim=True)
    return down


def lowest_along(distance: DistanceField, points: Tensor, down: Tensor, generator: torch.Generator) -> Tensor:
    """(N,) how far N bodies reach along unit directions `down`, to a fraction of a millimetre.

    Args:
        points: (N, P, 3) metres on the surface: their extreme is refined by scattering points about the lowest few and
            walking those to the surface.
    """
    count = 48
    order = (points @ down.unsqueeze(2)).squeeze(2).topk(4, dim=1).indices
    lowest = points.gather(1, order.unsqueeze(2).expand(-1, -1, 3)).repeat(1, count // 4, 1)
    scatter = torch.randn(len(points), count, 3, generator=generator).to(points.device) * 0.003
    p = lowest + scatter
    for _ in range(2):
        d, gradient = distance_and_gradient(distance, p)
        p = p - d.unsqueeze(2) * gradient / gradient.square().sum(dim=2, keepdim=True).clamp(min=0.2)
    reached = torch.where(distance(p).abs() < 5e-4, (p @ down.unsqueeze(2)).squeeze(2), -torch.inf)
    return torch.maximum(reached.amax(dim=1), (points @ down.unsqueeze(2)).squeeze(2).amax(dim=1))


def starting_directions(upright: Tensor, generator: torch.Generator) -> Tensor:
    """(N, 3) what points down when objects are let go: their bottom, now and then their top, or anything."""
    n = len(upright)
    anyhow = torch.randn(n, 3, generator=generator)
    anyhow = anyhow / anyhow.norm(dim=1, keepdim=True)
    standing = torch.tensor([0.0, 0.0, -1.0]).expand(n, 3)
    lot = torch.rand(n, generator=generator)[:, None]
    share = upright.cpu()[:, None]
    on_its_head = share + (1.0 - share) * 0.2
    chosen = torch.where(lot < share, standing, torch.where(lot < on_its_head, -standing, anyhow))
    return chosen.to(upright.device)


def rotation_with_down(down: Tensor, yaw: Tensor) -> Tensor:
    """(N, 3, 3) R_world_object that turns `down` (N, 3) to -z, then by `yaw` (N,) radians about z."""
    z = -down
    helper = torch.where(
        z[:, 2:].abs() < 0.9,
        torch.tensor([0.0, 0.0, 1.0], device=z.device),
        torch.tensor([1.0, 0.0, 0.0], device=z.device),
    )
    x = torch.linalg.cross(helper, z)
    x = x / x.norm(dim=1, keepdim=True)
    y = torch.linalg.cross(z, x)
    upright = torch.stack([x, y, z], dim=1)
    c, s, zero, one = yaw.cos(), yaw.sin(), torch.zeros_like(yaw), torch.ones_like(yaw)
    turn = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=1).view(-1, 3, 3)
    return turn @ upright
