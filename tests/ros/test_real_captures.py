"""Captures of real cameras through the node, with the model that comes with the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from std_msgs.msg import Header

from onet_ros import pictures
from onet_ros.learning.metrics import score_mesh
from onet_ros.resources import default_model_path
from onet_ros.ros.camera_sources import CameraSource, recorded_source
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.collector import ReceivedObject
from onet_ros.ros.comparison import match_objects
from onet_ros.ros.processes import NodeProcess

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.ros, pytest.mark.slow]

# How many objects a person sees on the table, and which of the two truths are known.
CAPTURES = {
    "6dof_green_bowl": 1,
    "6dof_mustard": 1,
    "6dof_red_mug": 1,
    "6dof_sugar": 1,
    "pcl_milk_clorox": 3,
    "pcl_mug_stereo": 1,
}


@pytest.fixture(scope="module")
def default_node(client, tmp_path_factory) -> Iterator[NodeProcess]:
    """A node as a user starts it, in a namespace of its own."""
    if not (default_model_path() / "config.json").is_file():
        pytest.skip(f"no model in {default_model_path()}")
    log_file = tmp_path_factory.mktemp("default") / "node.log"
    process = NodeProcess("onet_ros.ros.node", ["--ros-args", "-r", "__ns:=/real"], log_file)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def real_client(default_node, client):
    """A client in the namespace of that node."""
    namespaced = type(client)("/real")
    namespaced.wait_until(
        lambda: "messages on /real/points come reliably" in default_node.log(), default_node, timeout=90.0
    )
    namespaced.meet(default_node)
    yield namespaced
    namespaced.close()


@pytest.fixture(scope="module")
def sheet() -> Iterator[dict[str, list[pictures.Image | None]]]:
    """Rows of a contact sheet by capture, written to out/real_captures.png at the end, for a person to look at."""
    rows: dict[str, list[pictures.Image | None]] = {}
    yield rows
    if rows:
        picture = pictures.contact_sheet(list(rows.values()), pictures.CAPTURE_COLUMNS, list(rows))
        REPOSITORY.joinpath("out").mkdir(exist_ok=True)
        pictures.save_picture(REPOSITORY / "out" / "real_captures.png", picture)


def points_on_table(source: CameraSource, plane: np.ndarray) -> np.ndarray:
    """(N, 3) what the camera saw between 1 cm and 40 cm above the table."""
    points = source.frame(0).points.reshape(-1, 3)
    points = points[np.isfinite(points).all(axis=1)]
    heights = points @ plane[:3] + plane[3]
    return points[(heights > 0.01) & (heights < 0.4)]


@pytest.mark.parametrize("name", CAPTURES)
def test_objects_of_a_real_capture_come_back_closed_and_in_place(name, dev_data, default_node, real_client, sheet):
    source = recorded_source(Path(dev_data) / "real" / f"{name}.npz")
    points, colours = source.frame(0).points, source.frame(0).colours
    cloud = to_point_cloud2_msg(Header(frame_id="camera"), points, LAYOUTS["realsense"], colours)
    message = real_client.result_of(real_client.send(cloud), default_node, timeout=180.0)
    items = [ReceivedObject.from_msg(item) for item in message.objects]
    sheet[name] = pictures.capture_row(
        colours,
        source.intrinsics,
        [item.mesh for item in items],
        [item.confidence for item in items],
        np.asarray(message.support_plane),
    )
    assert len(items) >= CAPTURES[name]
    assert all(item.mesh.is_watertight and item.collision_mesh.is_watertight for item in items)
    seen = points_on_table(source, np.asarray(message.support_plane))
    for item in items[: CAPTURES[name]]:
        inside = (seen > item.mesh.bounds[0]).all(axis=1) & (seen < item.mesh.bounds[1]).all(axis=1)
        assert inside.sum() > 500
        surface = cKDTree(trimesh.sample.sample_surface(item.mesh, 20_000, seed=0)[0])
        distances, _ = surface.query(seen[inside])
        print(f"{name}: {inside.sum()} seen points, median {1000 * np.median(distances):.1f} mm from the mesh")
        assert np.median(distances) < 0.01
    for true_name, number in match_objects({i: item.mesh for i, item in enumerate(items)}, source.truth).items():
        assert number is not None, f"{true_name} is missing"
        scores = score_mesh(items[number].mesh, source.truth[true_name])
        print(f"{name}: {true_name} IoU {scores.iou:.3f}, Chamfer-L1 {1000 * scores.chamfer_l1:.2f} mm")
        assert scores.iou > 0.3
        assert scores.chamfer_l1 < 0.015
