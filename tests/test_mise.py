"""Multiresolution against dense sampling: the same surface, for few more values than its cells have corners."""

from __future__ import annotations

import itertools

import analytic_fields as fields
import numpy as np
import pytest
import torch
from analytic_fields import LOWER, UPPER
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from onet_ros.surface import (
    ExtractionSettings,
    Field,
    GridField,
    SurfaceError,
    extract_mesh,
    sample_grid_dense,
    sample_grid_mise,
    sample_grids_mise,
)
from onet_ros.surface.field import batch_of_one
from onet_ros.surface.grid import INSIDE, OUTSIDE, UNKNOWN, Lattice
from onet_ros.surface.grid_loops import LoopedGridOperations
from onet_ros.surface.grid_operations import GridOperations

SHAPES = {
    "sphere": fields.sphere(0.37),
    "off-centre sphere": fields.sphere(0.2, (0.13, -0.21, 0.08)),
    "torus": fields.torus(0.3, 0.11),
    "box with a hole": fields.box_with_hole(),
    "turned box": fields.box((0.3, 0.2, 0.25), turned=True),
    "two bodies": fields.two_bodies(),
    "cup": fields.cup(),
    "cut by the border": fields.sphere(0.4, (0.3, 0.3, -0.3)),
    "plate through the border": fields.box((0.9, 0.9, 0.1), turned=True),
}
GRIDS = [(8, 2), (16, 1), (16, 2), (8, 3), (32, 0)]


def assert_same_surface(grid: GridField, dense: GridField) -> None:
    """Same side at every corner, same crossed cells, same values wherever the field was asked."""
    assert torch.equal(grid.inside, dense.inside)
    assert torch.equal(grid.crossed_cells, dense.crossed_cells)
    # Not to the last bit: a matrix product may round otherwise in a longer list of points.
    torch.testing.assert_close(grid.samples[grid.asked], dense.samples[grid.asked], rtol=0, atol=1e-6)
    assert grid.asked[corners_of(dense.crossed_cells, grid.resolution)].all()


def corners_of(cells: torch.Tensor, resolution: int) -> torch.Tensor:
    """(R+1, R+1, R+1) bool: the corners in the box of the given cells."""
    padded = torch.zeros(3 * [resolution + 3], dtype=torch.bool)
    for offset in itertools.product((1, 2), repeat=3):
        x, y, z = (cells + torch.tensor(offset)).T
        padded[x, y, z] = True
    return padded[1:-1, 1:-1, 1:-1]


def crossed_edges(inside: np.ndarray) -> list[np.ndarray]:
    """For each axis the (E, 3) lower ends of edges with ends on opposite sides."""
    return [np.argwhere(np.diff(inside.astype(np.int8), axis=axis) != 0) for axis in range(3)]


def seen_cells(dense: GridField, stride: int) -> np.ndarray:
    """(M, 3) crossed cells in those pieces of surface that the start grid sees, from the dense grid alone.

    A piece is a set of cells connected by crossed edges. It is seen where it meets an edge of the start grid with ends
    on opposite sides, or an edge from a corner of the start grid on the border to the outside.
    """
    inside = np.pad(dense.inside.numpy(), 1)
    width = inside.shape[0]
    coarse = inside[1:-1:stride, 1:-1:stride, 1:-1:stride]
    edge_of, cell_of, seen_edges, count = [], [], [], 0
    for axis, lower_ends in enumerate(crossed_edges(inside)):
        numbers = count + np.arange(len(lower_ends))
        count += len(lower_ends)
        others = [other for other in range(3) if other != axis]
        for shifts in itertools.product((0, -1), repeat=2):
            cells = lower_ends.copy()
            cells[:, others] += shifts
            edge_of.append(numbers)
            cell_of.append(np.ravel_multi_index(cells.T, inside.shape))
        position = lower_ends - 1
        on_start_line = (position[:, others] % stride == 0).all(axis=1)
        along = position[:, axis]
        beyond = on_start_line & ((along == -1) | (along == width - 3))
        start = np.clip(position, 0, width - 4)
        start[:, axis] = start[:, axis] // stride * stride
        ends = start // stride
        next_ends = ends.copy()
        next_ends[:, axis] += 1
        next_ends = np.minimum(next_ends, coarse.shape[0] - 1)
        opposite = coarse[tuple(ends.T)] != coarse[tuple(next_ends.T)]
        seen_edges.append(numbers[beyond | (on_start_line & opposite)])
    cells, cell_numbers = np.unique(np.concatenate(cell_of), return_inverse=True)
    graph = coo_matrix(
        (np.ones(len(cell_numbers)), (np.concatenate(edge_of), count + cell_numbers.ravel())),
        shape=2 * (count + len(cells),),
    )
    _, pieces = connected_components(graph, directed=False)
    seen = np.isin(pieces[count:], pieces[np.concatenate(seen_edges)])
    return np.column_stack(np.unravel_index(cells[seen], inside.shape)) - 1


