"""Captures from files: what they hold, and what is said of files that hold none."""

from __future__ import annotations

import numpy as np
import open3d as o3d
import pytest

from onet_ros.scene import CaptureError, depth_to_points, load_capture

K = np.array([[100.0, 0.0, 3.5], [0.0, 120.0, 2.5], [0.0, 0.0, 1.0]])


def depth_image() -> np.ndarray:
    depth = np.linspace(0.5, 1.2, 48).reshape(6, 8)
    depth[2, 3] = 0.0
    return np.round(depth, 3)


def write_pcd(path, points, colours=None, rows=1, viewpoint="0 0 0 1 0 0 0", **how):
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.reshape(-1, 3).astype(float)))
    if colours is not None:
        cloud.colors = o3d.utility.Vector3dVector(colours.reshape(-1, 3) / 255.0)
    o3d.io.write_point_cloud(str(path), cloud, **how)
    count = cloud_size = len(cloud.points)
    header = path.read_bytes()
    header = header.replace(f"WIDTH {cloud_size}".encode(), f"WIDTH {count // rows}".encode())
    header = header.replace(b"HEIGHT 1\n", f"HEIGHT {rows}\n".encode())
    path.write_bytes(header.replace(b"VIEWPOINT 0 0 0 1 0 0 0", f"VIEWPOINT {viewpoint}".encode()))


def test_depth_becomes_the_points_that_project_back_to_their_pixels():
    depth = depth_image()
    points = depth_to_points(depth, K)
    assert points.dtype == np.float32
    assert np.isnan(points[2, 3]).all()
    projected = points @ K.T
    v, u = np.indices(depth.shape)
    seen = depth > 0
    np.testing.assert_allclose(projected[seen][:, 0] / projected[seen][:, 2], u[seen], atol=1e-4)
    np.testing.assert_allclose(projected[seen][:, 1] / projected[seen][:, 2], v[seen], atol=1e-4)
    np.testing.assert_allclose(points[seen][:, 2], depth[seen], rtol=1e-6)


@pytest.mark.parametrize(
    ("depth", "intrinsics", "reason"),
    [
        (np.zeros((4, 4, 1)), K, r"depth must be \(H, W\) float metres, got \(4, 4, 1\) float64"),
        (np.zeros((4, 4), np.uint16), K, "uint16"),
        (np.ones((4, 4)), np.eye(2), "K must be 3 x 3"),
        (np.ones((4, 4)), np.diag([0.0, 1.0, 1.0]), "positive focal lengths"),
    ],
)
def test_depth_or_intrinsics_that_are_none_are_refused(depth, intrinsics, reason):
    with pytest.raises(ValueError, match=reason):
        depth_to_points(depth, intrinsics)


@pytest.mark.parametrize("unit", ["metres", "millimetres"])
def test_npz_with_everything(tmp_path, unit):
    depth = depth_image()
    named = (
        {"depth": depth.astype(np.float32)}
        if unit == "metres"
        else {"depth_mm": (depth * 1000).round().astype(np.uint16)}
    )
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    poses = np.stack([np.eye(4)] * 2)
    np.savez(
        tmp_path / "c.npz", **named, K=K, rgb=rgb, plane=[0, 0, -2.0, 1.0], seg=np.ones((6, 8), np.uint8),
        names=np.array(["a", "b"]), T_cam_object=poses,
    )  # fmt: skip
    capture = load_capture(tmp_path / "c.npz")
    np.testing.assert_allclose(capture.cloud.points, depth_to_points(depth, K), rtol=1e-6)
    np.testing.assert_array_equal(capture.cloud.valid, depth > 0)
    np.testing.assert_array_equal(capture.rgb, rgb)
    np.testing.assert_allclose(capture.plane.coefficients, [0, 0, -1, 0.5])
    assert capture.segmentation.shape == (6, 8)
    assert capture.names == ("a", "b")
    np.testing.assert_array_equal(capture.T_cam_object, poses)
    np.testing.assert_array_equal(capture.intrinsics, K)


def test_npz_with_depth_and_intrinsics_only(tmp_path):
    np.savez(tmp_path / "c.npz", depth=depth_image(), K=K)
    capture = load_capture(str(tmp_path / "c.npz"))
    assert capture.cloud.organized
    assert capture.rgb is capture.plane is capture.segmentation is capture.T_cam_object is None
    assert capture.names == ()


