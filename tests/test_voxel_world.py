"""Training grids: occupied where the object is, partial ones true to what was seen, turned with their queries."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from onet_ros.learning.voxel_world import (
    FREE,
    OCCUPIED,
    UNKNOWN,
    VoxelSource,
    VoxelWorldSettings,
    partial_grids,
    whole_grids,
)

CLEAN = VoxelWorldSettings(queries=2048, faults=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def states_at(samples, queries):
    """(N, M) the state of the cell that each query lies in."""
    r = samples.states.shape[1]
    cell = ((queries + 0.5) * r).long().clamp(0, r - 1)
    rows = torch.arange(len(samples.states))[:, None]
    return samples.states[rows, cell[..., 0], cell[..., 1], cell[..., 2]]


@pytest.fixture(scope="module")
def whole():
    return whole_grids(24, generator(), CLEAN)


@pytest.fixture(scope="module")
def partial():
    return partial_grids(8, generator(), CLEAN)


def test_whole_grids_are_occupied_where_the_object_is(whole):
    found = states_at(whole, whole.queries)
    half = whole.queries.shape[1] // 2  # uniform
    inside, found = whole.inside[:, :half], found[:, :half]
    assert (found[inside] == OCCUPIED).float().mean() > 0.85  # the rest are cells whose middle is outside
    assert (found[~inside] == OCCUPIED).float().mean() < 0.05
    assert not (whole.states == UNKNOWN).any()


def test_whole_objects_fit_into_their_cubes(whole):
    border = torch.ones(32, 32, 32, dtype=torch.bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert ((whole.states == OCCUPIED) & border).float().sum(dim=(1, 2, 3)).median() == 0


def test_partial_grids_know_of_nothing_free_inside_the_object(partial):
    """A ray goes through free cells only; a cell that was seen through lies outside, to the width of a cell or so."""
    found = states_at(partial, partial.queries)
    told = (partial.states == UNKNOWN).flatten(1).any(dim=1)
    assert 0 < told.sum() < len(told)
    half = partial.queries.shape[1] // 2
    inside, found = partial.inside[told][:, :half], found[told][:, :half]
    assert (found[inside] == FREE).float().mean() < 0.05
    assert (found[~inside] == FREE).float().mean() > 0.3
    assert (found[inside] == UNKNOWN).float().mean() > 0.2


def test_maps_that_do_not_tell_say_free(partial):
    silent = ~(partial.states == UNKNOWN).flatten(1).any(dim=1)
    assert silent.any()
    assert set(partial.states[silent].unique().tolist()) == {FREE, OCCUPIED}


def test_faults_lose_cells_and_add_some_beside_others(whole):
    faulty = whole_grids(24, generator(), dataclasses.replace(CLEAN, faults=1.0))
    assert torch.equal(faulty.queries, whole.queries)  # the same objects in the same cubes
    before, after = whole.states == OCCUPIED, faulty.states == OCCUPIED
    lost, added = before & ~after, after & ~before
    damaged = (lost | added).flatten(1).any(dim=1)
    assert 6 <= damaged.sum() <= 18  # half of them, on average
    assert 0 < lost.sum() < 0.25 * before.sum()
    beside = torch.nn.functional.max_pool3d(before.float(), 3, stride=1, padding=1) > 0
    assert 0 < added.sum() < 0.1 * (beside & ~before).sum()
    assert not (added & ~beside).any()


def test_a_batch_turns_grid_and_queries_together(whole):
    batch = VoxelSource(CLEAN).draw(whole, 0, 512, generator(2))
    voxels = batch.observation.voxels
    turned = (voxels != whole.states.float() / OCCUPIED).flatten(1).any(dim=1)
    assert turned.any()
    cell = ((batch.queries + 0.5) * 32).long().clamp(0, 31)
    rows = torch.arange(len(voxels))[:, None]
    found = voxels[rows, cell[..., 0], cell[..., 1], cell[..., 2]]
    before = states_at(whole, whole.queries)
    expected = [(before[row][whole.inside[row]] == OCCUPIED).float().mean() for row in range(len(voxels))]
    for row, share in enumerate(expected):
        if batch.labels[row].sum() > 20:
            assert found[row][batch.labels[row] > 0.5].mean() == pytest.approx(float(share), abs=0.2)


def test_a_source_makes_whole_and_partial_grids_in_their_shares():
    settings = VoxelWorldSettings(queries=64, partial=0.25)
    made = VoxelSource(settings).make(16, generator(), "cpu")
    assert 14 <= len(made.families) == len(made.states) <= 16
    again = VoxelSource(settings).make(16, generator(), "cpu")
    assert torch.equal(made.states, again.states)
