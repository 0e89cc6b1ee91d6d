"""Depth images and masks as drivers send them."""

from __future__ import annotations

import types
from typing import Any

import cv2
import numpy as np
import pytest

from onet_ros.scene import CloudError
from onet_ros.scene.images import DepthImageDecoder, camera_matrix, camera_rays, decode_colours, decode_mask

HEIGHT, WIDTH, FOCAL = 6, 8, 10.0


def image(pixels: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> Any:
    """Stands for sensor_msgs/Image."""
    order = ">" if big_endian else "<"
    rows = pixels.astype(pixels.dtype.newbyteorder(order))
    data = b"".join(row.tobytes() + b"\xff" * padding for row in rows)
    step = pixels.shape[1] * pixels.itemsize + padding
    return types.SimpleNamespace(
        height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, is_bigendian=big_endian, step=step, data=data
    )


def info(**changes: Any) -> Any:
    """Stands for sensor_msgs/CameraInfo."""
    k = [FOCAL, 0.0, (WIDTH - 1) / 2, 0.0, FOCAL, (HEIGHT - 1) / 2, 0.0, 0.0, 1.0]
    p = [2 * FOCAL, 0.0, 1.0, 0.0, 0.0, 2 * FOCAL, 2.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    roi = types.SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0)
    values = {"height": HEIGHT, "width": WIDTH, "distortion_model": "plumb_bob", "d": [0.0] * 5, "k": k, "p": p}
    return types.SimpleNamespace(**{**values, "binning_x": 0, "binning_y": 0, "roi": roi, **changes})


def depth_mm() -> np.ndarray:
    pixels = np.arange(500, 500 + HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    pixels[1, 2] = 0
    return pixels


def expected_points(depth: np.ndarray) -> np.ndarray:
    v, u = np.indices(depth.shape)
    rays = np.stack([(u - (WIDTH - 1) / 2) / FOCAL, (v - (HEIGHT - 1) / 2) / FOCAL, np.ones(depth.shape)], axis=-1)
    return rays * np.where(depth > 0, depth, np.nan)[..., None]


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "32FC1"])
def test_every_encoding_gives_the_same_points(encoding, padding, big_endian):
    pixels = depth_mm()
    if encoding == "32FC1":
        pixels = (pixels / 1000.0).astype(np.float32)
        pixels[1, 2] = np.nan
    cloud = DepthImageDecoder().decode(image(pixels, encoding, padding, big_endian), info())
    np.testing.assert_allclose(cloud.points, expected_points(depth_mm() / 1000.0), atol=1e-6)
    assert cloud.organized


def test_unit_of_integers_is_that_of_the_driver():
    cloud = DepthImageDecoder().decode(image(depth_mm(), "16UC1"), info(), unit=0.0001)
    np.testing.assert_allclose(cloud.points, expected_points(depth_mm() / 10000.0), atol=1e-6)


def test_a_rectified_image_goes_by_p():
    rays = camera_rays(info(d=[0.3, 0.1, 0.0, 0.0, 0.0]), rectified=True)
    np.testing.assert_allclose(rays[2, 1], [0.0, 0.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(rays[2, 3], [2 / (2 * FOCAL), 0.0, 1.0], atol=1e-6)


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("plumb_bob", [0.1, -0.05, 0.002, -0.001, 0.01]),
        ("rational_polynomial", [0.5, -2.0, 0.001, 0.0005, 1.5, 0.4, -1.8, 1.4]),
        ("equidistant", [0.05, -0.01, 0.002, 0.0]),
    ],
)
def test_rays_of_a_distorting_camera_end_up_in_their_pixels(model, d):
    K = np.array([[600.0, 0.0, 319.5], [0.0, 600.0, 239.5], [0.0, 0.0, 1.0]])
    rays = camera_rays(info(height=480, width=640, k=K.ravel(), distortion_model=model, d=d), rectified=False)
    points = rays[::40, ::40].reshape(-1, 1, 3).astype(np.float64)
    zero = np.zeros(3)
    if model == "equidistant":
        pixels = cv2.fisheye.projectPoints(points, zero, zero, K, np.array(d))[0]
    else:
        pixels = cv2.projectPoints(points, zero, zero, K, np.array(d))[0]
    v, u = np.mgrid[0:480:40, 0:640:40]
    np.testing.assert_allclose(pixels[:, 0], np.column_stack([u.ravel(), v.ravel()]), atol=0.01)