@pytest.mark.parametrize(
    "how", [{"write_ascii": True}, {}, {"compressed": True}], ids=["ascii", "binary", "compressed"]
)
def test_pcd_keeps_rows_missing_points_and_colours(tmp_path, how):
    points = depth_to_points(depth_image(), K)
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    write_pcd(tmp_path / "c.pcd", points, colours, rows=6, viewpoint="0.1 0.2 0.3 1 0 0 0", **how)
    capture = load_capture(tmp_path / "c.pcd")
    np.testing.assert_allclose(capture.cloud.points, points, rtol=1e-6)
    np.testing.assert_array_equal(capture.rgb, colours)
    np.testing.assert_allclose(capture.viewpoint, [0.1, 0.2, 0.3])


def test_ply_is_a_cloud_without_rows(tmp_path):
    points = depth_to_points(depth_image(), K)
    points = points[~np.isnan(points[..., 0])]
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.astype(float)))
    o3d.io.write_point_cloud(str(tmp_path / "c.ply"), cloud)
    capture = load_capture(tmp_path / "c.ply")
    assert not capture.cloud.organized
    np.testing.assert_allclose(capture.cloud.valid_points, points, rtol=1e-6)
    assert capture.rgb is None


def garbage(path):
    path.write_bytes(b"this is no capture")


def truncated(path):
    np.savez(path, depth=depth_image(), K=K)
    path.write_bytes(path.read_bytes()[:-200])


def corrupt(path):
    np.savez_compressed(path, depth=np.random.default_rng(0).random((50, 50)), K=K)
    data = bytearray(path.read_bytes())
    data[200:400] = bytes(200)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("c.txt", garbage, r"a capture ends in .npz, .ply, .pcd, not in '.txt'"),
        ("c.npz", lambda path: None, "no such file"),
        ("c.npz", garbage, r"not an .npz archive \(18 bytes\)"),
        ("c.npz", lambda path: path.touch(), r"not an .npz archive \(0 bytes\)"),
        ("c.npz", truncated, "not an .npz archive"),
        ("c.npz", corrupt, "depth.npy in the archive is damaged|Error -3|Bad magic number"),
        ("c.npz", lambda path: np.savez(path, depth=depth_image()), "needs K and depth or depth_mm, found depth"),
        ("c.npz", lambda path: np.savez(path, K=K, image=K), "needs K and depth or depth_mm, found K, image"),
        ("c.npz", lambda path: np.savez(path, K=np.eye(2), depth=depth_image()), "K must be 3 x 3"),
        ("c.npz", lambda path: np.savez(path, K=K, depth=np.array([None])), "Object arrays cannot be loaded"),
        ("c.npz", lambda path: np.savez(path, K=K, depth=np.zeros((4, 4))), "none of the 16 points is usable"),
        (
            "c.npz",
            lambda path: np.savez(path, K=K, depth=depth_image(), seg=np.zeros(3)),
            r"seg must be \(6, 8\) uint8",
        ),
        ("c.npz", lambda path: np.savez(path, K=K, depth=depth_image(), plane=[0, 0, 0, 1]), "a plane is 4 finite"),
        ("c.ply", garbage, "no points could be read from this file of 18 bytes"),
        ("c.pcd", garbage, "no points could be read from this file of 18 bytes"),
        (
            "c.pcd",
            lambda path: write_pcd(path, np.ones((7, 3)), rows=2),
            "HEIGHT 2 x WIDTH 3 in the header, but 7 points",
        ),
        ("c.pcd", lambda path: write_pcd(path, np.zeros((7, 3))), "7 exactly zero"),
    ],
)
def test_file_that_holds_no_capture_is_refused_with_its_path(tmp_path, name, write, reason):
    write(tmp_path / name)
    with pytest.raises(CaptureError, match=reason) as refusal:
        load_capture(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)


def test_real_captures(dev_data):
    paths = sorted((dev_data / "real").glob("*.npz"))
    assert len(paths) == 6
    for path in paths:
        capture = load_capture(path)
        assert capture.cloud.points.shape == (480, 640, 3)
        assert capture.rgb.shape == (480, 640, 3)
        on_plane = np.abs(capture.plane.height(capture.cloud.valid_points)) < 0.01
        assert on_plane.mean() > 0.4, path
