"""An object's unit frame and crop by its mask: geometry that can be told beforehand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from onet_ros.learning.image_world import crop_rays
from onet_ros.ray_casting import RayScene, look_rotation, pixel_rays
from onet_ros.scene import (
    PictureError,
    SupportPlane,
    UnitFrame,
    checked_labels,
    checked_picture,
    undistorted,
    view_object,
)
from onet_ros.scene.picture import PICTURE_BOX, PictureView, crop_axes, crop_picture, picture_frame

K = np.array([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]])
SIZE = (320, 240)


def seen(mesh, elevation=0.6, distance=0.6, roll=0.0, aside=0.0):
    """Mask (H, W), plane and T_cam_world of a camera that looks at the world's origin, z up, from +x."""
    eye = distance * np.array([np.cos(elevation), 0.0, np.sin(elevation)])
    target = np.array([0.0, aside, 0.0])
    rotation = look_rotation(target - eye, (0.0, 0.0, 1.0))
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ rotation
    directions = pixel_rays(K, *SIZE) @ rotation
    rays = np.concatenate([np.broadcast_to(eye, directions.shape), directions], axis=-1).astype(np.float32)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation, -rotation @ eye
    return RayScene([mesh]).cast(rays).hit, SupportPlane(rotation[:, 2], float(eye[2])), T


def box(*extents):
    return trimesh.creation.box(extents).apply_translation((0.0, 0.0, extents[2] / 2.0))


def in_unit_frame(mesh, frame, T):
    return frame.to_unit(trimesh.transform_points(mesh.vertices, T))


@pytest.mark.parametrize("elevation", [0.4, 0.7, 1.1])
@pytest.mark.parametrize("extents", [(0.08, 0.08, 0.08), (0.06, 0.06, 0.2), (0.18, 0.05, 0.04), (0.05, 0.2, 0.06)])
def test_the_object_lies_in_the_box_upright_and_in_front(elevation, extents):
    mesh = box(*extents)
    mask, plane, T = seen(mesh, elevation)
    view = view_object(mask, K, plane)
    corners = in_unit_frame(mesh, view.frame, T)
    low, high = PICTURE_BOX
    assert (
        corners > low - [0.1, 0.03, 0.03]
    ).all()  # of long things that lie along the view the far end may be cut off
    assert (corners < high + 0.03).all()
    assert corners[:, 2].min() == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(view.frame.rotation[2], plane.normal, atol=1e-9)
    assert view.viewpoint[0] > 0.5
    assert view.viewpoint[1] == pytest.approx(0.0, abs=1e-9)
    assert np.ptp(corners, axis=0).max() > 0.3  # and fills a good part of it


def test_all_follows_the_camera_wherever_it_is_held():
    """A camera that is rolled and looks past the object sees it in the same unit frame, to the width of a pixel."""
    mesh = box(0.08, 0.05, 0.1)
    frames = []
    for roll, aside in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.1), (-0.3, -0.1)):
        mask, plane, T = seen(mesh, 0.6, 0.6, roll, aside)
        frames.append(in_unit_frame(mesh, view_object(mask, K, plane).frame, T))
    for other in frames[1:]:
        np.testing.assert_allclose(other, frames[0], atol=0.03)


def test_the_unknown_scale_is_about_the_camera():
    """Twice the height over the table makes everything twice as large and as far away, and leaves the unit frame."""
    mask, plane, _ = seen(box(0.08, 0.05, 0.1))
    near = view_object(mask, K, plane)
    far = view_object(mask, K, SupportPlane(plane.normal, 2.0 * plane.offset))
    assert far.frame.scale == pytest.approx(2.0 * near.frame.scale)
    np.testing.assert_allclose(far.frame.origin, 2.0 * near.frame.origin)
    np.testing.assert_allclose(far.viewpoint, near.viewpoint, atol=1e-9)


