"""The support plane: how exact, which of several, and when there is none."""

from __future__ import annotations

import re

import numpy as np
import pytest
import trimesh
from table_scenes import TABLE, View, box, cup, look, table

from onet_ros.scene import PlaneSettings, SupportPlane, find_support_plane, load_capture
from onet_ros.scene.plane import PlaneOutline

OBJECTS = [box((0.06, 0.08, 0.1), (0.0, 0.0, 0.0)), cup(0.04, 0.1, (0.15, 0.05, 0.0))]
FLOOR = table(6.0, 6.0, -0.7)


def errors(found: SupportPlane, true: SupportPlane, points: np.ndarray) -> tuple[float, float]:
    """Angle in degrees, and largest distance in mm between the planes at the points."""
    angle = np.degrees(np.arcsin(np.linalg.norm(np.cross(found.normal, true.normal))))
    return float(angle), 1000 * float(np.abs(found.height(points) - true.height(points)).max())


def assert_is_table(view: View, up: np.ndarray | None = None, within_mm: float = 1.0) -> None:
    fit = find_support_plane(view.cloud.valid_points, up=up)
    assert fit.plane is not None, fit.reason
    near = view.cloud.valid_points[np.linalg.norm(view.cloud.valid_points, axis=1) < 1.5]
    angle, distance = errors(fit.plane, view.in_camera(TABLE), near)
    assert angle < 0.1
    assert distance < within_mm


def test_height_and_coefficients_of_a_known_plane():
    plane = SupportPlane.from_coefficients([0.0, 0.0, -2.0, 1.0])
    np.testing.assert_allclose(plane.coefficients, [0.0, 0.0, -1.0, 0.5])
    np.testing.assert_allclose(plane.height(np.array([[3.0, 4.0, 0.5], [0.0, 0.0, 0.2]])), [0.0, 0.3])
    axes = plane.axes()
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(axes @ plane.normal, 0.0, atol=1e-12)


def test_height_keeps_the_precision_of_the_points():
    plane = SupportPlane(np.array([0.6, 0.0, 0.8]), 0.1)
    assert plane.height(np.ones((2, 3), np.float32)).dtype == np.float32
    assert plane.height(np.ones((4, 2, 3))).shape == (4, 2)


def test_transformed_plane_keeps_the_heights_of_transformed_points():
    rng = np.random.default_rng(0)
    plane = SupportPlane.from_coefficients([0.3, -0.8, 0.5, 0.7])
    transform = trimesh.transformations.random_rotation_matrix(rng.random(3))
    transform[:3, 3] = [1.0, -2.0, 0.5]
    points = rng.normal(size=(20, 3))
    moved = points @ transform[:3, :3].T + transform[:3, 3]
    np.testing.assert_allclose(plane.transformed(transform).height(moved), plane.height(points), atol=1e-12)


@pytest.mark.parametrize("coefficients", [[0, 0, 0, 1], [1, 0, 0], [np.nan, 0, 1, 0], [0, 0, 1, np.inf]])
def test_what_is_no_plane_is_refused(coefficients):
    with pytest.raises(ValueError, match="a plane is 4 finite numbers"):
        SupportPlane.from_coefficients(coefficients)


def test_normal_that_is_not_of_unit_length_is_refused():
    with pytest.raises(ValueError, match="unit length"):
        SupportPlane(np.array([0.0, 0.0, 2.0]), 0.0)


@pytest.mark.parametrize("eye", [(0.0, -0.6, 0.55), (0.5, -0.4, 0.35), (0.01, -0.02, 0.8)])
def test_plane_is_exact_to_a_tenth_of_the_noise(eye):
    view = look([table(), *OBJECTS], eye)
    fit = find_support_plane(view.cloud.valid_points)
    on_table = view.cloud.points[view.owner == 0]
    angle, distance = errors(fit.plane, view.in_camera(TABLE), on_table[np.linalg.norm(on_table, axis=1) < 1.2])
    assert angle < 0.03
    assert distance < 0.2  # mm; the noise of one pixel is 1.2 mm and more
    assert fit.inlier_fraction > 0.85
    assert fit.plane.offset > 0  # the camera, at the origin, is above


