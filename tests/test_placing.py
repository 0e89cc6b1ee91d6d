"""How objects come to rest: on a stable side, on the table and not in it."""

from __future__ import annotations

import math

import pytest
import torch

from onet_ros.learning import primitives as sd
from onet_ros.learning.placing import rotation_with_down, settle, starting_directions, surface_points
from onet_ros.learning.world import place_objects


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def one(value):
    return torch.tensor([value])


def cuboid(p):
    return sd.box(p, torch.tensor([[0.03, 0.05, 0.08]]), one(0.001))


def test_surface_points_lie_on_the_surface():
    points = surface_points(cuboid, one(0.11), 400, generator())
    assert cuboid(points).abs().max() < 5e-4


@pytest.mark.parametrize("seed", range(6))
def test_a_box_settles_on_a_face(seed):
    points = surface_points(cuboid, one(0.11), 600, generator())
    start = torch.randn(1, 3, generator=generator(seed))
    down = settle(points, start / start.norm(dim=1, keepdim=True))
    assert down.abs().max() > math.cos(math.radians(2.5))


def test_a_standing_bottle_stays_and_a_leaning_one_falls():
    def bottle(p):
        return sd.cylinder(p, one(0.03), one(0.1), one(0.001))

    points = surface_points(bottle, one(0.12), 800, generator())
    stays = settle(points, torch.tensor([[0.0, 0.0, -1.0]]))
    assert stays[0, 2] < -math.cos(math.radians(3.0))
    leaning = torch.tensor([[math.sin(1.0), 0.0, -math.cos(1.0)]])
    assert settle(points, leaning)[0, 2].abs() < math.sin(math.radians(3.0))


def test_rotation_turns_down_to_minus_z():
    down = torch.nn.functional.normalize(torch.randn(20, 3, generator=generator()), dim=1)
    rotation = rotation_with_down(down, torch.rand(20, generator=generator()))
    turned = (rotation @ down.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(turned, torch.tensor([0.0, 0.0, -1.0]).expand(20, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(20))


def test_upright_share_is_kept():
    starts = starting_directions(torch.full((4000,), 0.6), generator())
    assert (starts[:, 2] < -0.9999).float().mean() == pytest.approx(0.6, abs=0.04)


def test_placed_objects_touch_the_table_and_do_not_sink_into_it():
    objects = place_objects(40, generator(3))
    g = generator(4)
    flat = objects.low[:, None, :2] + torch.rand(40, 4000, 2, generator=g) * (objects.high - objects.low)[:, None, :2]
    below = torch.cat([flat, torch.full((40, 4000, 1), -0.0015)], dim=2)
    assert (objects.distance(below) > 0.0).float().mean() > 0.9999
    lowest = objects.surface[..., 2].amin(dim=1)
    assert (lowest > -0.001).all()
    assert (lowest < 0.004).all()
