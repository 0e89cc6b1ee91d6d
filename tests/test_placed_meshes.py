"""Solid meshes on the simulated table: how they rest, and that camera and labels see what is there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import trimesh

from onet_ros.learning.camera import look_at_objects
from onet_ros.learning.placed_meshes import PlacedMesh, random_yaw, resting_poses
from onet_ros.learning.tracing import enter_box
from onet_ros.learning.world import WorldSettings, observe
from onet_ros.scene.unit_frame import UNIT_BOX

CAN = trimesh.creation.cylinder(radius=0.03, height=0.1, sections=48)
CLEAN = WorldSettings(grid=48, queries=1024, seen_points=512, background_points=128, sensor=0.0, neighbours=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def placed(mesh, n=4, seed=0):
    g = generator(seed)
    return PlacedMesh(mesh, "it", random_yaw(resting_poses(mesh).draw(n, g), g), g)


class TestRestingPoses:
    def test_a_can_stands_or_lies(self):
        poses = resting_poses(CAN)
        assert poses.probability.sum() == pytest.approx(1.0)
        assert poses.kind.max() == 1  # two kinds, however many sides the cylinder has
        heights = np.ptp(CAN.vertices @ poses.rotation.transpose(0, 2, 1), axis=1)[:, 2]
        np.testing.assert_allclose(heights[poses.kind == 0], 0.06, atol=1e-3)
        np.testing.assert_allclose(heights[poses.kind == 1], 0.1, atol=1e-3)

    def test_rare_kinds_are_drawn_oftener_than_things_fall_so(self):
        poses = resting_poses(CAN)
        standing = poses.probability[poses.kind == 1].sum()
        drawn = poses.draw(4000, generator())
        share = np.mean(np.ptp(CAN.vertices @ drawn.transpose(0, 2, 1), axis=1)[:, 2] > 0.08)
        assert share == pytest.approx(0.5 * standing + 0.25, abs=0.03)

    def test_a_tilted_mesh_comes_to_rest_all_the_same(self):
        tilted = CAN.copy()
        tilted.apply_transform(trimesh.transformations.random_rotation_matrix(np.array([0.1, 0.7, 0.4])))
        tilted.apply_translation((3.0, 0.0, 0.0))
        objects = placed(tilted)
        heights = objects.high[:, 2] - objects.low[:, 2]
        assert all(min(abs(h - 0.06), abs(h - 0.1)) < 1e-3 for h in heights.tolist())


class TestPlacedMesh:
    def test_it_stands_on_the_table_about_the_origin(self):
        objects = placed(CAN)
        torch.testing.assert_close(objects.low[:, 2], torch.zeros(4), atol=2e-4, rtol=0)
        torch.testing.assert_close(objects.low[:, :2], -objects.high[:, :2], atol=1e-6, rtol=0)
        assert (objects.surface >= objects.low.unsqueeze(1)).all()
        assert (objects.surface <= objects.high.unsqueeze(1)).all()

    def test_rays_meet_a_ball_where_geometry_says(self):
        ball = trimesh.creation.icosphere(subdivisions=4, radius=0.05)
        objects = placed(ball, 2)
        cameras = look_at_objects(objects.surface, 32, generator(1))
        origins = cameras.position.unsqueeze(1).expand_as(cameras.directions)
        near, far = enter_box(origins, cameras.directions, objects.low, objects.high)
        t = objects.trace(origins, cameras.directions, near, far)
        hits = origins + t.unsqueeze(2) * cameras.directions
        middle = torch.tensor([0.0, 0.0, 0.05])
        radius = (hits - middle).norm(dim=2)[t.isfinite()]
        assert len(radius) > 200
        torch.testing.assert_close(radius, torch.full_like(radius, 0.05), atol=2e-4, rtol=0)
        # What misses passes by outside.
        along = cameras.directions / cameras.directions.norm(dim=2, keepdim=True)
        foot = origins + ((middle - origins) * along).sum(dim=2, keepdim=True) * along
        assert ((foot - middle).norm(dim=2)[t.isinf()] > 0.0497).all()

    def test_labels_are_those_of_the_cylinder(self):
        objects = placed(CAN, 3)
        p = torch.rand(3, 4000, 3, generator=generator(2)) * 0.2 - torch.tensor([0.1, 0.1, 0.05])
        inside = objects.contains(p)
        for row in range(3):
            height = float(objects.high[row, 2])
            own = (p[row] - objects._offset[row]) @ objects._rotation[row]
            expected = (own[:, :2].norm(dim=1) < 0.03) & (own[:, 2].abs() < 0.05)
            assert (inside[row] != expected).float().mean() < 0.002
            assert not inside[row][(p[row, :, 2] < 0.0) | (p[row, :, 2] > height)].any()

    def test_labels_in_the_unit_frame_fill_the_volume(self):
        samples = observe(placed(CAN, 8), generator(3), dataclasses.replace(CLEAN, queries=40_000))
        assert len(samples.points) >= 6
        assert set(samples.families) == {"it"}
        uniform = samples.inside[:, :20_000].double().mean(dim=1)
        box = float(np.prod(np.subtract(UNIT_BOX[1], UNIT_BOX[0]))) * samples.scale.double() ** 3
        torch.testing.assert_close(uniform * box, torch.full_like(uniform, CAN.volume), rtol=0.15, atol=0.0)

    def test_the_same_generator_gives_the_same_samples(self):
        first, second = (observe(placed(CAN, 4, seed=5), generator(6), CLEAN) for _ in range(2))
        assert torch.equal(first.points, second.points)
        assert torch.equal(first.inside, second.inside)