def test_many_objects_do_not_lift_the_plane():
    places = [(x, y, 0.0) for x in (-0.3, -0.15, 0.0, 0.15, 0.3) for y in (-0.2, -0.05, 0.1, 0.25)]
    assert_is_table(look([table(1.0, 1.0), *(box((0.1, 0.1, 0.1), place) for place in places)]), within_mm=0.3)


@pytest.mark.parametrize(
    ("meshes", "eye", "target"),
    [
        pytest.param([table(1.0, 0.8), FLOOR, *OBJECTS], (0.0, -0.9, 0.6), (0.0, 0.0, 0.0), id="floor below"),
        pytest.param([table(0.6, 0.5), FLOOR, *OBJECTS], (0.0, -1.2, 0.8), (0.0, 0.0, 0.0), id="floor fills the view"),
        pytest.param(
            [table(0.6, 0.5), table(6.0, 6.0, -0.4), *OBJECTS, box((0.3, 0.3, 0.3), (0.8, 0.5, -0.4))],
            (0.0, -1.2, 0.8),
            (0.0, 0.0, 0.0),
            id="things on the floor too",
        ),
        pytest.param(
            [table(1.6, 1.2), box((4.0, 0.05, 3.0), (0.0, 0.65, -1.0)), *OBJECTS],
            (0.0, -0.6, 0.15),
            (0.0, 0.0, 0.08),
            id="wall at the table's end",
        ),
        pytest.param(
            [table(1.6, 1.2), box((8.0, 0.05, 5.0), (0.0, 2.0, -2.0)), *OBJECTS],
            (0.0, -0.6, 0.3),
            (0.0, 0.0, 0.12),
            id="wall far behind",
        ),
        pytest.param(
            [table(), box((0.35, 0.2, 0.4), (0.0, -0.05, 0.0))], (0.0, -0.8, 0.3), (0.0, 0.0, 0.15), id="large box near"
        ),
        pytest.param(
            [table(), box((0.3, 0.3, 0.1), (0.0, 0.0, 0.0)), cup(0.04, 0.1, (0.0, 0.0, 0.1))],
            (0.0, -0.6, 0.8),
            (0.0, 0.0, 0.0),
            id="cup on a box",
        ),
    ],
)
def test_the_table_with_the_objects_is_chosen(meshes, eye, target):
    assert_is_table(look(meshes, eye, target))


def test_up_rules_out_a_wall_that_fills_the_view():
    wall = box((8.0, 0.05, 5.0), (0.0, 0.9, -2.0))
    shelf = box((0.3, 0.1, 0.2), (0.0, 0.85, 0.5))
    view = look([table(1.6, 1.2), wall, shelf], (0.0, -0.7, 0.35), (0.0, 0.9, 0.25))
    wall_first = find_support_plane(view.cloud.valid_points).plane
    assert abs(wall_first.normal @ view.up) < 0.1  # without `up` the documented mistake
    assert_is_table(view, up=view.up)


def test_the_same_cloud_gives_the_same_plane():
    points = look([table(), *OBJECTS]).cloud.valid_points
    first, second = (find_support_plane(points).plane for _ in range(2))
    np.testing.assert_array_equal(first.coefficients, second.coefficients)


def test_missing_points_and_viewpoint_are_accounted_for():
    view = look([table(), *OBJECTS])
    expected = find_support_plane(view.cloud.valid_points).plane
    shifted = view.cloud.points.reshape(-1, 3) + np.float32([1.0, 2.0, 3.0])  # NaN rows stay in
    moved = find_support_plane(shifted, viewpoint=(1.0, 2.0, 3.0)).plane
    np.testing.assert_allclose(moved.normal, expected.normal, atol=1e-4)
    np.testing.assert_allclose(moved.height(np.array([1.0, 2.0, 3.0])), expected.offset, atol=2e-4)