def test_binning_and_region_of_interest_show_a_part_of_the_same_rays():
    full = camera_rays(info(), rectified=False)
    roi = types.SimpleNamespace(x_offset=2, y_offset=1, height=4, width=6)
    np.testing.assert_allclose(camera_rays(info(roi=roi), rectified=False), full[1:5, 2:8], atol=1e-6)
    binned = camera_rays(info(binning_x=2, binning_y=2), rectified=False)
    assert binned.shape == (3, 4, 3)
    np.testing.assert_allclose(binned[0, 0], full[:2, :2].mean(axis=(0, 1)), atol=1e-6)


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("binning", [(0, 0), (2, 3)])
def test_the_matrix_of_a_part_of_the_image_gives_its_rays(binning, rectified):
    roi = types.SimpleNamespace(x_offset=2, y_offset=1, height=3, width=4)
    camera = info(roi=roi, binning_x=binning[0], binning_y=binning[1])
    K, distortion, _ = camera_matrix(camera, rectified)
    rays = camera_rays(camera, rectified)
    v, u = np.indices(rays.shape[:2])
    pixels = rays @ K.T
    np.testing.assert_allclose(pixels[..., 0] / pixels[..., 2], u, atol=1e-5)
    np.testing.assert_allclose(pixels[..., 1] / pixels[..., 2], v, atol=1e-5)
    assert not distortion.any()


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "8UC3"])
def test_colours_of_every_encoding_are_red_green_and_blue(encoding, padding):
    rgb = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels = rgb[..., ::-1] if encoding in ("bgr8", "bgra8", "8UC3") else rgb  # OpenCV's order where none is named
    if encoding.endswith("a8"):
        pixels = np.concatenate([pixels, np.full((HEIGHT, WIDTH, 1), 255, np.uint8)], axis=-1)
    rows = pixels.reshape(HEIGHT, -1)
    message = image(rows, encoding, padding)
    message.width = WIDTH
    np.testing.assert_array_equal(decode_colours(message), rgb)


def test_grey_pictures_stay_grey():
    grey = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(decode_colours(image(grey, "mono8", 5)), grey)


def test_another_camera_is_noticed():
    decoder = DepthImageDecoder()
    first = decoder.decode(image(depth_mm(), "16UC1"), info())
    wider = [FOCAL / 2, 0.0, (WIDTH - 1) / 2, 0.0, FOCAL / 2, (HEIGHT - 1) / 2, 0.0, 0.0, 1.0]
    second = decoder.decode(image(depth_mm(), "16UC1"), info(k=wider))
    np.testing.assert_allclose(second.points[..., :2], 2 * first.points[..., :2], rtol=1e-5)
    third = decoder.decode(image(depth_mm(), "16UC1"), info())
    np.testing.assert_array_equal(third.points, first.points)


BAD = {
    "colour": (lambda: image(depth_mm(), "rgb8"), info, r"must be encoded as 16UC1, mono16, 32FC1, got 'rgb8'"),
    "empty": (lambda: image(np.zeros((0, 0), np.uint16), "16UC1"), info, "empty depth image: height 0 x width 0"),
    "cut off": (
        lambda: types.SimpleNamespace(**{**vars(image(depth_mm(), "16UC1")), "data": b"1234"}),
        info,
        "holds 4 bytes, height 6 x step 16 = 96 expected",
    ),
    "step": (
        lambda: types.SimpleNamespace(**{**vars(image(depth_mm(), "16UC1")), "step": 3}),
        info,
        "step 3, which is less than width 8 x 2 bytes",
    ),
    "all missing": (lambda: image(np.zeros((6, 8), np.uint16), "16UC1"), info, "none of the 48 points is usable"),
    "another size": (lambda: image(depth_mm()[:4], "16UC1"), info, "4 x 8 pixels, but camera_info is of 6 x 8"),
    "not calibrated": (lambda: image(depth_mm(), "16UC1"), lambda: info(k=[0.0] * 9), "not calibrated: K has no focal"),
    "unknown distortion": (
        lambda: image(depth_mm(), "16UC1"),
        lambda: info(distortion_model="thin_prism", d=[0.1] * 12),
        "distortion_model 'thin_prism'",
    ),
    "distortion without a model": (
        lambda: image(depth_mm(), "16UC1"),
        lambda: info(d=[0.1, float("nan"), 0.0, 0.0, 0.0]),
        "which plumb_bob cannot be",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_images_and_cameras_are_refused_with_the_value_at_fault(case):
    make_image, make_info, reason = BAD[case]
    with pytest.raises(CloudError, match=reason):
        DepthImageDecoder().decode(make_image(), make_info())


def test_images_too_large_are_refused_before_anything_is_made_of_them():
    with pytest.raises(CloudError, match="6 x 8 = 48 pixels exceeds the limit of 40"):
        DepthImageDecoder().decode(image(depth_mm(), "16UC1"), info(), max_points=40)


@pytest.mark.parametrize(
    ("encoding", "dtype"), [("mono8", np.uint8), ("8UC1", np.uint8), ("mono16", np.uint16), ("32SC1", np.int32)]
)
def test_masks_of_every_encoding(encoding, dtype):
    labels = np.arange(48, dtype=dtype).reshape(6, 8)
    for big_endian in (False, True):
        np.testing.assert_array_equal(decode_mask(image(labels, encoding, 3, big_endian)), labels)
    with pytest.raises(CloudError, match=r"mask must be encoded as mono8, .*got '32FC1'"):
        decode_mask(image(labels, "32FC1"))
