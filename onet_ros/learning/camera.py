"""A simulated depth camera: what a real one would see of an object among others on a table, faults included.

Frames: the world has z up and the table at z = 0; the camera looks at the object from the +x side. Depth is measured
along the optical axis, as sensors report it. All images are G x G rays that cover the object, each ray a pixel of the
sensor (or every k-th pixel of it, for objects that fill the image).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Focal lengths of common depth cameras at 640 x 480, pixels: Kinect v1, RealSense D415 and D435, Azure Kinect, Orbbec.
FOCAL_LENGTHS_PX = (525.0, 615.0, 385.0, 504.0, 570.0, 600.0)
BASELINE = 0.055  # metres between the eyes, or eye and projector


@dataclass(frozen=True)
class Cameras:
    """N cameras, each with a grid of G x G rays.

    Attributes:
        position: (N, 3) metres, world.
        rotation: (N, 3, 3) R_camera_world, rows are the optical axes x right, y down, z forward.
        directions: (N, G * G, 3) world; scaled so that one unit of it is one metre of depth.
        stride: (N,) sensor pixels from one ray to the next.
        focal_length: (N,) pixels.
    """

    position: Tensor
    rotation: Tensor
    directions: Tensor
    stride: Tensor
    focal_length: Tensor

    @property
    def grid(self) -> int:
        return math.isqrt(self.directions.shape[1])


def look_at_objects(points: Tensor, grid: int, generator: torch.Generator) -> Cameras:
    """Random cameras, 0.3 to 1.5 m away and 20 to 75 degrees up, whose rays cover N objects.

    Args:
        points: (N, P, 3) metres, world: the objects' surfaces.
        grid: rays along each side of the image.
    """
    n, device = len(points), points.device

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(n, generator=generator)).to(device)

    low, high = points.amin(dim=1), points.amax(dim=1)
    middle, size = (low + high) / 2.0, (high - low).norm(dim=1)
    elevation = uniform(math.radians(20.0), math.radians(75.0))
    away = torch.exp(uniform(math.log(0.3), math.log(1.5)))
    away = torch.maximum(away, 1.2 * size)  # an object has to fit into the image
    towards = torch.stack([elevation.cos(), torch.zeros_like(elevation), elevation.sin()], dim=1)
    position = middle + away[:, None] * towards
    rotation = optical_axes(-towards)
    picks = torch.randint(len(FOCAL_LENGTHS_PX), (n,), generator=generator)
    focal = torch.tensor(FOCAL_LENGTHS_PX)[picks].to(device)

    in_camera = (points - position.unsqueeze(1)) @ rotation.transpose(1, 2)
    pixels = in_camera[..., :2] / in_camera[..., 2:] * focal[:, None, None]
    low_px, high_px = pixels.amin(dim=1), pixels.amax(dim=1)
    span = (high_px - low_px).amax(dim=1) * 1.2 + 6.0
    stride = (span / grid).clamp(min=1.0)
    ticks = torch.arange(grid, device=device) - (grid - 1) / 2.0
    v, u = torch.meshgrid(ticks, ticks, indexing="ij")
    offsets = torch.stack([u, v], dim=2).view(1, -1, 2) * stride[:, None, None]
    pixels = ((low_px + high_px) / 2.0).unsqueeze(1) + offsets
    rays = torch.cat([pixels / focal[:, None, None], torch.ones_like(pixels[..., :1])], dim=2)
    return Cameras(position, rotation, rays @ rotation, stride, focal)


def optical_axes(forward: Tensor) -> Tensor:
    """(N, 3, 3) rows: right, down, forward, with the image's right side horizontal."""
    up = torch.tensor([0.0, 0.0, 1.0], device=forward.device).expand_as(forward)
    right = torch.linalg.cross(forward, up)
    right = right / right.norm(dim=1, keepdim=True)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)