@pytest.mark.parametrize(
    ("points", "up", "reason"),
    [
        (np.full((100, 3), np.nan), None, "a plane needs 10 points, got 0"),
        (
            np.random.default_rng(0).uniform((-1, -1, 1), (1, 1, 3), (20000, 3)),
            None,
            "no plane holds 10% of the 20000 points",
        ),
        (look([table()]).cloud.valid_points, (1.0, 0.0, 0.0), r"a plane is tilted by 1.57 rad \(max_tilt 0.50\)"),
        (np.random.default_rng(0).uniform(-1, 1, (500, 3)) * [1, 1, 0], None, "the camera lies in a plane"),
    ],
)
def test_no_plane_comes_with_the_reason(points, up, reason):
    fit = find_support_plane(points, up=up)
    assert fit.plane is None
    assert re.search(reason, fit.reason), fit.reason
    assert find_support_plane(points, up=up).plane is None


def test_points_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"points must be \(N, 3\), got shape \(5, 4\)"):
        find_support_plane(np.zeros((5, 4)))


def test_impossible_setting_is_refused():
    with pytest.raises(ValueError, match=r"min_inlier_fraction must be in \[0.01, 1.0\], got 2.0"):
        PlaneSettings(min_inlier_fraction=2.0)


def test_true_planes_of_the_simulated_scenes(dev_data):
    paths = sorted((dev_data / "scenes").glob("*.npz"))
    assert paths
    for path in paths:
        capture = load_capture(path)
        inside = (capture.segmentation > 0) & (capture.segmentation < 255)
        found = find_support_plane(capture.cloud.valid_points).plane
        angle, distance = errors(found, capture.plane, capture.cloud.points[inside])
        assert angle < 0.02, path
        assert distance < 0.1, path  # mm


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_points_with_one_missing_coordinate_are_left_out(axis):
    points = look([table(), *OBJECTS]).cloud.valid_points
    spoiled = np.vstack([points, points[::3]])
    spoiled[len(points) :, axis] = np.nan
    fit = find_support_plane(spoiled)
    np.testing.assert_allclose(fit.plane.coefficients, find_support_plane(points).plane.coefficients, atol=0.002)


class TestOutline:
    CELL = 0.04
    GROUND = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0)

    def around(self, *corners, eye=(0.0, -0.8, 0.6)):
        """Of rectangles (low x, low y, high x, high y) strewn with points a centimetre apart."""
        flat = np.vstack(
            [
                np.mgrid[low_x:high_x:0.01, low_y:high_y:0.01].reshape(2, -1).T
                for low_x, low_y, high_x, high_y in corners
            ]
        )
        return PlaneOutline.around(self.GROUND, np.column_stack([flat, np.zeros(len(flat))]), np.array(eye), self.CELL)

    def test_what_stands_within_by_two_cells_is_on_the_surface_and_what_is_beyond_is_not(self):
        outline = self.around((-0.6, -0.4, 0.6, 0.4))
        within, beyond = 2.5 * self.CELL, 0.5 * self.CELL
        sides = np.array([(-0.6, 0.0), (0.6, 0.0), (0.0, 0.4), (-0.6, 0.4), (0.6, 0.4)])
        for height in (0.0, 0.1):
            for inward, expected in ((within, True), (-beyond, False), (-1.0, False), (-50.0, False)):
                places = sides - inward * np.sign(sides)
                found = outline.contains(np.column_stack([places, np.full(len(places), height)]))
                assert found.tolist() == [expected] * len(places), (height, inward)
        assert outline.seen_area == pytest.approx(1.2 * 0.8, rel=0.1)

    def test_it_goes_on_to_the_foot_of_the_camera_and_over_what_objects_hide(self):
        outline = self.around((-0.6, -0.4, -0.1, 0.4), (-0.1, -0.4, 0.6, 0.0))
        assert outline.contains(np.array([[0.0, -0.6, 0.0], [0.1, 0.1, 0.05], [0.45, 0.35, 0.0]])).tolist() == [
            True,
            True,
            False,
        ]

    def test_of_patches_apart_the_largest_counts(self):
        outline = self.around((-0.6, -0.4, 0.2, 0.4), (1.0, -0.2, 1.3, 0.2))
        assert outline.contains(np.array([[-0.2, 0.0, 0.0], [1.15, 0.0, 0.0]])).tolist() == [True, False]

    def test_patches_far_apart_leave_one_of_them(self):
        outline = self.around((-10.2, -0.2, -9.8, 0.2), (9.8, -0.2, 10.2, 0.2))
        assert outline.contains(np.array([[-10.0, 0.0, 0.0], [10.0, 0.0, 0.0]])).sum() == 1
