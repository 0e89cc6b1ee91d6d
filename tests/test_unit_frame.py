"""The object's unit frame: where it stands, which way it looks, how large its unit is."""

from __future__ import annotations

import numpy as np
import pytest

from onet_ros.scene import UNIT_BOX, SupportPlane, object_unit_frame
from onet_ros.scene.unit_frame import MARGIN


def seen_side_of_box(size=(0.06, 0.08, 0.12), count=4000, seed=0):
    """Front (+x) and top of a box that stands at the origin on z = 0."""
    rng = np.random.default_rng(seed)
    x, y, z = size
    front = np.stack([np.full(count, x / 2), rng.uniform(-y / 2, y / 2, count), rng.uniform(0, z, count)], axis=1)
    top = np.stack([rng.uniform(-x / 2, x / 2, count), rng.uniform(-y / 2, y / 2, count), np.full(count, z)], axis=1)
    return np.concatenate([front, top])


TABLE = SupportPlane(normal=np.array([0.0, 0.0, 1.0]), offset=0.0)
CAMERA = np.array([0.7, 0.0, 0.5])


def test_z_is_up_and_x_points_to_the_camera():
    frame = object_unit_frame(seen_side_of_box(), TABLE, CAMERA)
    np.testing.assert_allclose(frame.rotation, np.eye(3), atol=1e-3)
    assert frame.to_unit(CAMERA)[0] > 0


def test_the_table_is_at_zero_and_the_longest_extent_is_one_over_the_margin():
    points = seen_side_of_box()
    frame = object_unit_frame(points, TABLE, CAMERA)
    unit = frame.to_unit(points)
    assert unit[:, 2].max() == pytest.approx(1 / MARGIN, abs=1e-3)
    assert frame.to_unit([0.3, 0.2, 0.0])[2] == pytest.approx(0.0, abs=1e-12)
    assert frame.scale == pytest.approx(0.12 * MARGIN, rel=1e-3)


def test_the_whole_box_with_its_hidden_side_fits_into_the_unit_box():
    frame = object_unit_frame(seen_side_of_box(), TABLE, CAMERA)
    corners = np.array([[x, y, z] for x in (-0.03, 0.03) for y in (-0.04, 0.04) for z in (0.0, 0.12)])
    unit = frame.to_unit(corners)
    assert (unit >= UNIT_BOX[0]).all()
    assert (unit <= UNIT_BOX[1]).all()


def test_the_unit_frame_does_not_depend_on_where_the_world_has_its_origin():
    points = seen_side_of_box()
    turn, shift = rotation(seed=3), np.array([0.4, -1.0, 2.0])
    moved = TABLE.normal @ turn.T
    plane = SupportPlane(normal=moved, offset=-float(moved @ shift))
    a = object_unit_frame(points, TABLE, CAMERA)
    b = object_unit_frame(points @ turn.T + shift, plane, CAMERA @ turn.T + shift)
    np.testing.assert_allclose(a.to_unit(points), b.to_unit(points @ turn.T + shift), atol=1e-9)


def rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def test_there_and_back_is_where_one_was():
    frame = object_unit_frame(seen_side_of_box(), TABLE, CAMERA)
    points = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_allclose(frame.from_unit(frame.to_unit(points)), points, atol=1e-12)


def test_a_few_flying_pixels_do_not_blow_up_the_unit():
    points = seen_side_of_box()
    flying = np.array([[-0.5, 0.0, 0.05]] * 20)
    clean, dirty = (object_unit_frame(p, TABLE, CAMERA) for p in (points, np.concatenate([points, flying])))
    assert dirty.scale == pytest.approx(clean.scale, rel=0.02)


def test_a_camera_straight_above_still_gives_a_frame():
    frame = object_unit_frame(seen_side_of_box(), TABLE, viewpoint=seen_side_of_box().mean(axis=0) + [0, 0, 1.0])
    assert np.isfinite(frame.rotation).all()
    np.testing.assert_allclose(frame.rotation @ frame.rotation.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((0, 3)), r"\(0, 3\)"),
        (np.zeros((5, 2)), r"\(5, 2\)"),
        (np.full((4, 3), np.nan), "4 of 4 points are not finite"),
    ],
)
def test_points_that_make_no_frame_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        object_unit_frame(points, TABLE)