def test_a_few_wrong_pixels_change_little():
    mesh = box(0.08, 0.05, 0.1)
    mask, plane, _ = seen(mesh)
    before = view_object(mask, K, plane).frame
    row, column = np.nonzero(mask)
    mask[row.max() + 12 : row.max() + 14, column.mean().astype(int)] = True
    after = view_object(mask, K, plane).frame
    assert after.scale == pytest.approx(before.scale, rel=0.05)


class TestCrop:
    def crop_of(self, size=48):
        mesh = box(0.08, 0.05, 0.1)
        mask, plane, T = seen(mesh, 0.6, 0.6, roll=0.4, aside=0.08)
        view = view_object(mask, K, plane)
        image = np.zeros((*mask.shape, 3), dtype=np.uint8)
        image[mask] = (250, 100, 0)
        return crop_picture(image, mask, K, view, size), view, mesh, T

    def test_the_crop_shows_what_rays_through_its_pixels_meet(self):
        size = 48
        crop, view, mesh, T = self.crop_of(size)
        position = torch.zeros(1, 3)
        rotation = torch.tensor(view.frame.rotation).float()[None]
        rays = crop_rays(torch.tensor(view.viewpoint).float()[None], rotation, position, size)
        directions = rays.directions[0].numpy()
        in_camera = mesh.copy().apply_transform(T)
        hit = RayScene([in_camera]).cast(np.concatenate([np.zeros_like(directions), directions], axis=1)).hit
        differ = (crop[3] > 0.5).ravel() != hit
        assert 100 < hit.sum() < 0.6 * size * size
        assert differ.mean() < 0.02  # on the outline

    def test_colours_and_mask_go_together(self):
        crop, *_ = self.crop_of()
        assert crop.shape == (4, 48, 48)
        assert crop.dtype == np.float32
        assert 0.0 <= crop.min() <= crop.max() <= 1.0
        inner = crop[3] > 0.99
        np.testing.assert_allclose(crop[:3, inner].mean(axis=1), np.array([250, 100, 0]) / 255, atol=0.01)

    def test_the_crop_is_level_and_the_object_in_its_middle(self):
        crop, view, _, _ = self.crop_of()
        column = np.nonzero(crop[3] > 0.5)[1]
        assert abs(column.mean() - 23.5) < 3
        axes, reach = crop_axes(view.viewpoint)
        assert axes[0, 2] == pytest.approx(0.0, abs=1e-9)  # right is horizontal
        assert axes[1, 2] < 0.0
        assert 0.0 < reach < 1.0


@pytest.mark.parametrize(
    ("image", "mask", "intrinsics", "message"),
    [
        (np.zeros((20, 30, 3), np.float32), np.ones((20, 30)), K, "8 bits a channel, got float32"),
        (np.zeros((20, 30, 3), np.uint16), np.ones((20, 30), bool), K, "8 bits a channel, got uint16"),
        (np.zeros((20, 30, 4), np.uint8), np.ones((20, 30), bool), K, r"got \(20, 30, 4\)"),
        (np.zeros((20, 30, 3), np.uint8), np.ones((30, 20), bool), K, r"image's size \(20, 30\).*got \(30, 20\)"),
        (np.zeros((20, 30, 3), np.uint8), np.ones((20, 30)), K, "whole numbers.*float64"),
        (np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), bool), K, "the mask holds 0 pixels, at least 16"),
        (np.zeros((20, 30, 3), np.uint8), np.ones((20, 30), bool), None, "no intrinsics"),
        (np.zeros((20, 30, 3), np.uint8), np.ones((20, 30), bool), np.zeros((3, 3)), r"no intrinsics.*\[0\.0, 0\.0\]"),
        (np.zeros((20, 30, 3), np.uint8), np.ones((20, 30), bool), np.eye(2), "3 x 3 finite numbers"),
        (np.zeros((20, 30, 3), np.uint8), np.ones((20, 30), bool), np.full((3, 3), np.nan), "3 x 3 finite numbers"),
    ],
)
def test_pictures_that_say_nothing_are_refused(image, mask, intrinsics, message):
    with pytest.raises(PictureError, match=message):
        checked_picture(image, mask, intrinsics)


