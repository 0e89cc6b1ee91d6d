"""Many fields side by side give what each of them gives alone."""

from __future__ import annotations

import time

import analytic_fields as fields
import numpy as np
import pytest
import torch
from analytic_fields import LOWER, UPPER

from onet_ros.stopwatch import Stopwatch
from onet_ros.surface import (
    POINTS_ASKED,
    BatchField,
    ExtractionSettings,
    Field,
    Pace,
    SurfaceError,
    extract_surface,
    extract_surfaces,
    is_sound,
    sample_grid_mise,
    sample_grids_mise,
)

SHAPES = (fields.torus(0.3, 0.11), fields.cup(0.06), fields.gaussians(3), fields.sphere(0.4, (0.2, 0.1, -0.1)))
SETTINGS = ExtractionSettings(8, 2)


def side_by_side(*alone: Field) -> BatchField:
    """Fields in one, which insists that the points of an object come side by side."""

    def batch(points: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
        numbers, counts = torch.unique_consecutive(objects, return_counts=True)
        assert len(numbers.unique()) == len(numbers)
        parts = points.split(counts.tolist())
        return torch.cat([alone[number](part) for number, part in zip(numbers.tolist(), parts, strict=True)])

    return batch


def boxes(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.tile(LOWER, (count, 1)), np.tile(UPPER, (count, 1))


def test_a_batch_equals_its_objects_one_at_a_time():
    grids = sample_grids_mise(side_by_side(*SHAPES), *boxes(4), 0.0, SETTINGS)
    asked = 0
    for number, shape in enumerate(SHAPES):
        alone, own = sample_grid_mise(shape, LOWER, UPPER, 0.0, SETTINGS), grids[number]
        assert torch.equal(own.crossed_cells, alone.crossed_cells)
        assert torch.equal(own.asked, alone.asked)
        assert torch.equal(own.samples[own.asked], alone.samples[alone.asked])
        assert own.points_asked == alone.points_asked
        asked += own.points_asked
    assert grids.points_asked == asked


def test_meshes_of_a_batch_equal_those_of_its_objects():
    settings = ExtractionSettings(8, 2, max_triangles=2000, gradient_steps=1)
    for found, shape in zip(extract_surfaces(side_by_side(*SHAPES), *boxes(4), 0.0, settings), SHAPES, strict=True):
        alone = extract_surface(shape, LOWER, UPPER, 0.0, settings)
        np.testing.assert_array_equal(found.mesh.faces, alone.faces)
        np.testing.assert_allclose(found.mesh.vertices, alone.vertices, rtol=0, atol=1e-7)


def test_every_object_has_its_own_box_and_seeds():
    plate = lambda p: fields.box((0.3, 0.25, 0.02))(p - torch.tensor([0.0, 0.0, 0.06]))  # noqa: E731
    lower, upper = np.array([LOWER, (-0.5, -0.5, -0.6), (-1.0, -1.0, -1.0)]), np.array([UPPER, UPPER, (1.0, 1.0, 1.0)])
    shapes = (fields.cup(), plate, fields.sphere(0.7))
    seeds = [[], [[0.1, 0.05, 0.08]], [[0.0, 0.0, 0.0]]]
    seeds[0] = np.zeros((0, 3))
    settings = ExtractionSettings(8, 3)
    grids = sample_grids_mise(side_by_side(*shapes), lower, upper, 0.0, settings, seeds=seeds)
    for number, shape in enumerate(shapes):
        alone = sample_grid_mise(shape, lower[number], upper[number], 0.0, settings, seeds=seeds[number])
        assert len(alone.crossed_cells)
        assert torch.equal(grids[number].crossed_cells, alone.crossed_cells)


def test_a_voxel_size_gives_a_thimble_and_a_pot_the_same_detail():
    settings = ExtractionSettings(8, 2, voxel_size=0.004, min_resolution=8, max_resolution=64)
    scales = [0.08, 0.16, 1.0]  # metres per unit, boxes of one unit
    grids = sample_grids_mise(side_by_side(*3 * [fields.sphere(0.4)]), *boxes(3), 0.0, settings, scales=scales)
    assert grids.lattice.resolutions == [20, 40, 64]
    for number, resolution in enumerate(grids.lattice.resolutions):
        alone = sample_grid_mise(fields.sphere(0.4), LOWER, UPPER, 0.0, ExtractionSettings(resolution // 4, 2))
        assert torch.equal(grids[number].crossed_cells, alone.crossed_cells)
        assert torch.equal(grids[number].samples[alone.asked], alone.samples[alone.asked])


def test_an_object_without_surface_does_not_take_the_others_along():
    empty = lambda points: torch.full_like(points[:, 0], -1.0)  # noqa: E731
    first, failed, last = extract_surfaces(side_by_side(SHAPES[0], empty, SHAPES[3]), *boxes(3), 0.0, SETTINGS)
    assert isinstance(failed, SurfaceError)
    assert "no surface" in str(failed)
    for found in (first, last):
        assert is_sound(found.mesh)
        assert is_sound(found.collision_mesh)


def test_a_watch_is_told_the_stages_and_the_points():
    watch = Stopwatch()
    grids = sample_grids_mise(side_by_side(*SHAPES), *boxes(4), 0.0, SETTINGS)
    extract_surfaces(side_by_side(*SHAPES), *boxes(4), 0.0, ExtractionSettings(8, 2, refinement_steps=0), watch=watch)
    stages = {"evaluate", "bookkeeping", "marching cubes", "bodies", "simplify", "refine", "collision"}
    assert stages == set(watch.seconds)
    assert watch.counts[POINTS_ASKED] == grids.points_asked


class TestTimeBudget:
    def slow(self, points: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
        time.sleep(1e-5 * len(points))  # 10 us a point
        return fields.sphere(0.4)(points)

    def run(self, budget: float, clouds: int = 3) -> list[tuple[int, float]]:
        """Resolution and seconds of each of a few clouds."""
        settings = ExtractionSettings(8, 3, time_budget=budget)
        pace, results = Pace(budget), []
        for _ in range(clouds):
            began = time.perf_counter()
            pace.begin()
            grids = sample_grids_mise(self.slow, *boxes(1), 0.0, settings, pace=pace)
            pace.end()
            results.append((grids.lattice.resolutions[0], time.perf_counter() - began))
        return results

    def test_a_large_budget_changes_nothing(self):
        assert [resolution for resolution, _ in self.run(100.0)] == [64, 64, 64]

    def test_a_small_budget_costs_resolution_and_is_kept(self):
        """64^3 takes 250 ms here, 32^3 60 ms, and the start grid alone 7 ms."""
        results = self.run(0.15)
        assert results[-1][0] in (8, 16, 32)  # a busy machine has less time
        assert results[-1][1] < 0.15

    def test_an_impossible_budget_leaves_the_start_grid(self):
        assert [resolution for resolution, _ in self.run(1e-4)] == [8, 8, 8]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_for_the_whole_batch(bad: float):
    broken = lambda points: torch.full_like(points[:, 0], bad)  # noqa: E731
    with pytest.raises(SurfaceError, match="non-finite"):
        extract_surfaces(side_by_side(SHAPES[0], broken), *boxes(2), 0.0, SETTINGS)