@pytest.mark.parametrize(("start", "doublings"), GRIDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_mise_equals_dense_grid(shape: str, start: int, doublings: int):
    settings = ExtractionSettings(start_resolution=start, doublings=doublings)
    grid = sample_grid_mise(SHAPES[shape], LOWER, UPPER, 0.0, settings)
    dense = sample_grid_dense(SHAPES[shape], LOWER, UPPER, 0.0, settings)
    assert_same_surface(grid, dense)
    assert dense.points_asked == (settings.resolution + 1) ** 3


@pytest.mark.parametrize(("start", "doublings"), GRIDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_approaching_by_levels_finds_the_same_surface_in_fewer_rounds(shape: str, start: int, doublings: int):
    settings = ExtractionSettings(start, doublings)
    boxes = np.array([LOWER]), np.array([UPPER])
    field = batch_of_one(SHAPES[shape])
    followed, levels = (sample_grids_mise(field, *boxes, 0.0, settings, by_levels=way) for way in (False, True))
    assert torch.equal(levels.cells, followed.cells)
    both = (levels.sides != UNKNOWN) & (followed.sides != UNKNOWN)
    assert torch.equal(levels.sides[both], followed.sides[both])
    assert levels.rounds <= followed.rounds
    assert_same_surface(levels[0], sample_grid_dense(SHAPES[shape], LOWER, UPPER, 0.0, settings))


def test_levels_find_thin_plates_by_their_seeds():
    plate = lambda p: fields.box((0.3, 0.25, 0.02))(p - torch.tensor([0.0, 0.0, 0.06]))  # noqa: E731
    boxes, settings = (np.array([LOWER]), np.array([UPPER])), ExtractionSettings(8, 3)
    seeds = [np.array([[0.1, 0.05, 0.08]])]
    assert not len(sample_grids_mise(batch_of_one(plate), *boxes, 0.0, settings, by_levels=True).cells)
    levels = sample_grids_mise(batch_of_one(plate), *boxes, 0.0, settings, seeds=seeds, by_levels=True)
    assert torch.equal(levels[0].crossed_cells, sample_grid_dense(plate, LOWER, UPPER, 0.0, settings).crossed_cells)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("start", "doublings"), [(8, 2), (6, 3)])
def test_mise_finds_exactly_the_pieces_its_start_grid_sees_in_random_fields(seed: int, start: int, doublings: int):
    settings = ExtractionSettings(start_resolution=start, doublings=doublings)
    field = fields.gaussians(seed, count=40, width=0.04)
    grid = sample_grid_mise(field, LOWER, UPPER, 0.1, settings)
    dense = sample_grid_dense(field, LOWER, UPPER, 0.1, settings)
    expected = seen_cells(dense, 1 << doublings)
    assert len(expected) > 100
    np.testing.assert_array_equal(grid.crossed_cells.numpy(), expected)
    assert grid.asked[corners_of(grid.crossed_cells, grid.resolution)].all()
    # Not to the last bit: a matrix product may round otherwise in a longer list of points.
    torch.testing.assert_close(grid.samples[grid.asked], dense.samples[grid.asked], rtol=0, atol=1e-6)


def test_random_fields_of_the_tests_do_hide_pieces_from_a_coarse_start():
    """So that the test above tells 'seen' from 'all'."""
    settings = ExtractionSettings(start_resolution=8, doublings=2)
    hidden = 0
    for seed in range(6):
        dense = sample_grid_dense(fields.gaussians(seed, count=40, width=0.04), LOWER, UPPER, 0.1, settings)
        hidden += len(seen_cells(dense, 4)) < len(dense.crossed_cells)
    assert hidden >= 3


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_asked_but_start_grid_crossed_start_edges_and_corners_of_crossed_cells(shape: str):
    settings = ExtractionSettings(start_resolution=16, doublings=2)
    grid = sample_grid_mise(SHAPES[shape], LOWER, UPPER, 0.0, settings)
    useful = corners_of(grid.crossed_cells, grid.resolution)
    useful[::4, ::4, ::4] = True
    coarse = grid.inside[::4, ::4, ::4]
    for axis in range(3):
        count = coarse.shape[axis] - 1
        start_edges = (coarse.narrow(axis, 0, count) != coarse.narrow(axis, 1, count)).nonzero() * 4
        for step in range(1, 4):
            x, y, z = (start_edges + step * torch.eye(3, dtype=torch.int64)[axis]).T
            useful[x, y, z] = True
    assert not (grid.asked & ~useful).any()
    assert int(grid.asked.sum()) == grid.points_asked


@pytest.mark.parametrize("shape", ["sphere", "torus", "box with a hole", "turned box", "cup"])
def test_points_asked_at_128_cells_are_the_start_grid_and_little_more_than_the_corners_of_crossed_cells(shape: str):
    grid = sample_grid_mise(SHAPES[shape], LOWER, UPPER, 0.0, ExtractionSettings(start_resolution=32, doublings=2))
    needed = int(corners_of(grid.crossed_cells, grid.resolution).sum())
    assert grid.points_asked <= 1.03 * needed + 33**3


def test_no_point_is_asked_twice_and_chunks_keep_their_size():
    calls = []

    def field(points: torch.Tensor) -> torch.Tensor:
        calls.append(points)
        return fields.cup()(points)

    grid = sample_grid_mise(field, LOWER, UPPER, 0.0, ExtractionSettings(16, 2, chunk_size=1000))
    asked = torch.cat(calls)
    assert len(torch.unique(asked, dim=0)) == len(asked) == grid.points_asked
    assert max(len(points) for points in calls) == 1000
    assert all(points.dtype == torch.float32 and points.shape[1] == 3 for points in calls)


def test_chunk_size_does_not_change_the_result():
    grids = [
        sample_grid_mise(fields.gaussians(3), LOWER, UPPER, 0.0, ExtractionSettings(8, 3, chunk_size=size))
        for size in (0, 77, 1_000_000)
    ]
    for grid in grids[1:]:
        assert torch.equal(grid.values, grids[0].values)
        assert torch.equal(grid.crossed_cells, grids[0].crossed_cells)


def test_grid_field_has_the_stated_types_and_geometry():
    field = fields.sphere(0.2, (1.0, 2.0, 3.0))
    grid = sample_grid_mise(field, (0.5, 1.7, 2.7), (1.5, 2.3, 3.5), 0.0, ExtractionSettings(8, 1))
    assert grid.samples.dtype == grid.values.dtype == torch.float32
    assert grid.asked.dtype == grid.inside.dtype == torch.bool
    assert grid.crossed_cells.dtype == torch.int64
    assert grid.samples.shape == grid.asked.shape == grid.values.shape == (17, 17, 17)
    assert grid.samples.untyped_storage().nbytes() == 4 * 17**3  # holds on to no work space
    assert grid.lower.dtype == grid.upper.dtype == np.float64
    assert grid.resolution == 16
    np.testing.assert_allclose(grid.voxel_size, [1 / 16, 0.6 / 16, 0.8 / 16])
    x, y, z = grid.asked.nonzero()[1234].tolist()
    corner = torch.tensor([[0.5 + x / 16, 1.7 + 0.6 * y / 16, 2.7 + 0.8 * z / 16]])
    assert grid.samples[x, y, z].item() == pytest.approx(field(corner).item(), abs=1e-6)


def test_unasked_corners_carry_a_value_from_their_side_of_the_surface():
    grid = sample_grid_mise(fields.cup(), LOWER, UPPER, 0.0, ExtractionSettings(16, 2))
    dense = sample_grid_dense(fields.cup(), LOWER, UPPER, 0.0, ExtractionSettings(16, 2))
    assert 0 < int(grid.asked.sum()) < grid.asked.numel()
    assert torch.equal(grid.values > 0, dense.samples > 0)
    assert torch.equal(grid.values[grid.asked], dense.samples[grid.asked])
    assert torch.isin(grid.values, grid.samples[grid.asked]).all()


def test_surface_bulging_into_a_start_cell_with_equal_corners_is_followed():
    """A pole from the floor that ends inside a start cell, seen by the start grid only at its foot."""
    pole = fields.union(fields.box((0.6, 0.6, 0.1)), fields.box((0.02, 0.02, 0.44)))
    shifted = lambda points: pole(points + 0.055)  # noqa: E731 - off the lines of the start grid
    settings = ExtractionSettings(start_resolution=8, doublings=3)
    grid = sample_grid_mise(shifted, LOWER, UPPER, 0.0, settings)
    assert_same_surface(grid, sample_grid_dense(shifted, LOWER, UPPER, 0.0, settings))


def hidden_plate() -> Field:
    """A plate thinner than a start cell of the grids below, between the planes of the start grid."""
    return lambda points: fields.box((0.3, 0.25, 0.02))(points - torch.tensor([0.0, 0.0, 0.06]))


def test_coarse_start_misses_a_thin_plate_and_one_seed_finds_all_of_it():
    settings = ExtractionSettings(start_resolution=8, doublings=3)
    with pytest.raises(SurfaceError, match=r"no surface: 729 field values from -.* to -.*, none above threshold 0"):
        extract_mesh(sample_grid_mise(hidden_plate(), LOWER, UPPER, 0.0, settings))
    seeded = sample_grid_mise(hidden_plate(), LOWER, UPPER, 0.0, settings, seeds=[[0.1, 0.05, 0.085]])
    dense = sample_grid_dense(hidden_plate(), LOWER, UPPER, 0.0, settings)
    assert_same_surface(seeded, dense)


def test_seeds_beside_a_thin_part_still_find_it():
    """Seen points are noisy: here they float a third of a start cell above the plate."""
    settings = ExtractionSettings(start_resolution=8, doublings=3)
    seeds = np.array([[x, y, 0.08 + 0.04] for x in (-0.2, 0.0, 0.2) for y in (-0.1, 0.1)])
    seeded = sample_grid_mise(hidden_plate(), LOWER, UPPER, 0.0, settings, seeds=seeds)
    assert_same_surface(seeded, sample_grid_dense(hidden_plate(), LOWER, UPPER, 0.0, settings))


def test_seeds_where_the_start_grid_sees_the_surface_cost_nothing():
    settings = ExtractionSettings(start_resolution=16, doublings=2)
    plain = sample_grid_mise(SHAPES["sphere"], LOWER, UPPER, 0.0, settings)
    seeds = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(1)), dim=1) * 0.37
    seeded = sample_grid_mise(SHAPES["sphere"], LOWER, UPPER, 0.0, settings, seeds=seeds.numpy())
    assert torch.equal(seeded.crossed_cells, plain.crossed_cells)
    assert seeded.points_asked < 1.02 * plain.points_asked


