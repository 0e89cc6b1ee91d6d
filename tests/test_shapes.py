"""Procedural objects: true solids whose distance never oversteps, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onet_ros.learning.families import FAMILIES
from onet_ros.learning.metrics import points_inside
from onet_ros.learning.shapes import draw_shapes
from onet_ros.learning.solid import Draw
from onet_ros.surface import ExtractionSettings, extract_surface


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ball_points(reach, count, g):
    """(n, count, 3) in the balls that hold n solids."""
    direction = torch.randn(len(reach), count, 3, generator=g)
    direction = direction / direction.norm(dim=2, keepdim=True)
    return direction * torch.rand(len(reach), count, 1, generator=g) ** (1 / 3) * reach[:, None, None]


def test_there_are_at_least_fourteen_families():
    assert len(FAMILIES) >= 14


@pytest.mark.parametrize("name", FAMILIES)
class TestEveryFamily:
    def test_no_step_of_its_distance_crosses_the_surface(self, name):
        """Anywhere within |d| of a point there is the same side: sphere tracing cannot overshoot."""
        g = generator(1)
        solid = FAMILIES[name][0](Draw(12, g))
        p = ball_points(1.3 * solid.reach, 1500, g)
        d = solid.distance(p)
        for _ in range(4):
            direction = torch.randn(p.shape, generator=g)
            step = 0.999 * d.abs().unsqueeze(2) * direction / direction.norm(dim=2, keepdim=True)
            crossed = (solid.distance(p + step) < 0.0) != (d < 0.0)
            # 20 micrometres of rounding in float32 and in the epsilon under square roots.
            assert not (crossed & (d.abs() > 2e-5)).any()

    def test_it_fits_into_its_reach(self, name):
        g = generator(2)
        solid = FAMILIES[name][0](Draw(24, g))
        direction = torch.randn(24, 800, 3, generator=g)
        shell = direction / direction.norm(dim=2, keepdim=True) * solid.reach[:, None, None]
        assert (solid.distance(shell) > -1e-4).all()

    def test_it_has_an_inside_and_a_real_size(self, name):
        g = generator(3)
        solid = FAMILIES[name][0](Draw(8, g))
        inside = solid.distance(ball_points(solid.reach, 60_000, g)) < 0.0
        assert inside.any(dim=1).all()
        assert (solid.reach > 0.01).all()
        assert (solid.reach < 0.40).all()  # at most 80 cm across, handles and all; most are far smaller

    def test_its_sign_is_that_of_a_closed_mesh_of_it(self, name):
        g = generator(4)
        solid = FAMILIES[name][0](Draw(1, g))
        reach = float(solid.reach[0])

        def field(points):
            return -solid.distance(points.unsqueeze(0)).squeeze(0)

        settings = ExtractionSettings(
            start_resolution=48, doublings=1, refinement_steps=0, max_triangles=0, min_body_fraction=0.0
        )
        mesh = extract_surface(field, [-1.05 * reach] * 3, [1.05 * reach] * 3, 0.0, settings)
        assert mesh.is_watertight
        points = ball_points(solid.reach, 20_000, g)
        distance = solid.distance(points)[0].numpy()
        clear = np.abs(distance) > 0.5 * 2.1 * reach / 96  # thinner than half a cell the mesh cannot know
        agree = points_inside(mesh, points[0].numpy())[clear] == (distance < 0.0)[clear]
        assert agree.mean() > 0.998


def test_sizes_are_those_of_things_that_robots_grasp():
    shapes = draw_shapes(600, generator(0))
    longest = 2.0 * shapes.reach
    assert 0.08 < longest.median() < 0.30
    assert (longest > 0.03).float().mean() > 0.98


def test_the_same_seed_gives_the_same_objects():
    p = torch.rand(20, 50, 3, generator=generator(9)) * 0.1
    a, b = (draw_shapes(20, generator(5)).distance(p) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, draw_shapes(20, generator(6)).distance(p))


def test_families_can_be_chosen_and_unknown_ones_are_named():
    assert set(draw_shapes(10, generator(0), families=["bowl", "cup"]).names) <= {"bowl", "cup"}
    with pytest.raises(ValueError, match="'spaceship'"):
        draw_shapes(3, generator(0), families=["bowl", "spaceship"])
