"""Kernels for a GPU give what the operations give that they take the place of; in Triton's interpreter, on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GRIDS = """
import torch
from test_surface_batches import SHAPES, boxes, side_by_side
from onet_ros.surface.grid import OUTSIDE, UNKNOWN, Lattice
from onet_ros.surface.grid_kernels import REACH, FusedGridOperations
from onet_ros.surface.grid_operations import CLAIMED, GridOperations

shapes, start, stride = SHAPES[1:3], 4, 4
field = side_by_side(*shapes)
lattice = Lattice([start * stride] * len(shapes), *boxes(len(shapes)), "cpu")

def grid(kind):
    samples, sides = torch.zeros(lattice.size), torch.full((lattice.size,), OUTSIDE, dtype=torch.uint8)
    sides.view(-1, *(3 * [lattice.width]))[:, 1:-1, 1:-1, 1:-1] = UNKNOWN
    return kind(lattice, samples, sides)

plain, fused = grid(GridOperations), grid(FusedGridOperations)
assert fused._mark_all(4, 4), "made in the interpreter"
fused = grid(FusedGridOperations)
along = torch.arange(0, start * stride + 1, stride)
corners = lattice.numbers(
    torch.arange(len(shapes)).repeat_interleave(len(along) ** 3),
    torch.cartesian_prod(along, along, along).repeat(len(shapes), 1),
)

def ask(corners):
    points, objects = plain.located(corners)
    for found, expected in zip(fused.located(corners), (points, objects)):
        assert torch.equal(found, expected)
    values = field(points, objects)
    for one in (plain, fused):
        one.learn(corners, values, 0.0)
        one.sides[one.sides >= CLAIMED] = UNKNOWN  # what was claimed and is not asked here
    assert torch.equal(plain.samples, fused.samples) and torch.equal(plain.sides, fused.sides)

ask(corners)
rounds = 0
while stride > 1:
    corners = plain.halves(stride)
    assert len(corners) and torch.equal(fused.halves(stride), corners)
    stride //= 2
    # A part of them only, so that much is left for following.
    ask(corners[torch.arange(len(corners)) % 3 > 0])
near, spread = None, 0
while True:
    wanted, corners = plain.open_corners(near), fused.open_corners(near)
    if near is None:
        assert torch.equal(corners, wanted)
    # Those that are wanted, and unknown ones about them.
    assert torch.isin(wanted, corners).all() and bool(len(wanted)) == bool(len(corners))
    assert (plain.sides[corners] == UNKNOWN).all()
    if not len(corners):
        break
    far = (lattice.coordinates(corners)[:, None] - lattice.coordinates(wanted)).abs().amax(dim=2).amin(dim=1)
    assert far.max() <= REACH
    spread += len(corners) - len(wanted)
    ask(corners)
    near, rounds = corners, rounds + 1
assert rounds > 1 and spread
assert torch.equal(plain.crossed_cells(), fused.crossed_cells()) and len(plain.crossed_cells())
"""


SURFACES = """
import torch
from test_surface_batches import SHAPES, boxes, side_by_side
from onet_ros.gpu_kernels import GpuKernels
from onet_ros.surface.coarse import covering_grids, raised
from onet_ros.surface.marching_cubes import polygonise
from onet_ros.surface.mise import sample_grids_mise
from onet_ros.surface.settings import ExtractionSettings

field = side_by_side(*SHAPES[1:])
grids = sample_grids_mise(field, *boxes(3), 0.0, ExtractionSettings(8, 1))
thick, raised_by = covering_grids(grids, field, 0.95)
cases = [(grids, field, steps) for steps in (0, 1, 2)] + [(thick, raised(field, raised_by), 1)]
expected = [polygonise(*case) for case in cases]
GpuKernels.fit = lambda self, tensor: True
for case, plain in zip(cases, expected):
    found = polygonise(*case)
    assert found.vertex_counts == plain.vertex_counts and found.face_counts == plain.face_counts
    assert torch.equal(found.faces, plain.faces)
    assert (found.vertices - plain.vertices).abs().max() < 1e-7
"""

BODIES = """
import torch
from onet_ros.surface.body_kernels import connected, within_reach
from onet_ros.surface.mesh_batch import _roots
from onet_ros.gpu_kernels import GpuKernels

generator = torch.Generator().manual_seed(0)
faces = torch.randint(400, (260, 3), generator=generator)
points = torch.rand(300, 3, generator=generator, dtype=torch.float64)
owners = torch.arange(3).repeat_interleave(100)
seeds, first = torch.rand(90, 3, generator=generator), torch.tensor([0, 50, 50, 90])
limits = torch.tensor([0.1, 0.1, 0.2])
within = within_reach(points, owners, seeds, first, limits)
assert connected(faces, 400) is None and 100 < within.sum() < 250
GpuKernels.fit = lambda self, tensor: True
assert torch.equal(connected(faces, 400), _roots(faces, 400))
assert len(_roots(faces, 400).unique()) > 20
assert torch.equal(within_reach(points, owners, seeds, first, limits), within)
"""


SEEDS = """
import numpy as np
import torch
from test_surface_batches import SHAPES, boxes, side_by_side
from onet_ros.gpu_kernels import GpuKernels
from onet_ros.surface.grid import Lattice
from onet_ros.surface.start_grid import StartGrid

shapes = SHAPES[1:3]
low, high = boxes(2)
start = StartGrid(side_by_side(*shapes), low, high, 0.0, [16, 16], 0, "cpu")
lattice = Lattice([64, 64], low, high, "cpu")
seeds = [np.random.default_rng(number).uniform(-0.6, 0.6, (3000, 3)) for number in range(2)]
expected = start.lone_seeds(seeds, lattice)
assert 20 < len(expected[0]) < 3000
GpuKernels.fit = lambda self, tensor: True
found = start.lone_seeds(seeds, lattice)
assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
"""

FIELDS = """
import torch
from onet_ros.networks import InferenceNetwork
from onet_ros.networks.local_kernel import LocalFieldKernel
from onet_ros.networks.local_field import LocalField
from test_inference import network, observation, queries

net = network("local_planes for a kernel")
folded = InferenceNetwork(net)
code = folded.encode(observation("local_planes"))
layers = LocalField(folded._local, code)
kernel = LocalFieldKernel(folded._local, layers._projection, layers._table, 16)
points, objects = queries(count=100)
order = torch.randperm(300, generator=torch.Generator().manual_seed(3))
points, objects = points.flatten(0, 1)[order], objects[order]
expected = layers(points, objects)
assert (kernel(points, objects) - expected).abs().max() < 1e-5 * expected.std()
assert (kernel(points[:1], objects[:1]) - expected[:1]).abs().max() < 1e-5 * expected.std()
"""

SCRIPTS = {"grids": GRIDS, "surfaces": SURFACES, "bodies": BODIES, "seeds": SEEDS, "fields": FIELDS}


@pytest.mark.slow  # an interpreter is no GPU
@pytest.mark.parametrize("name", SCRIPTS)
def test_kernels_give_what_the_operations_give(name: str):
    pytest.importorskip("triton", reason="Triton is not installed")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    paths = [str(Path(__file__).parent), *sys.path]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    done = subprocess.run([sys.executable, "-c", SCRIPTS[name]], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
