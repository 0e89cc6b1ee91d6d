"""The demo as a user runs it: three processes, real DDS, files and a table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from onet_ros.ros import conversions, demo, processes
from onet_ros.ros.processes import private_domain

pytestmark = pytest.mark.ros


def run_demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onet_ros.ros.demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture
def capture(table_scene, tmp_path) -> Path:
    """A recorded capture of the table; the truth is there for the box only."""
    table, camera = table_scene
    (tmp_path / "meshes").mkdir()
    table.meshes["box"].export(tmp_path / "meshes" / "box.ply")
    path = tmp_path / "real" / "table.npz"
    path.parent.mkdir()
    depth = np.nan_to_num(camera.capture(0).points[..., 2])
    poses = np.tile(camera.T_camera_world, (len(table.meshes), 1, 1))
    np.savez(path, depth=depth, K=camera.intrinsics, names=list(table.meshes), T_cam_object=poses)
    return path


def check_demo(result: subprocess.CompletedProcess[str], out: Path) -> None:
    """Everything that a demo has to leave behind and say."""
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((out / "report.json").read_text())
    found = [row for row in report["objects"] if row["number"] is not None]
    assert all(row["watertight"] for row in found)
    assert all(row["name"] in result.stdout for row in report["objects"])
    meshes = {path.stem: trimesh.load_mesh(path, process=False) for path in (out / "meshes").glob("*.ply")}
    assert set(meshes) == {row["name"].replace(" ", "_") for row in found}
    assert all(mesh.is_watertight for mesh in meshes.values())
    assert cv2.imread(str(out / "picture.png")).shape[0] > 400
    assert 0.0 < report["latency"] < 60.0
    if conversions.CollisionObject is not None:
        assert len(report["planning_scene"]) == len(found)
    assert "IoU" in result.stdout
    assert "Traceback" not in (out / "node.log").read_text() + (out / "camera.log").read_text()


@pytest.mark.nodes
def test_demo_on_a_capture_writes_its_results_and_prints_a_table(octahedron_checkpoint, capture, tmp_path):
    out = tmp_path / "demo"
    (out / "meshes").mkdir(parents=True)
    (out / "meshes" / "from_before.ply").touch()
    result = run_demo("--model", octahedron_checkpoint, "--cloud", capture, "--out", out, "--results", 1)
    check_demo(result, out)
    box, other = json.loads((out / "report.json").read_text())["objects"]
    assert (box["name"], other["scores"]) == ("box", None)
    assert box["scores"]["iou"] > 0.2  # an octahedron in the right place
    assert box["scores"]["chamfer_l1"] < 0.03


@pytest.mark.slow
def test_demo_on_the_simulated_table(octahedron_checkpoint, tmp_path):
    check_demo(run_demo("--model", octahedron_checkpoint, "--out", tmp_path, "--objects", 3), tmp_path)


def test_demo_that_cannot_read_its_capture_says_so(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    demo.add_demo_arguments(parser)
    assert demo.run_demo(parser.parse_args(["--cloud", "/nowhere/capture.npz", "--out", str(tmp_path)])) == 1
    said = capsys.readouterr().out
    assert said.startswith("demo failed: ")
    assert "/nowhere/capture.npz" in said


@pytest.mark.nodes
def test_demo_says_why_the_node_does_not_run(tmp_path):
    result = run_demo("--model", "/nowhere", "--out", tmp_path)
    assert result.returncode == 1
    assert "demo failed: the node is not running: cannot configure: no checkpoint" in result.stdout
    assert "Traceback" not in result.stderr


def test_who_looks_for_a_domain_at_the_same_time_gets_another_one(monkeypatch):
    monkeypatch.setattr(processes.random, "shuffle", lambda candidates: None)
    first, claim = processes._claim_domain(avoid="0")
    with claim:
        second, other = processes._claim_domain(avoid="0")
        other.close()
    assert first != second


def test_private_domain_is_another_than_the_robots_and_leaves_no_trace(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    before = dict(os.environ)
    with private_domain() as domain:
        assert os.environ["ROS_DOMAIN_ID"] == str(domain) != "42"
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
        assert 1 <= domain <= 101
    assert dict(os.environ) == before
