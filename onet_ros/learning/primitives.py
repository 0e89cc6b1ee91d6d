"""Signed distances of simple solids, batched in torch, and the operations that join them.

Every function takes query points `p` of shape (n, m, 3) (or (n, m, 2)), metres, and one set of parameters for each of
the n solids, and returns (n, m) metres: negative inside, zero on the surface. Each is 1-Lipschitz, so its value never
exceeds the distance to the surface and sphere tracing cannot step over it (Hart, The Visual Computer 1996); most are
exact outside. Formulas follow I. Quilez, "distance functions", unless another source is named.
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-12


def column(parameter: Tensor) -> Tensor:
    """(n,) parameter of n solids -> (n, 1), to be used against (n, m) distances."""
    return parameter.unsqueeze(1)


def sphere(p: Tensor, radius: Tensor) -> Tensor:
    """radius: (n,)."""
    return p.norm(dim=2) - column(radius)


def box(p: Tensor, half: Tensor, rounding: Tensor) -> Tensor:
    """half: (n, 3) half extents including the rounding; rounding: (n,) radius of edges and corners."""
    q = p.abs() - (half - rounding.unsqueeze(1)).unsqueeze(1)
    outside = q.clamp(min=0.0).norm(dim=2)
    inside = q.amax(dim=2).clamp(max=0.0)
    return outside + inside - column(rounding)


def ellipsoid(p: Tensor, half: Tensor) -> Tensor:
    """half: (n, 3) half axes. |p / half| is a norm of slope at most 1 / min(half): tight along that axis."""
    return ((p / half.unsqueeze(1)).norm(dim=2) - 1.0) * column(half.amin(dim=1))


def superquadric(p: Tensor, half: Tensor, exponent_xy: Tensor, exponent_z: Tensor) -> Tensor:
    """Superquadric with half axes `half` (n, 3) and norm exponents >= 1 (2 is an ellipsoid, 8 nearly a box); (n,) each.

    The gauge function is a norm, so (gauge - 1) times the smallest axis never exceeds the distance; for exponents under
    2 the norm equivalence costs a further factor of at most 3 ** (1/p - 1/2).
    """
    q = p.abs() / half.unsqueeze(1) + TINY
    exponent = column(exponent_xy)
    flat = (q[..., 0] ** exponent + q[..., 1] ** exponent) ** (1.0 / exponent)
    exponent = column(exponent_z)
    gauge = (flat**exponent + q[..., 2] ** exponent) ** (1.0 / exponent)
    smallest = torch.minimum(exponent_xy, exponent_z).clamp(max=2.0)
    bound = half.amin(dim=1) * 3.0 ** (0.5 - 1.0 / smallest)
    return (gauge - 1.0) * column(bound)


def cylinder(p: Tensor, radius: Tensor, half_height: Tensor, rounding: Tensor) -> Tensor:
    """Upright cylinder with rounded rims; radius, half_height (both including the rounding), rounding: (n,)."""
    radial = p[..., :2].norm(dim=2) - column(radius - rounding)
    axial = p[..., 2].abs() - column(half_height - rounding)
    outside = torch.hypot(radial.clamp(min=0.0), axial.clamp(min=0.0))
    return outside + torch.maximum(radial, axial).clamp(max=0.0) - column(rounding)


def torus(p: Tensor, radius: Tensor, thickness: Tensor) -> Tensor:
    """Ring in the xy plane; radius to the middle of the ring, thickness its own radius: (n,)."""
    return torch.hypot(p[..., :2].norm(dim=2) - column(radius), p[..., 2]) - column(thickness)


def polygon(q: Tensor, corners: Tensor) -> Tensor:
    """Exact distance to closed polygons in the plane.

    Args:
        q: (n, m, 2) metres.
        corners: (n, k, 2) metres, in either turning sense; repeated corners are harmless (padding).
    """
    squared = torch.full(q.shape[:2], torch.inf, device=q.device, dtype=q.dtype)
    sign = torch.ones_like(squared)
    x, y = q[..., 0], q[..., 1]
    k = corners.shape[1]
    for i in range(k):
        ax, ay = corners[:, i, 0:1], corners[:, i, 1:2]
        bx, by = corners[:, (i + 1) % k, 0:1], corners[:, (i + 1) % k, 1:2]
        ex, ey = bx - ax, by - ay
        wx, wy = x - ax, y - ay
        along = ((wx * ex + wy * ey) / (ex * ex + ey * ey + TINY)).clamp(0.0, 1.0)
        squared = torch.minimum(squared, (wx - ex * along) ** 2 + (wy - ey * along) ** 2)
        # The edge crosses the horizontal line through q to one side of q: the parity of such crossings is the sign.
        crosses = (ay <= y) != (by <= y)
        to_the_left = (ex * wy > ey * wx) == (by > ay)
        sign = torch.where(crosses & to_the_left, -sign, sign)
    return sign * torch.sqrt(squared + TINY)


def lathe(p: Tensor, profile: Tensor) -> Tensor:
    """Solid of revolution about z.

    Args:
        p: (n, m, 3) metres.
        profile: (n, k, 2) metres, (radius, z) corners of the half section from one end of the axis to the other (the
            first and last radius are 0 for a solid that the axis passes through); for a ring, a closed polygon off the
            axis.
    """
    q = torch.stack([p[..., :2].norm(dim=2), p[..., 2]], dim=2)
    # The closing edge along the axis is no surface: move it away to the other side.
    first, last = profile[:, :1].clone(), profile[:, -1:].clone()
    on_axis = (first[..., :1] == 0.0) & (last[..., :1] == 0.0)
    reach = profile[..., 0].amax(dim=1)[:, None, None]
    far_last = torch.cat([torch.where(on_axis, -reach, last[..., :1]), last[..., 1:]], dim=2)
    far_first = torch.cat([torch.where(on_axis, -reach, first[..., :1]), first[..., 1:]], dim=2)
    return polygon(q, torch.cat([profile, far_last, far_first], dim=1))


def extrusion(p: Tensor, corners: Tensor, half_height: Tensor, rounding: Tensor) -> Tensor:
    """Polygon (n, k, 2) in xy, pulled to z = +-half_height, all edges rounded outwards by `rounding` (n,)."""
    flat = polygon(p[..., :2], corners)
    return slab(flat, p[..., 2], half_height, rounding)


def slab(flat: Tensor, z: Tensor, half_height: Tensor, rounding: Tensor) -> Tensor:
    """Extrude a distance in the plane (n, m) to |z| <= half_height (rounding included); exact if `flat` is."""
    axial = z.abs() - column(half_height - rounding)
    outside = torch.hypot(flat.clamp(min=0.0), axial.clamp(min=0.0))
    return outside + torch.maximum(flat, axial).clamp(max=0.0) - column(rounding)


def round_cone(p: Tensor, a: Tensor, b: Tensor, radius_a: Tensor, radius_b: Tensor) -> Tensor:
    """Convex hull of two balls: centres a, b (n, 3), radii (n,); the larger ball may swallow the smaller.

    A point's nearest ball on the segment is found in the plane through the axis: the surface is the envelope of balls
    whose radius varies linearly, and the offset along the axis by the slope makes the distance exact.
    """
    axis = (b - a).unsqueeze(1)
    length = axis.norm(dim=2).clamp(min=1e-6)  # (n, 1)
    slope = column(radius_a - radius_b) / length
    offset = p - a.unsqueeze(1)
    along = (offset * axis).sum(dim=2) / length
    aside = (offset.square().sum(dim=2) - along.square()).clamp(min=0.0).sqrt()
    tilt = slope / (1.0 - slope.square()).clamp(min=1e-4).sqrt()
    centre = torch.minimum((along - aside * tilt).clamp(min=0.0), length)
    radius = column(radius_a) - slope * centre
    cone = torch.hypot(along - centre, aside) - radius
    ends = torch.minimum(sphere(offset, radius_a), sphere(p - b.unsqueeze(1), radius_b))
    return torch.where(slope.abs() < 0.999, cone, ends)


def sweep(p: Tensor, path: Tensor, radii: Tensor) -> Tensor:
    """Union of round cones along a polyline; path: (n, k, 3) metres, radii: (n, k)."""
    distance = round_cone(p, path[:, 0], path[:, 1], radii[:, 0], radii[:, 1])
    for i in range(1, path.shape[1] - 1):
        piece = round_cone(p, path[:, i], path[:, i + 1], radii[:, i], radii[:, i + 1])
        distance = torch.minimum(distance, piece)
    return distance


def union(*distances: Tensor) -> Tensor:
    """Lowest of the distances: exact outside if each is."""
    result = distances[0]
    for distance in distances[1:]:
        result = torch.minimum(result, distance)
    return result


def smooth_union(a: Tensor, b: Tensor, width: Tensor) -> Tensor:
    """Union with a fillet; width (n,) metres > 0. A convex combination of gradients: still 1-Lipschitz."""
    w = column(width)
    h = (w - (a - b).abs()).clamp(min=0.0) / w
    return torch.minimum(a, b) - h * h * w * 0.25


def difference(a: Tensor, b: Tensor) -> Tensor:
    """a without b."""
    return torch.maximum(a, -b)


def rotate_z(p: Tensor, angle: Tensor) -> Tensor:
    """Query points turned by -angle (n,) radians about z: the solid appears turned by +angle."""
    c, s = column(angle.cos()), column(angle.sin())
    return torch.stack([c * p[..., 0] + s * p[..., 1], c * p[..., 1] - s * p[..., 0], p[..., 2]], dim=2)


def swap_axes(p: Tensor, order: tuple[int, int, int]) -> Tensor:
    """Query points with permuted axes: a solid defined about z appears about another axis."""
    return p[..., list(order)]