def test_seeds_outside_the_box_and_no_seeds_change_nothing():
    settings = ExtractionSettings(start_resolution=8, doublings=2)
    plain = sample_grid_mise(SHAPES["sphere"], LOWER, UPPER, 0.0, settings)
    for seeds in ([[3.0, 0.0, 0.0]], np.zeros((0, 3))):
        grid = sample_grid_mise(SHAPES["sphere"], LOWER, UPPER, 0.0, settings, seeds=seeds)
        assert torch.equal(grid.asked, plain.asked)


def test_empty_field_has_no_crossed_cells_and_costs_the_start_grid():
    grid = sample_grid_mise(lambda p: -torch.ones(len(p)), LOWER, UPPER, 0.0, ExtractionSettings(8, 2))
    assert len(grid.crossed_cells) == 0
    assert grid.points_asked == 9**3
    assert not grid.inside.any()


def test_full_field_is_closed_around_the_box():
    settings = ExtractionSettings(start_resolution=4, doublings=2)
    grid = sample_grid_mise(lambda p: torch.ones(len(p)), LOWER, UPPER, 0.0, settings)
    assert grid.inside.all()
    assert_same_surface(grid, sample_grid_dense(lambda p: torch.ones(len(p)), LOWER, UPPER, 0.0, settings))
    assert len(grid.crossed_cells) == 18**3 - 16**3