def test_grey_pictures_are_taken():
    picture, mask = checked_picture(np.full((20, 30), 7, np.uint8), np.ones((20, 30), np.int32), K)
    assert picture.shape == (20, 30, 3)
    assert mask.dtype == bool


def test_an_empty_instance_mask_is_refused():
    image = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(PictureError, match="none of its 600 pixels"):
        checked_labels(image, np.zeros((20, 30), np.uint16), K)
    with pytest.raises(PictureError, match=r"\(20, 31\) uint8"):
        checked_labels(image, np.ones((20, 31), np.uint8), K)
    assert checked_labels(image, np.full((20, 30), 40_000, np.uint16), K).max() == 40_000


class TestNoFrame:
    rays = np.array([[x, y, 1.0] for x in np.linspace(-0.1, 0.1, 6) for y in np.linspace(0.0, 0.2, 6)])

    def test_a_camera_under_the_table(self):
        with pytest.raises(PictureError, match=r"above the support plane, its height is -0\.3 m"):
            picture_frame(self.rays, SupportPlane(np.array([0.0, -1.0, 0.0]), -0.3))

    def test_an_object_above_the_horizon(self):
        with pytest.raises(PictureError, match="no ray through the mask comes down"):
            picture_frame(self.rays * [1.0, -1.0, 1.0], SupportPlane(np.array([0.0, -1.0, 0.0]), 0.3))

    def test_straight_from_above_there_is_one_all_the_same(self):
        rays = np.array([[x, y, 1.0] for x in np.linspace(-0.1, 0.1, 9) for y in np.linspace(-0.1, 0.1, 9)])
        frame = picture_frame(rays, SupportPlane(np.array([0.0, 0.0, -1.0]), 0.5))
        assert np.isfinite(frame.scale)
        np.testing.assert_allclose(frame.rotation @ frame.rotation.T, np.eye(3), atol=1e-9)
        axes, _ = crop_axes(PictureView(frame, rays).viewpoint)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)


class TestUndistorted:
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    labels = np.zeros((40, 60), np.uint16)
    labels[2:38, 3:57] = 60_000
    K = np.array([[50.0, 0.0, 29.5], [0.0, 50.0, 19.5], [0.0, 0.0, 1.0]])

    def test_no_distortion_leaves_everything(self):
        image, labels = undistorted(self.image, self.labels, self.K, np.zeros(5))
        assert image is self.image
        assert labels is self.labels

    @pytest.mark.parametrize(("model", "count"), [("plumb_bob", 5), ("rational_polynomial", 8), ("equidistant", 4)])
    def test_labels_stay_whole(self, model, count):
        image, labels = undistorted(self.image, self.labels, self.K, [-0.3] + [0.0] * (count - 1), model)
        assert image.shape == self.image.shape
        assert set(np.unique(labels)) <= {0, 60_000}
        assert labels.dtype == np.uint16
        assert not np.array_equal(labels, self.labels)

    def test_a_barrel_is_straightened(self):
        """A point at radius r of a camera with k1 is found at r where the lens had put it at r (1 + k1 r^2)."""
        k1, r = 0.3, 0.3
        distorted = np.zeros((40, 60), np.uint8)
        distorted[:, round(29.5 + 50.0 * r * (1.0 + k1 * r**2))] = 255
        straight, _ = undistorted(distorted, self.labels, self.K, [k1, 0.0, 0.0, 0.0])
        assert abs(int(np.argmax(straight[19])) - (29.5 + 50.0 * r)) <= 1.0

    @pytest.mark.parametrize(
        ("model", "coefficients", "message"),
        [("fisheye62", [0.1], "unknown distortion model 'fisheye62'"), ("plumb_bob", [0.1, 0.2], r"\(4, 5\) .* 0\.2")],
    )
    def test_models_that_are_not_known_are_named(self, model, coefficients, message):
        with pytest.raises(PictureError, match=message):
            undistorted(self.image, self.labels, self.K, coefficients, model)


def test_frames_are_unit_frames():
    mask, plane, _ = seen(box(0.08, 0.05, 0.1))
    assert isinstance(view_object(mask, K, plane).frame, UnitFrame)
