"""What simulated things look like: colours and patterns of surfaces, gloss, glass, lights; batched in torch, seeded.

Colours are linear RGB, 0 to 1. A pattern is a function of the place alone (a solid texture), so that nothing needs
texture coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

WAVES = 5  # of which noise is made
LIGHTS = 3
SOLID, STRIPES, BLOTCHES, CHECKS, LABEL = range(5)


@dataclass(frozen=True)
class Materials:
    """Of N surfaces.

    Attributes:
        colours: (N, 3, 3) of the ground, the pattern and the finer print in the pattern.
        pattern: (N,) int64, SOLID to LABEL.
        axes: (N, WAVES, 3) directions times frequency, cycles per unit of length; phase: (N, WAVES).
        level: (N,) how much of the surface the pattern covers, -1 to 1.
        band: (N, 2) from where to where a label goes up the surface.
        grain: (N,) strength of fine irregularities.
        specular: (N,) strength, shininess: (N,) exponent of highlights (Blinn, SIGGRAPH 1977).
        mirror: (N,) share of the surroundings' reflection.
        opacity: (N,) 1 for all but glass.
    """

    colours: Tensor
    pattern: Tensor
    axes: Tensor
    phase: Tensor
    level: Tensor
    band: Tensor
    grain: Tensor
    specular: Tensor
    shininess: Tensor
    mirror: Tensor
    opacity: Tensor

    def albedo(self, p: Tensor) -> Tensor:
        """(N, m, 3) places, in units of the surface's size about its middle -> (N, m, 3) linear RGB."""
        waves = torch.sin(2.0 * math.pi * (p @ self.axes.transpose(1, 2)) + self.phase.unsqueeze(1))  # (N, m, WAVES)
        noise = waves.sum(dim=2) / math.sqrt(0.5 * WAVES)
        level = self.level.unsqueeze(1)
        stripes = waves[..., 0] + 0.3 * waves[..., 1]
        checks = waves[..., 0] * waves[..., 1]
        in_band = (p[..., 2] > self.band[:, :1]) & (p[..., 2] < self.band[:, 1:])
        covered = torch.stack(
            [torch.zeros_like(in_band), stripes > level, noise > level, checks > 0.3 * level, in_band], dim=2
        )
        chosen = covered.gather(2, self.pattern[:, None, None].expand(-1, p.shape[1], 1))
        print_ = ((self.pattern == LABEL).unsqueeze(1) & (waves[..., 2] * waves[..., 3] > 0.2)).unsqueeze(2)
        ground, other, third = (self.colours[:, None, i] for i in range(3))
        colour = torch.where(chosen, torch.where(print_, third, other), ground)
        grain = 1.0 + self.grain[:, None, None] * (waves[..., 4:] * waves[..., 3:4])
        return (colour * grain).clamp(0.0, 1.0)


