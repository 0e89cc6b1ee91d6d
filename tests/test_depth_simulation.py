"""The simulated depth camera of the training world, against Open3D and against the published noise."""

from __future__ import annotations

import numpy as np
import open3d as o3d
import pytest
import torch

from onet_ros.learning.camera import Cameras, SensorFaults, draw_faults, look_at_objects, sense
from onet_ros.learning.source import PointSource
from onet_ros.learning.tracing import enter_box
from onet_ros.learning.world import TABLE, WorldSettings, cut_out, make_samples, place_objects
from onet_ros.ray_casting import ray_scene
from onet_ros.surface import ExtractionSettings, extract_surface


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def no_faults(n, **faults):
    """A perfect sensor but for the faults named."""
    return SensorFaults(
        **{name: torch.full((n,), float(faults.get(name, 0.0))) for name in SensorFaults.__dataclass_fields__}
    )


@pytest.mark.parametrize("family", ["bottle", "cup", "stud_brick", "toy"])
def test_traced_depth_equals_ray_casting_of_the_same_objects_mesh(family):
    objects = place_objects(1, generator(1), families=[family])
    cameras = look_at_objects(objects.surface, 48, generator(2))
    origins = cameras.position.unsqueeze(1).expand_as(cameras.directions)
    near, far = enter_box(origins, cameras.directions, objects.low, objects.high)
    depth = objects.trace(origins, cameras.directions, near, far)[0].numpy()

    low, high = (objects.low[0] - 0.004).numpy(), (objects.high[0] + 0.004).numpy()
    settings = ExtractionSettings(start_resolution=64, doublings=1, max_triangles=0, min_body_fraction=0.0)
    mesh = extract_surface(lambda p: -objects.distance(p.unsqueeze(0))[0], low, high, 0.0, settings)
    rays = torch.cat([origins, cameras.directions], dim=2)[0].numpy().astype(np.float32)
    cast = ray_scene([mesh]).cast_rays(o3d.core.Tensor(rays))["t_hit"].numpy()
    both = np.isfinite(depth) & np.isfinite(cast)
    assert both.sum() > 150
    assert np.median(np.abs(depth[both] - cast[both])) < 0.0005
    # Silhouettes differ by the cells of the mesh and by the tolerance of the tracing.
    assert (np.isfinite(depth) != np.isfinite(cast)).mean() < 0.02


def flat_wall(depth=0.8, grid=48):
    """A camera straight in front of a wall."""
    ticks = (torch.arange(grid) - (grid - 1) / 2) / 600.0
    v, u = torch.meshgrid(ticks, ticks, indexing="ij")
    rays = torch.stack([u.flatten(), v.flatten(), torch.ones(grid * grid)], dim=1).unsqueeze(0)
    cameras = Cameras(torch.zeros(1, 3), torch.eye(3).unsqueeze(0), rays, torch.ones(1), torch.full((1,), 600.0))
    return torch.full((1, grid, grid), depth), cameras


def test_a_perfect_sensor_reports_the_depth():
    depth, cameras = flat_wall()
    assert torch.equal(sense(depth, torch.ones_like(depth), cameras, no_faults(1), generator()), depth)


def test_kinect_noise_has_the_published_spread():
    depth, cameras = flat_wall(0.9, grid=96)
    faults = no_faults(1, constant=0.0012, linear=0.0019)
    error = sense(depth, torch.ones_like(depth), cameras, faults, generator()) - depth
    assert error.std() == pytest.approx(0.0012 + 0.0019 * 0.5**2, rel=0.03)  # Nguyen 2012, eq. 3


def test_smooth_noise_keeps_its_spread_and_moves_neighbours_together():
    depth, cameras = flat_wall(0.9, grid=96)
    faults = no_faults(1, constant=0.002, smooth_share=0.9)
    stds, together = [], []
    for seed in range(8):
        error = sense(depth, torch.ones_like(depth), cameras, faults, generator(seed))[0] - depth[0]
        stds.append(float(error.std()))
        together.append(float(torch.corrcoef(torch.stack([error[:, :-1].flatten(), error[:, 1:].flatten()]))[0, 1]))
    assert np.mean(stds) == pytest.approx(0.002, rel=0.25)
    assert np.mean(together) > 0.6


def test_depth_comes_in_steps():
    depth, cameras = flat_wall(0.80037)
    measured = sense(depth, torch.ones_like(depth), cameras, no_faults(1, step=0.001), generator())
    assert measured.unique().tolist() == pytest.approx([0.8])


def test_grazing_surfaces_are_lost_and_facing_ones_kept():
    depth, cameras = flat_wall()
    faults = no_faults(1, edge_loss=0.5)
    for degrees, low, high in ((60, 0.0, 0.0), (79, 0.4, 0.6), (88, 1.0, 1.0)):
        incidence = torch.full_like(depth, np.cos(np.radians(degrees)))
        lost = sense(depth, incidence, cameras, faults, generator()).isnan().float().mean()
        assert low <= lost <= high