@dataclass(frozen=True)
class SensorFaults:
    """How a depth sensor errs; each (N,), one draw per image.

    Attributes:
        constant, linear, quadratic: sigma_z = constant + linear (z - 0.4)^2 + quadratic z^2, metres.
        smooth_share: share of that noise that is correlated over several pixels.
        step: metres of depth quantisation, 0 for none.
        edge_loss: probability that a pixel beside a depth step is lost.
        flying: probability that a pixel beside a depth step floats between the two depths.
        dropout: probability that any pixel is lost.
        patch_loss: share of the image lost in patches (dark, shiny or wet surfaces).
        shadow: whether a second eye or projector sits beside the camera, -1, 0 or 1 for left, none, right.
    """

    constant: Tensor
    linear: Tensor
    quadratic: Tensor
    smooth_share: Tensor
    step: Tensor
    edge_loss: Tensor
    flying: Tensor
    dropout: Tensor
    patch_loss: Tensor
    shadow: Tensor


def draw_faults(n: int, generator: torch.Generator, device: torch.device | str, strength: float = 1.0) -> SensorFaults:
    """Faults of n sensors: structured light, stereo and time of flight, good units and poor ones.

    Args:
        strength: 0 for a perfect sensor, 1 for the full range.

    Sources: Kinect v1 sigma_z = 0.0012 + 0.0019 (z - 0.4)^2 m (Nguyen, Izadi and Lovell, 3DIMPVT 2012, eq. 3); stereo
    sigma_z = z^2 sigma_d / (f B) with a disparity error sigma_d of 0.03 to 0.15 px; time of flight about 1 mm,
    nearly constant under 1.5 m.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    kind = torch.randint(4, (n,), generator=generator)  # structured light, stereo, time of flight, nearly perfect
    zero = torch.zeros(n)
    quality = uniform(0.5, 1.4)
    constant = torch.stack([zero + 0.0012, zero + 0.0002, uniform(0.0006, 0.002), zero + 0.0002])
    linear = torch.stack([zero + 0.0019, zero, zero, zero])
    stereo = uniform(0.03, 0.15) / (600.0 * BASELINE)
    quadratic = torch.stack([zero, stereo, zero, zero])
    rows = torch.arange(n)
    some = (torch.rand(n, generator=generator) < 0.35).float()
    patches = (torch.rand(n, generator=generator) < 0.2).float()
    coarse = (torch.rand(n, generator=generator) < 0.6).float()
    faults = SensorFaults(
        constant=constant[kind, rows] * quality * strength,
        linear=linear[kind, rows] * quality * strength,
        quadratic=quadratic[kind, rows] * quality * strength,
        smooth_share=uniform(0.0, 0.9) * (kind != 3),
        step=0.001 * coarse * strength,
        edge_loss=uniform(0.0, 0.8) * strength,
        flying=uniform(0.0, 0.4) * some * strength,
        dropout=uniform(0.0, 0.04) * strength,
        patch_loss=uniform(0.02, 0.25) * patches * strength,
        shadow=(torch.randint(3, (n,), generator=generator).float() - 1.0) * float(strength > 0.0),
    )
    return SensorFaults(**{name: value.to(device) for name, value in vars(faults).items()})


def sense(
    depth: Tensor, incidence: Tensor, cameras: Cameras, faults: SensorFaults, generator: torch.Generator
) -> Tensor:
    """True depth images to what the sensor reports.

    Args:
        depth: (N, G, G) metres, inf where nothing is.
        incidence: (N, G, G) cosine between the ray and the surface normal, 0 to 1.

    Returns:
        (N, G, G) metres, nan where the sensor reports nothing.
    """
    n, grid = depth.shape[0], depth.shape[1]
    chance = torch.rand(4, n, grid, grid, generator=generator).to(depth.device)
    stride = cameras.stride[:, None, None]
    finite = torch.nan_to_num(depth, posinf=9.0)
    step, other_side = _depth_step(finite)
    at_edge = step > 0.01
    # Only the one or two sensor pixels at a step are touched; of rays every k-th pixel apart, one in k is such a pixel.
    mixed = at_edge & (chance[0] < faults.flying[:, None, None] / stride)
    measured = torch.where(mixed, finite + (other_side - finite) * chance[1], finite)
    measured = measured + _noise(finite, faults, generator)
    quantum = faults.step[:, None, None]
    measured = torch.where(quantum > 0.0, (measured / quantum.clamp(min=1e-6)).round() * quantum, measured)

    lost = depth.isinf() | (chance[2] < faults.dropout[:, None, None])
    lost |= at_edge & (chance[3] < faults.edge_loss[:, None, None] / stride)
    lost |= _grazing(incidence, generator) & (faults.edge_loss > 0.0)[:, None, None]
    lost |= _patches(n, grid, faults.patch_loss, generator)
    lost |= _shadow(finite, cameras, faults.shadow)
    return torch.where(lost, torch.nan, measured)


def _depth_step(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Largest depth difference to one of four neighbours, and that neighbour's depth; (N, G, G) each."""
    padded = F.pad(depth.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    neighbours = torch.stack([padded[:, 1:-1, :-2], padded[:, 1:-1, 2:], padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]])
    gaps = (neighbours - depth).abs()
    largest, which = gaps.max(dim=0)
    return largest, neighbours.gather(0, which.unsqueeze(0)).squeeze(0)


