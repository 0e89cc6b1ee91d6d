"""The object's unit frame: where it stands, which way it looks, how large its unit is."""

from __future__ import annotations

import numpy as np
import pytest

from onet_ros.scene import UNIT_BOX, SupportPlane, object_unit_frame
from onet_ros.scene.unit_frame import HIDDEN_EXTENT, MARGIN, UnitFrame, to_unit_frames


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


def test_from_one_frame_to_another_is_there_by_way_of_the_source_frame():
    rng = np.random.default_rng(0)
    one, other = (UnitFrame(rotation(seed), rng.normal(size=3), scale) for seed, scale in ((1, 0.1), (2, 0.25)))
    points = rng.normal(size=(20, 3))
    matrix = one.matrix_to(other)
    np.testing.assert_allclose(points @ matrix[:, :3].T + matrix[:, 3], other.to_unit(one.from_unit(points)), atol=1e-9)


def test_points_of_several_objects_go_to_their_frames_at_once():
    rng = np.random.default_rng(0)
    frames = [UnitFrame(rotation(seed), rng.normal(size=3), 0.1 * seed) for seed in (1, 2, 3)]
    points = rng.normal(size=(3, 20, 3))
    expected = [frame.to_unit(own) for frame, own in zip(frames, points, strict=True)]
    np.testing.assert_allclose(to_unit_frames(frames, points), expected, atol=1e-9)


class TestHiddenSides:
    """A box 80 mm wide, seen from +x; y runs to the camera's right."""

    def width(self, around) -> tuple[float, float]:
        """Middle along y, metres, and scale of the frame, with something seen around the box."""
        frame = object_unit_frame(seen_side_of_box((0.06, 0.08, 0.06)), TABLE, CAMERA, around)
        return float(frame.from_unit([0.0, 0.0, 0.0])[1]), frame.scale

    def patch(self, x, low_y, high_y, low_z=0.0, high_z=0.15):
        rng = np.random.default_rng(1)
        return np.column_stack([np.full(2000, x), rng.uniform(low_y, high_y, 2000), rng.uniform(low_z, high_z, 2000)])

    def test_what_stands_in_front_of_one_side_hides_more_of_it(self):
        extent = 0.08
        for side in (-1.0, 1.0):
            edge = np.sort(side * np.array([0.033, 0.08]))  # in the image beside the box, as it is nearer
            middle, scale = self.width(self.patch(0.12, *edge))
            assert middle == pytest.approx(side * HIDDEN_EXTENT * extent / 2.0, abs=0.002)
            assert scale == pytest.approx((1.0 + HIDDEN_EXTENT) * extent * MARGIN, rel=0.02)

    def test_what_stands_behind_or_is_higher_or_lower_or_apart_hides_nothing(self):
        plain = self.width(None)
        for around in (
            self.patch(-0.2, 0.04, 0.1),  # behind
            self.patch(0.12, 0.033, 0.08, 0.25, 0.35),  # in front and higher
            self.patch(0.12, 0.033, 0.08, 0.0, 0.04),  # in front and lower
            self.patch(0.12, 0.07, 0.12),  # in front and beside
        ):
            assert self.width(around) == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_seen_along_a_slanting_normal_the_axes_are_at_right_angles(seed):
    up = rotation(seed)[0]
    plane = SupportPlane(normal=up, offset=0.0)
    points = 0.05 * up + 0.02 * np.random.default_rng(0).normal(size=(200, 3))
    frame = object_unit_frame(points, plane, points.mean(axis=0) + 0.6 * up)
    np.testing.assert_allclose(frame.rotation @ frame.rotation.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(frame.rotation[2], up, atol=1e-9)
