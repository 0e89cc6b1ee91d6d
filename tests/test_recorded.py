"""`onet reconstruct` of pictures and voxel files: what it writes, and what it says of files that are none."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import trimesh

from onet_ros.cli import main
from onet_ros.learning.procedural_data import held_out_frame


@pytest.fixture(scope="module")
def frame():
    return held_out_frame(0, 1)


@pytest.fixture
def files(frame, tmp_path):
    """Options that reconstruct the object of the frame from picture files."""
    picture = frame.picture
    cv2.imwrite(str(tmp_path / "scene.png"), picture.image[..., ::-1])
    cv2.imwrite(str(tmp_path / "mask.png"), (picture.labels * 40_000).astype(np.uint16))
    depth = np.nan_to_num(frame.cloud.points[..., 2])
    cv2.imwrite(str(tmp_path / "depth.png"), np.round(1000.0 * depth).astype(np.uint16))
    K = picture.K
    return {
        "file": str(tmp_path / "scene.png"),
        "--intrinsics": f"{K[0, 0]},{K[1, 1]},{K[0, 2]},{K[1, 2]}",
        "--mask": str(tmp_path / "mask.png"),
        "--plane": ",".join(str(value) for value in frame.plane.coefficients),
        "--out": str(tmp_path / "out"),
        "--resolution": "32",
    }


def run(options):
    # "--plane=..." because values may begin with a minus
    words = [value if name == "file" else f"{name}={value}" for name, value in options.items()]
    return main(["reconstruct", *words])


def test_a_picture_with_its_mask_and_plane(files, frame, tmp_path):
    assert run(files) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["mode"] == "image"
    mesh = trimesh.load_mesh(tmp_path / "out" / report["objects"][0]["file"])
    assert mesh.is_watertight
    truth = frame.truths[0].mesh
    assert np.linalg.norm(mesh.bounds.mean(axis=0) - truth.bounds.mean(axis=0)) < 0.3 * truth.extents.max()


def test_a_picture_with_depth_instead_of_a_plane(files, frame, tmp_path):
    del files["--plane"]
    assert run({**files, "--depth": str(tmp_path / "depth.png")}) == 0


def test_a_picture_that_nothing_gives_a_size_to(files, tmp_path, capsys):
    del files["--plane"]
    assert run(files) == 1
    assert "label 40000: neither a support plane nor depth points" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["--intrinsics", "--mask"])
def test_a_picture_without_intrinsics_or_mask_is_refused(files, capsys, missing):
    del files[missing]
    assert run(files) == 1
    assert "needs --intrinsics FX,FY,CX,CY and --mask FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--intrinsics": "600,600,320"}, "--intrinsics must be 4 numbers, got '600,600,320'"),
        ({"--intrinsics": "0,0,0,0"}, "no intrinsics"),
        ({"--plane": "0,0,zero,1"}, "--plane must be 4 numbers"),
        ({"--mask": "nowhere.png"}, "nowhere.png: no such file"),
    ],
)
def test_mistakes_are_quoted(files, capsys, change, message):
    assert run({**files, **change}) == 1
    assert message in capsys.readouterr().err


def test_a_capture_can_be_reconstructed_from_its_picture(frame, tmp_path):
    picture = frame.picture
    depth = np.nan_to_num(frame.cloud.points[..., 2])
    segmentation = picture.labels.astype(np.uint8)
    np.savez(
        tmp_path / "c.npz", depth=depth, K=picture.K, rgb=picture.image, seg=segmentation,
        plane=frame.plane.coefficients,
    )  # fmt: skip
    options = {"file": str(tmp_path / "c.npz"), "--mode": "image", "--out": str(tmp_path / "out"), "--resolution": "32"}
    assert run(options) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["objects"]


def ball(resolution):
    ticks = (np.arange(resolution) + 0.5) / resolution - 0.5
    x, y, z = np.meshgrid(ticks, ticks, ticks, indexing="ij")
    return x**2 + y**2 + z**2 < 0.35**2


@pytest.mark.parametrize("resolution", [32, 48])
def test_a_voxel_file(tmp_path, resolution):
    np.savez(tmp_path / "g.npz", voxels=ball(resolution), origin=[0.1, 0.2, 0.0], edge=0.2)
    options = {"file": str(tmp_path / "g.npz"), "--out": str(tmp_path / "out"), "--resolution": "32"}
    assert run(options) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["mode"] == "voxels"
    assert report["objects"][0]["size_mm"] == pytest.approx([140.0] * 3, rel=0.12)
    mesh = trimesh.load_mesh(tmp_path / "out" / "object_00.ply")
    np.testing.assert_allclose(mesh.bounds.mean(axis=0), [0.2, 0.3, 0.1], atol=0.006)


def test_a_binvox_file(tmp_path):
    grid = trimesh.voxel.VoxelGrid(ball(32))
    (tmp_path / "b.binvox").write_bytes(trimesh.exchange.binvox.export_binvox(grid))
    assert run({"file": str(tmp_path / "b.binvox"), "--out": str(tmp_path / "out"), "--resolution": "32"}) == 0


def test_files_that_are_none_are_named(tmp_path, capsys):
    np.savez(tmp_path / "g.npz", voxels=np.zeros((4, 5, 6)))
    assert run({"file": str(tmp_path / "g.npz"), "--out": str(tmp_path / "out")}) == 1
    assert "g.npz: expected a cubic grid of shape (R, R, R), got (4, 5, 6)" in capsys.readouterr().err


def test_a_model_for_something_else_is_refused(files, capsys):
    from onet_ros.resources import model_path

    assert run({**files, "--model": str(model_path("voxels"))}) == 1
    assert "observes voxels" in capsys.readouterr().err