@pytest.mark.parametrize("threshold", [0.25, 1.0, 0.0])
def test_values_equal_to_the_threshold_are_outside(threshold: float):
    """A field of few values, most of which meet the threshold exactly somewhere."""
    steps = lambda p: torch.floor(8 * (0.6 - p.norm(dim=1))) / 4  # noqa: E731
    settings = ExtractionSettings(start_resolution=8, doublings=2)
    grid = sample_grid_mise(steps, LOWER, UPPER, threshold, settings)
    dense = sample_grid_dense(steps, LOWER, UPPER, threshold, settings)
    assert (dense.samples == threshold).any()
    assert torch.equal(dense.inside, dense.samples > threshold)
    assert_same_surface(grid, dense)


def test_threshold_without_an_exact_binary_form_is_met_at_the_precision_of_the_values():
    """0.1 as float32 is above 0.1 as float64."""
    grid = sample_grid_mise(lambda p: torch.full((len(p),), 0.1), LOWER, UPPER, 0.1, ExtractionSettings(4, 1))
    assert not grid.inside.any()
    assert len(grid.crossed_cells) == 0


def test_field_in_half_precision_and_with_gradients_is_accepted():
    weight = torch.ones(3, requires_grad=True)
    grid = sample_grid_mise(
        lambda p: (0.5 - (p * weight).norm(dim=1)).half(), LOWER, UPPER, 0.1, ExtractionSettings(8, 1)
    )
    assert grid.samples.dtype == torch.float32
    assert not grid.samples.requires_grad


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (lambda p: p, r"shape \(729,\), got \(729, 3\)"),
        (lambda p: p[:, :1], r"shape \(729,\), got \(729, 1\)"),
        (lambda p: p[:5, 0], r"got \(5,\)"),
        (lambda p: p[:, 0].numpy(), "tensor, got ndarray"),
        (lambda p: p[:, 0] > 0, "floating point values, got torch.bool"),
        (
            lambda p: torch.where(p[:, 0] > 0.4, torch.nan, p[:, 0]),
            r"81 non-finite of 729 values, first nan at \[0.5, -0.5, -0.5\]",
        ),
        (lambda p: p[:, 0] / 0, "non-finite of 729 values"),
    ],
)
def test_unusable_field_is_refused_with_what_it_returned(field: Field, message: str):
    with pytest.raises(SurfaceError, match=message):
        sample_grid_mise(field, LOWER, UPPER, 0.0, ExtractionSettings(8, 1))