def test_pixels_at_a_depth_step_fly_or_are_lost():
    depth, cameras = flat_wall()
    depth[:, :, 24:] = 1.0
    lost = sense(depth, torch.ones_like(depth), cameras, no_faults(1, edge_loss=0.7), generator()).isnan()
    assert lost[:, :, 23:25].float().mean() == pytest.approx(0.7, abs=0.12)
    assert not lost[:, :, :23].any()
    assert not lost[:, :, 25:].any()
    flying = sense(depth, torch.ones_like(depth), cameras, no_faults(1, flying=0.9), generator())
    between = (flying > 0.81) & (flying < 0.99)
    assert between[:, :, 23:25].float().mean() > 0.6
    assert not between[:, :, :23].any()


def test_the_second_eye_cannot_see_behind_a_foreground_edge():
    depth, cameras = flat_wall(grid=96)
    depth[:] = 1.0
    depth[:, :, 60:] = 0.6
    lost = sense(depth, torch.ones_like(depth), cameras, no_faults(1, shadow=1.0), generator()).isnan()[0]
    width = 600.0 * 0.055 * (1 / 0.6 - 1 / 1.0)  # pixels: difference of the disparities
    assert lost.sum(dim=1).float().mean() == pytest.approx(width, abs=1.5)  # whole pixels
    assert lost[:, 59].all()
    assert not lost[:, 60:].any()


def test_faults_of_strength_zero_are_none():
    faults = draw_faults(50, generator(), "cpu", strength=0.0)
    for name in ("constant", "linear", "quadratic", "step", "edge_loss", "flying", "dropout", "patch_loss", "shadow"):
        assert not getattr(faults, name).any(), name


def test_a_faultless_cut_out_is_the_object_and_mistakes_stay_near_it():
    seen = torch.zeros(1, 32, 32, 3)
    label = torch.full((1, 32, 32), TABLE)
    label[:, 10:20, 10:20] = 2
    seen[..., 2] = (label == 2) * 0.05
    plane = torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    assert torch.equal(cut_out(seen, label, plane, 0.0, generator()), label == 2)
    for seed in range(20):
        mask = cut_out(seen, label, plane, 1.0, generator(seed))
        assert not mask[:, :7].any()
        assert not mask[:, 23:].any()
        assert mask.sum() > 30


@pytest.fixture(scope="module")
def samples():
    return make_samples(48, generator(0))


class TestSamples:
    def test_most_views_are_usable(self, samples):
        assert len(samples.points) > 36

    def test_all_numbers_are_finite(self, samples):
        for name in ("points", "background", "viewpoint", "scale", "queries"):
            assert torch.isfinite(getattr(samples, name)).all(), name

    def test_labels_have_both_sides(self, samples):
        half = samples.queries.shape[1] // 2
        share = samples.inside[:, :half].float().mean(dim=1)
        assert 0.02 < share.mean() < 0.3
        near = samples.inside[:, half:].float().mean()
        assert 0.3 < near < 0.6

    def test_the_camera_is_on_the_x_side_and_above(self, samples):
        assert (samples.viewpoint[:, 0] > 0).all()
        assert (samples.viewpoint[:, 2] > 0).all()
        assert (samples.viewpoint[:, 1].abs() < 0.2 * samples.viewpoint[:, 0]).all()

    def test_seen_points_lie_near_labelled_surface(self, samples):
        """Around most seen points both labels occur: the observation and the truth are in one frame."""
        good = 0
        for i in range(len(samples.points)):
            distance = torch.cdist(samples.points[i, :200], samples.queries[i])
            near = distance.topk(12, largest=False).indices
            labels = samples.inside[i][near].float().mean(dim=1)
            good += float(((labels > 0) & (labels < 1)).float().mean() > 0.5)
        assert good / len(samples.points) > 0.85

    def test_the_same_seed_gives_the_same_samples(self):
        small = WorldSettings(grid=24, queries=64, seen_points=64, background_points=16)
        a, b = (make_samples(6, generator(7), small) for _ in range(2))
        assert torch.equal(a.points, b.points)
        assert torch.equal(a.inside, b.inside)

    def test_a_batch_mirrors_points_and_queries_together(self, samples):
        batch = PointSource(WorldSettings()).draw(samples, 100, 200, generator(1))
        mirrored = batch.observation.viewpoint[:, 1] * samples.viewpoint[:, 1] < 0
        assert 0 < mirrored.sum() < len(mirrored)
        other_side = samples.points * torch.tensor([1.0, -1.0, 1.0])
        for row in mirrored.nonzero().flatten().tolist():
            known = {tuple(p) for p in other_side[row].tolist()}
            assert {tuple(p) for p in batch.observation.points[row].tolist()} <= known
