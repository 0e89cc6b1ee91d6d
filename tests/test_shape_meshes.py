"""Procedural objects as meshes to look at, and the sheet of them."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from PIL import Image

from onet_ros.cli import main
from onet_ros.learning.families import FAMILIES
from onet_ros.learning.pool import SHEET_STREAM, stream_generator
from onet_ros.learning.shape_meshes import family_counts, resting_size, shape_mesh


@pytest.mark.parametrize("count", [1, 7, len(FAMILIES), 100])
def test_as_many_objects_as_asked_for_and_every_family_if_there_is_room(count):
    counts = family_counts(count)
    assert sum(counts.values()) == count
    assert min(counts.values()) >= (1 if count >= len(FAMILIES) else 0)


@pytest.mark.parametrize("family", ["carton", "bowl"])
def test_an_object_is_closed_and_rests_on_the_table(family):
    mesh = shape_mesh(family, stream_generator(0, SHEET_STREAM, 3))
    assert mesh.is_watertight
    assert mesh.volume > 0.0
    assert mesh.bounds[0, 2] == pytest.approx(0.0, abs=0.003)
    again = shape_mesh(family, stream_generator(0, SHEET_STREAM, 3))
    np.testing.assert_array_equal(again.vertices, mesh.vertices)


def test_the_size_does_not_depend_on_how_an_object_is_turned():
    box = trimesh.creation.box((0.04, 0.10, 0.07))
    box.apply_transform(trimesh.transformations.rotation_matrix(0.7, (0, 0, 1)))
    assert resting_size(box) == pytest.approx((0.10, 0.04, 0.07))


def test_the_same_seed_gives_the_same_sheet(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in (0, 1, 2)]
    for path, seed in zip(paths, ("5", "5", "6"), strict=True):
        assert main(["shapes", "--out", str(path), "--count", "2", "--tile", "60", "--seed", seed]) == 0
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert pictures[0].shape != pictures[2].shape or (pictures[0] != pictures[2]).any()