def _noise(depth: Tensor, faults: SensorFaults, generator: torch.Generator) -> Tensor:
    """(N, G, G) metres of noise, partly correlated over about six rays."""
    n, grid = depth.shape[0], depth.shape[1]
    sigma = (
        faults.constant[:, None, None]
        + faults.linear[:, None, None] * (depth - 0.4).square()
        + faults.quadratic[:, None, None] * depth.square()
    )
    fine = torch.randn(n, grid, grid, generator=generator).to(depth.device)
    share = faults.smooth_share[:, None, None]
    return sigma * (
        share.sqrt() * _smooth_field(n, grid, grid // 6, generator).to(depth.device) + (1.0 - share).sqrt() * fine
    )


def _smooth_field(n: int, grid: int, knots: int, generator: torch.Generator) -> Tensor:
    """(N, G, G) of about unit variance, varying over G / knots rays."""
    coarse = torch.randn(n, 1, max(knots, 2), max(knots, 2), generator=generator)
    return 1.3 * F.interpolate(coarse, size=(grid, grid), mode="bicubic", align_corners=False).squeeze(1)


def _grazing(incidence: Tensor, generator: torch.Generator) -> Tensor:
    """Pixels lost because the surface is seen edge-on: none up to 72 degrees of incidence, all at 86."""
    angle = torch.rad2deg(torch.arccos(incidence.clamp(0.0, 1.0)))
    return torch.rand(incidence.shape, generator=generator).to(incidence.device) < (angle - 72.0) / 14.0


def _patches(n: int, grid: int, share: Tensor, generator: torch.Generator) -> Tensor:
    """(N, G, G) bool: blotches covering about `share` of the image."""
    field = _smooth_field(n, grid, 6, generator).to(share.device)
    level = torch.distributions.Normal(0.0, 1.0).icdf(share.clamp(1e-6, 1.0 - 1e-6))
    return (field < level[:, None, None]) & (share > 0.0)[:, None, None]


def _shadow(depth: Tensor, cameras: Cameras, side: Tensor) -> Tensor:
    """Pixels that the second eye or projector cannot see past something nearer.

    Disparity f B / z says where a point lands for the other eye. A pixel is hidden if k rays beside it, towards the
    other eye's shift, something has at least k rays' worth more disparity.
    """
    grid = depth.shape[2]
    disparity = (cameras.focal_length * BASELINE / cameras.stride)[:, None, None] / depth
    mirrored = (side < 0.0)[:, None, None]
    seen = torch.where(mirrored, disparity.flip(2), disparity)
    hidden = torch.zeros_like(seen, dtype=torch.bool)
    for k in range(1, min(24, grid)):
        hidden[:, :, :-k] |= seen[:, :, k:] - seen[:, :, :-k] >= k
    hidden = torch.where(mirrored, hidden.flip(2), hidden)
    return hidden & (side != 0.0)[:, None, None]