@pytest.mark.parametrize(
    ("lower", "upper", "threshold", "message"),
    [
        ((0, 0), (1, 1), 0.0, r"shape \(3,\), got \(2,\)"),
        ((0, 0, 0), (1, 0, 1), 0.0, r"below upper, got \[0.0, 0.0, 0.0\] and \[1.0, 0.0, 1.0\]"),
        ((0, 0, np.nan), (1, 1, 1), 0.0, "below upper"),
        (LOWER, UPPER, np.nan, "threshold must be finite, got nan"),
        (LOWER, UPPER, np.inf, "threshold must be finite, got inf"),
    ],
)
def test_impossible_box_or_threshold_is_refused(lower, upper, threshold: float, message: str):
    for sample in (sample_grid_mise, sample_grid_dense):
        with pytest.raises(SurfaceError, match=message):
            sample(SHAPES["sphere"], lower, upper, threshold, ExtractionSettings(4, 1))


@pytest.mark.parametrize("seeds", [[0.0, 0.0, 0.0], [[0.0, 0.0]], [[0.0, np.nan, 0.0]]])
def test_impossible_seeds_are_refused(seeds):
    with pytest.raises(SurfaceError, match="seeds must"):
        sample_grid_mise(SHAPES["sphere"], LOWER, UPPER, 0.0, ExtractionSettings(4, 1), seeds=seeds)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"doublings must be in \[0, 5\], got 9"):
        ExtractionSettings(doublings=9)
    with pytest.raises(ValueError, match="start_resolution 256 and doublings 2 make 1024 cells along an edge"):
        ExtractionSettings(start_resolution=256, doublings=2)
    assert ExtractionSettings(start_resolution=32, doublings=2).resolution == 128


