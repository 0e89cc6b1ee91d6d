"""What is asked next, and the kernels that say the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

IN_THE_INTERPRETER = """
import numpy as np
import torch
from analytic_fields import LOWER, UPPER
from test_surface_batches import SHAPES, boxes, side_by_side
from onet_ros.surface.grid import OUTSIDE, UNKNOWN, Lattice
from onet_ros.surface.grid_kernels import FusedGridOperations
from onet_ros.surface.grid_operations import CLAIMED, GridOperations

shapes, start, stride = SHAPES[1:], 8, 4
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
        one.sides[one.sides == CLAIMED] = UNKNOWN  # what was claimed and is not asked here
    assert torch.equal(plain.samples, fused.samples) and torch.equal(plain.sides, fused.sides)

ask(corners)
rounds = 0
while stride > 1:
    corners = plain.halves(stride)
    assert len(corners) and torch.equal(fused.halves(stride), corners)
    stride //= 2
    # A part of them only, so that much is left for following.
    ask(corners[torch.arange(len(corners)) % 3 > 0])
near = None
while True:
    corners = plain.open_corners(near)
    assert torch.equal(fused.open_corners(near), corners)
    if not len(corners):
        break
    ask(corners)
    near, rounds = corners, rounds + 1
assert rounds > 1
assert torch.equal(plain.crossed_cells(), fused.crossed_cells()) and len(plain.crossed_cells())
"""


def test_kernels_say_what_the_operations_say():
    """In Triton's interpreter, which needs no GPU."""
    pytest.importorskip("triton", reason="Triton is not installed")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    paths = [str(Path(__file__).parent), *sys.path]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    done = subprocess.run([sys.executable, "-c", IN_THE_INTERPRETER], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
