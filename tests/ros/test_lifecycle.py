"""The managed node: driven from outside, told why a transition failed, configured again for other inputs."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from onet_ros.networks.checkpoint import WEIGHTS_FILE
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.collector import ReceivedObject
from onet_ros.ros.frames import tf2_ros
from onet_ros.ros.image_messages import to_camera_info_msg, to_depth_image_msg, to_mask_msg

pytestmark = pytest.mark.ros

FRAME = "camera_depth_optical_frame"


def cloud_of(points: np.ndarray):
    return to_point_cloud2_msg(Header(frame_id=FRAME), points, LAYOUTS["realsense"])


def test_it_waits_to_be_configured_and_says_so(unconfigured):
    process, client = unconfigured
    response = client.call(Trigger, "~/clear", process)
    assert (response.success, response.message) == (False, "the node is unconfigured")
    level, message, values = client.diagnosis(process)
    assert (level, message, values["state"]) == (DiagnosticStatus.OK, "unconfigured", "unconfigured")
    assert client.clouds_heard_by() <= 1  # by the collector only


def test_a_failed_transition_is_explained_and_the_parameter_can_be_mended(
    unconfigured, octahedron_checkpoint, tmp_path
):
    process, client = unconfigured
    corrupt = tmp_path / "corrupt"
    shutil.copytree(octahedron_checkpoint, corrupt)
    weights = corrupt / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-100])
    cases = [
        ("model", "/nowhere", "cannot configure: no checkpoint: cannot read /nowhere/config.json"),
        ("model", str(corrupt), f"cannot configure: {weights}"),
        ("device", "warp_drive", "cannot configure: parameter device is 'warp_drive'"),
    ]
    if tf2_ros is None:
        wanted = "cannot configure: parameter target_frame is 'base_link', which needs tf2_ros, and tf2_ros is not"
        cases.append(("target_frame", "base_link", wanted))
    for parameter, value, reason in cases:
        before = {"model": str(octahedron_checkpoint), "device": "cpu", "target_frame": ""}[parameter]
        assert client.set_parameters(process, **{parameter: value}) == []
        assert not client.change_state("configure", process)
        assert client.state(process) == "unconfigured"
        assert reason in process.log()
        level, message, _ = client.diagnosis(process)
        assert level == DiagnosticStatus.ERROR
        assert message.startswith(reason)
        assert reason in client.call(Trigger, "~/clear", process).message
        assert client.set_parameters(process, **{parameter: before}) == []
    assert client.change_state("configure", process)
    level, _, values = client.diagnosis(process)
    assert (level, values["state"]) == (DiagnosticStatus.OK, "inactive")
    assert values["model"] == str(octahedron_checkpoint)


def test_a_transition_that_the_state_does_not_allow_is_refused_and_does_no_harm(unconfigured):
    process, client = unconfigured
    for label in ("activate", "deactivate", "cleanup"):
        assert not client.change_state(label, process)
    assert client.state(process) == "unconfigured"


def test_from_configured_to_active_to_paused_and_back(unconfigured, table_points):
    process, client = unconfigured
    assert client.change_state("configure", process)
    refused = client.set_parameters(process, model="/elsewhere", input="depth", marker_lifetime=12.0)
    assert [reason.partition(" can be changed")[0] for reason in refused] == ["model", "input"]
    assert client.change_state("activate", process)
    client.wait_until(lambda: client.clouds_heard_by() == 2, process)
    first = client.result_of(client.send(cloud_of(table_points)), process)
    assert len(first.objects) == 2
    keys = {("onet/objects", item.id) for item in first.objects}
    client.wait_until(lambda: keys <= set(client.collector.shown_markers()), process)
    # Paused: nobody listens, and what is shown stays.
    assert client.change_state("deactivate", process)
    client.wait_until(lambda: client.clouds_heard_by() == 1, process)
    client.send(cloud_of(table_points))
    client.wait_until(lambda: client.diagnosis(process)[2]["state"] == "inactive", process)
    assert keys <= set(client.collector.shown_markers())
    assert client.change_state("activate", process)
    client.wait_until(lambda: client.clouds_heard_by() == 2, process)
    second = client.result_of(client.send(cloud_of(table_points)), process)
    assert [item.id for item in second.objects] == [item.id for item in first.objects]
    # Cleaned up: everything is given back.
    assert client.change_state("deactivate", process)
    assert client.change_state("cleanup", process)
    client.wait_until(lambda: not client.collector.shown_markers(), process)
    client.wait_until(lambda: client.collector.count_publishers("onet/objects") == 0, process)


@pytest.fixture
def images(managed):
    """Publishers of a depth camera, with best effort as many drivers have it."""
    _, client = managed
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    types = {"depth_image": Image, "camera_info": CameraInfo, "mask": Image}
    publishers = {name: client.collector.create_publisher(kind, name, qos) for name, kind in types.items()}
    yield publishers
    for publisher in publishers.values():
        client.collector.destroy_publisher(publisher)


SECONDS = itertools.count(1000)


def stamped() -> Header:
    """A header with a stamp that no other has."""
    return Header(stamp=Time(sec=next(SECONDS)), frame_id=FRAME)


def newest(client) -> int:
    """Seconds of the stamp of the newest message with objects, of those that count stamps from 1000."""
    return max((m.header.stamp.sec for m in client.collector.results if m.header.stamp.sec < 100_000), default=0)


def test_depth_images_with_their_camera_give_the_objects_of_the_cloud(unconfigured, images, table_scene, table_points):
    process, client = unconfigured
    assert client.set_parameters(process, input="depth") == []
    client.activate(process)
    assert "waiting for input on /managed/depth_image, /managed/camera_info" in process.log()
    client.wait_until(lambda: images["depth_image"].get_subscription_count() == 1, process)
    # Before the camera is known, images are of no use, and that is told.
    images["depth_image"].publish(to_depth_image_msg(stamped(), table_points))
    client.wait_until(lambda: "no message on /managed/camera_info so far" in process.log(), process)
    height, width = table_points.shape[:2]
    images["camera_info"].publish(to_camera_info_msg(stamped(), table_scene[1].intrinsics, height, width))
    for encoding in ("16UC1", "32FC1"):
        assert client.call(Trigger, "~/clear", process).success

        first = next(SECONDS)

        def send(encoding=encoding) -> None:
            images["depth_image"].publish(to_depth_image_msg(stamped(), table_points, encoding))

        client.repeat_until(send, lambda first=first: newest(client) > first, process)
        meshes = [ReceivedObject.from_msg(item).mesh for item in client.collector.results[-1].objects]
        assert len(meshes) == 2
        truth = table_scene[0].meshes_in(table_scene[1].T_camera_world).values()
        for true_mesh in truth:
            centre = true_mesh.bounds.mean(axis=0)
            assert min(np.linalg.norm(mesh.bounds.mean(axis=0) - centre) for mesh in meshes) < 0.06
    # A camera of another size is refused with both sizes.
    images["camera_info"].publish(to_camera_info_msg(stamped(), table_scene[1].intrinsics, 480, 640))

    refusal = "depth image of 240 x 320 pixels, but camera_info is of 480 x 640"
    client.repeat_until(send, lambda: refusal in process.log(), process)


def test_masks_take_the_place_of_the_segmentation(unconfigured, images, table_scene, table_points):
    process, client = unconfigured
    labels = np.where(table_scene[1].capture(0).labels == 1, 7, 0)  # of the two objects, whoever made it knows one
    assert client.set_parameters(process, input="cloud", use_mask=True, mask_queue=3) == []
    client.activate(process)
    client.wait_until(lambda: images["mask"].get_subscription_count() == 1, process)
    client.wait_until(lambda: client.clouds_heard_by() == 2, process)

    def send(mask) -> None:
        cloud = cloud_of(table_points)
        cloud.header = stamped()
        client._publisher.publish(cloud)
        if mask is not None:
            images["mask"].publish(to_mask_msg(cloud.header, mask))

    first = next(SECONDS)
    client.repeat_until(lambda: send(labels), lambda: newest(client) > first, process)
    (item,) = client.collector.results[-1].objects
    truth = table_scene[0].meshes_in(table_scene[1].T_camera_world)["box"]
    assert np.linalg.norm(ReceivedObject.from_msg(item).mesh.bounds.mean(axis=0) - truth.bounds.mean(axis=0)) < 0.06
    # Without masks clouds wait for a while, and are told to be missing theirs.
    refusal = "no message on /managed/mask within 0.02 s of the stamp"
    client.repeat_until(lambda: send(None), lambda: refusal in process.log(), process)
    # A mask of another size is refused.
    refusal = "a mask of 100 x 320 does not fit a cloud of 240 x 320"
    client.repeat_until(lambda: send(labels[:100]), lambda: refusal in process.log(), process)


def test_it_is_an_ordinary_node_again_afterwards(unconfigured, table_points):
    process, client = unconfigured
    client.activate(process)
    client.wait_until(lambda: client.clouds_heard_by() == 2, process)
    assert len(client.result_of(client.send(cloud_of(table_points)), process).objects) == 2
    _, _, values = client.diagnosis(process)
    assert values["state"] == "active"
    accounted = sum(int(count) for key, count in values.items() if key.startswith("dropped: "))
    assert int(values["received"]) == int(values["published"]) + accounted + int(values["waiting"])