class TestLoops:
    """On a CPU loops do what a GPU without kernels does operation by operation."""

    @pytest.fixture(params=[[7], [4, 9]], ids=["one grid", "grids of two sizes"])
    def both(self, request):
        low = np.arange(3.0 * len(request.param)).reshape(-1, 3)
        lattice = Lattice(request.param, low, low + [0.2, 0.3, 0.4], "cpu")
        rng = torch.Generator().manual_seed(0)
        states = torch.tensor([OUTSIDE, INSIDE, UNKNOWN], dtype=torch.uint8)
        sides = torch.full((lattice.size,), OUTSIDE, dtype=torch.uint8)
        cubes = sides.view(-1, *(3 * [lattice.width]))
        for cube, resolution in zip(cubes, lattice.resolutions, strict=True):
            inner = cube[1 : resolution + 2, 1 : resolution + 2, 1 : resolution + 2]
            inner.copy_(states[torch.randint(0, 3, inner.shape, generator=rng)])
        made = [
            kind(lattice, torch.zeros(lattice.size), sides.clone()) for kind in (GridOperations, LoopedGridOperations)
        ]
        inner = torch.zeros_like(cubes, dtype=torch.bool)
        for mask, resolution in zip(inner, lattice.resolutions, strict=True):
            mask[1 : resolution + 2, 1 : resolution + 2, 1 : resolution + 2] = True
        corners = inner.flatten().nonzero().squeeze(1)
        return (*made, corners[torch.rand(len(corners), generator=rng) < 0.4])

    def test_places(self, both):
        plain, looped, corners = both
        for expected, found in zip(plain.located(corners), looped.located(corners), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)

    def test_values(self, both):
        plain, looped, corners = both
        values = torch.linspace(-1.0, 1.0, len(corners))
        for one in (plain, looped):
            one.learn(corners, values, 0.25)
        torch.testing.assert_close(looped.samples, plain.samples)
        assert torch.equal(looped.sides, plain.sides)
        assert (plain.sides[corners] == INSIDE).any()

    def test_crossed_cells_and_their_corners(self, both):
        plain, looped, corners = both
        for some in (corners[::2], corners):  # those named before are not named again
            expected, cells = plain.newly_crossed(some), looped.newly_crossed(some)
            assert len(cells) > 0
            assert torch.equal(cells.sort().values, expected)
            owners = looped.lattice.objects(cells)
            assert torch.equal(owners, owners.sort().values)
        claimed = looped.claimed_of(cells)
        assert len(claimed) > 0
        assert torch.equal(claimed.sort().values, plain.claimed_of(cells))
        assert torch.equal(looped.sides, plain.sides)
        assert len(looped.claimed_of(cells)) == 0