def draw_materials(n: int, generator: torch.Generator, device: torch.device | str, glass: float = 0.0) -> Materials:
    """Surfaces of household things.

    Args:
        glass: probability that one can be seen through.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(n, *shape, generator=generator)).to(device)

    def chance(probability: float) -> Tensor:
        return (torch.rand(n, generator=generator) < probability).to(device)

    directions = torch.randn(n, WAVES, 3, generator=generator).to(device)
    directions = directions / directions.norm(dim=2, keepdim=True).clamp(min=1e-6)
    frequency = torch.exp(uniform(math.log(0.7), math.log(7.0), 1, 1)) * uniform(0.6, 1.6, WAVES, 1)
    low = uniform(-0.5, 0.2)
    shiny, mirroring, seen_through = chance(0.55), chance(0.15), chance(glass)
    return Materials(
        colours=_draw_colours(n, generator).to(device),
        pattern=torch.multinomial(torch.tensor([3.0, 1.0, 1.5, 0.5, 2.0]), n, replacement=True, generator=generator).to(
            device
        ),
        axes=directions * frequency,
        phase=uniform(0.0, 2.0 * math.pi, WAVES),
        level=uniform(-0.9, 0.9),
        band=torch.stack([low, low + uniform(0.15, 0.7)], dim=1),
        grain=uniform(0.0, 0.25) * chance(0.5),
        specular=uniform(0.05, 0.9) * shiny,
        shininess=torch.exp(uniform(math.log(5.0), math.log(150.0))),
        mirror=uniform(0.1, 0.8) * mirroring,
        opacity=torch.where(seen_through, uniform(0.1, 0.6), torch.ones(n, device=device)),
    )


def _draw_colours(n: int, generator: torch.Generator) -> Tensor:
    """(n, 3, 3) linear RGB: greys, pale and strong colours, black and white among them."""
    hue = torch.rand(n, 3, 1, generator=generator)
    strength = torch.rand(n, 3, 1, generator=generator) ** 1.5
    value = 0.02 + 0.9 * torch.rand(n, 3, 1, generator=generator) ** 1.6
    extreme = torch.rand(n, 3, 1, generator=generator)
    value = torch.where(extreme < 0.1, 0.03 * torch.ones_like(value), torch.where(extreme > 0.85, 0.85, value))
    shifts = torch.tensor([0.0, 1.0 / 3.0, 2.0 / 3.0])
    pure = (0.5 + 0.75 * torch.cos(2.0 * math.pi * (hue + shifts))).clamp(0.0, 1.0)
    return value * (1.0 - strength + strength * pure)


@dataclass(frozen=True)
class Lights:
    """Of N rooms.

    Attributes:
        directions: (N, LIGHTS, 3) unit vectors towards the lights; the first is the strongest and casts the shadows.
        colours: (N, LIGHTS, 3) linear RGB, irradiance of a surface that faces the light.
        sky, ground: (N, 3) linear RGB, from above and below.
        windows: (N, LIGHTS) how wide the lights look in a mirror, cosine.
        softness: (N,) of the shadow's edge.
    """

    directions: Tensor
    colours: Tensor
    sky: Tensor
    ground: Tensor
    windows: Tensor
    softness: Tensor

    def shade(
        self, albedo: Tensor, normal: Tensor, towards: Tensor, lit: Tensor, openness: Tensor, material: Materials
    ) -> Tensor:
        """Radiance towards the eye, linear RGB (N, m, 3).

        Args:
            albedo: (N, m, 3); normal: (N, m, 3) unit; towards: (N, m, 3) unit, to the eye.
            lit: (N, m) share of the first light that arrives; openness: (N, m) share of the surroundings' light.
            material: of the N surfaces.
        """
        up = 0.5 + 0.5 * normal[..., 2:]
        ambient = (self.sky.unsqueeze(1) * up + self.ground.unsqueeze(1) * (1.0 - up)) * openness.unsqueeze(2)
        diffuse, gloss = ambient, torch.zeros_like(ambient)
        for number in range(LIGHTS):
            direction, colour = self.directions[:, number].unsqueeze(1), self.colours[:, number].unsqueeze(1)
            arrives = lit.unsqueeze(2) if number == 0 else 1.0
            facing = (normal * direction).sum(dim=2, keepdim=True).clamp(min=0.0)
            diffuse = diffuse + colour * facing * arrives
            half = direction + towards
            half = half / half.norm(dim=2, keepdim=True).clamp(min=1e-6)
            shine = (normal * half).sum(dim=2, keepdim=True).clamp(min=0.0) ** material.shininess[:, None, None]
            gloss = gloss + colour * shine * arrives * (facing > 0.0)
        colour = albedo * diffuse + material.specular[:, None, None] * gloss
        mirrored = 2.0 * (normal * towards).sum(dim=2, keepdim=True) * normal - towards
        share = material.mirror[:, None, None] * openness.unsqueeze(2)
        return (1.0 - share) * colour + share * self.surroundings(mirrored)

    def surroundings(self, direction: Tensor) -> Tensor:
        """What is seen in unit directions (N, m, 3) when nothing is in the way, linear RGB (N, m, 3)."""
        up = (0.5 + 0.5 * direction[..., 2:]).clamp(0.0, 1.0)
        colour = self.sky.unsqueeze(1) * up + self.ground.unsqueeze(1) * (1.0 - up)
        for number in range(LIGHTS):
            cosine = (direction * self.directions[:, number].unsqueeze(1)).sum(dim=2, keepdim=True)
            window = ((cosine - self.windows[:, number, None, None]) / 0.05).clamp(0.0, 1.0)
            colour = colour + 2.0 * window * self.colours[:, number].unsqueeze(1)
        return colour


def draw_lights(n: int, generator: torch.Generator, device: torch.device | str) -> Lights:
    """Rooms with one to three lights in the upper half, from dull to hard."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(n, *shape, generator=generator)).to(device)

    directions = torch.randn(n, LIGHTS, 3, generator=generator).to(device)
    directions[..., 2] = directions[..., 2].abs() + 0.3
    directions = directions / directions.norm(dim=2, keepdim=True)
    strength = uniform(0.0, 1.0, LIGHTS, 1) * torch.tensor([1.0, 0.4, 0.4], device=directions.device)[:, None]
    warmth = uniform(-0.2, 0.2, LIGHTS, 1)
    tint = torch.cat([1.0 + warmth, torch.ones_like(warmth), 1.0 - warmth], dim=2)
    sky = uniform(0.15, 0.7, 1) * (1.0 + uniform(-0.15, 0.15, 3))
    return Lights(
        directions=directions,
        colours=strength * tint,
        sky=sky,
        ground=sky * uniform(0.2, 0.9, 1),
        windows=1.0 - torch.exp(uniform(math.log(0.01), math.log(0.2), LIGHTS)),
        softness=torch.exp(uniform(math.log(4.0), math.log(40.0))),
    )
