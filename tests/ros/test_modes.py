"""Modes image and voxels over DDS: pictures with masks, or clouds put into grids, to meshes; and what is refused."""

from __future__ import annotations

import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from octrees import OCTREE_MIDDLE, binary_octree, octree_of
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from onet_ros import Reconstructor
from onet_ros.learning.procedural_data import held_out_frame
from onet_ros.reconstructor import ReconstructorSettings
from onet_ros.resources import model_path
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.collector import ReceivedObject, stamp_of
from onet_ros.ros.image_messages import to_camera_info_msg, to_depth_image_msg, to_image_msg, to_mask_msg
from onet_ros.ros.processes import NodeProcess
from onet_ros.scene import depth_to_points
from onet_ros.surface import ExtractionSettings

pytestmark = [pytest.mark.ros, pytest.mark.nodes]

COARSE = ExtractionSettings(start_resolution=16, doublings=1, max_triangles=600)
LABEL = 7


def start(namespace: str, log_file, **parameters) -> NodeProcess:
    values = {
        "num_threads": 1,
        "extraction.start_resolution": COARSE.start_resolution,
        "extraction.doublings": COARSE.doublings,
        "extraction.max_triangles": COARSE.max_triangles,
        "diagnostics_period": 0.2,
        **parameters,
    }
    words = [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]
    return NodeProcess("onet_ros.ros.node", ["--ros-args", "-r", f"__ns:=/{namespace}", *words], log_file)


@pytest.fixture(scope="module")
def frame():
    return held_out_frame(0, 1)


class Camera:
    """Publishes a picture, its camera_info, its depth and its mask; each of them can be another one."""

    def __init__(self, client, frame) -> None:
        self.client, self.frame = client, frame
        node, kinds = client.collector, {"image": Image, "mask": Image, "depth_image": Image, "camera_info": CameraInfo}
        self.publishers = {name: node.create_publisher(kind, name, 10) for name, kind in kinds.items()}

    def heard(self) -> bool:
        return all(publisher.get_subscription_count() for publisher in self.publishers.values())

    def send(self, **others) -> tuple[int, int]:
        header = Header(stamp=self.client.collector.get_clock().now().to_msg(), frame_id="camera")
        picture = self.frame.picture
        messages = {
            "camera_info": to_camera_info_msg(header, picture.K, *picture.labels.shape),
            "depth_image": to_depth_image_msg(header, self.frame.cloud.points),
            "image": colour_image(header, picture.image),
            "mask": to_mask_msg(header, LABEL * picture.labels),
        }
        for name, make in others.items():
            messages[name] = make(header)
        for name, message in messages.items():
            self.publishers[name].publish(message)
        return stamp_of(messages["image"])


def colour_image(header: Header, pixels: np.ndarray, encoding: str = "rgb8") -> Image:
    height, width, channels = pixels.shape
    message = to_image_msg(header, pixels.reshape(height, width * channels), encoding)
    message.width = width
    return message


@pytest.fixture(scope="module")
def running(client, frame, tmp_path_factory):
    process = start("pictures", tmp_path_factory.mktemp("modes") / "image.log", mode="image", use_depth="true")
    own = type(client)("/pictures")
    camera = Camera(own, frame)
    own.wait_until(camera.heard, process)
    own.wait_until(lambda: process.log().count("come reliably") == 4, process)
    own.be_known(process)
    yield process, own, camera
    assert process.stop() == 0, process.log()
    assert "Traceback" not in process.log(), process.log()
    own.close()


def octomap_data(cells: np.ndarray) -> array.array:
    """Cells (N, 3), from the middle of the map, as the data of a binary octomap_msgs/Octomap."""
    return array.array("b", binary_octree(octree_of(cells + OCTREE_MIDDLE)))


class TestImage:
    def test_a_picture_gives_the_mesh_that_the_library_makes_of_it(self, running, frame):
        process, client, camera = running
        (item,) = client.result_of(camera.send(), process).objects
        assert item.id == LABEL
        model = Reconstructor.load(model_path("image"), ReconstructorSettings(extraction=COARSE))
        depth = np.round(1000.0 * np.nan_to_num(frame.cloud.points[..., 2])) / 1000.0
        made = model.reconstruct_image(
            frame.picture.image, frame.picture.K, frame.picture.labels, cloud=depth_to_points(depth, frame.picture.K)
        )
        (expected,) = made.objects
        received = ReceivedObject.from_msg(item)
        assert received.mesh.is_watertight
        np.testing.assert_allclose(received.mesh.extents, expected.mesh.extents, rtol=0.02)
        np.testing.assert_allclose(received.mesh.centroid, expected.mesh.centroid, atol=0.003)
        truth = frame.truths[0].mesh
        assert (received.mesh.bounds[0] < truth.centroid).all()
        assert (truth.centroid < received.mesh.bounds[1]).all()

    def test_an_object_whose_mask_did_not_change_keeps_its_mesh(self, running):
        process, client, camera = running
        first, second = (client.result_of(camera.send(), process).objects[0] for _ in range(2))
        assert first.completed == second.completed
        assert second.last_seen != first.last_seen

    @pytest.mark.parametrize(
        ("others", "words"),
        [
            ({"image": lambda header: to_image_msg(header, np.ones((8, 8), np.uint16), "mono16")}, "got 'mono16'"),
            ({"image": lambda header: colour_image(header, np.ones((8, 8, 3), np.uint8))}, "pixels, but the image has"),
            ({"camera_info": lambda header: CameraInfo(header=header, height=8, width=8)}, "not calibrated"),
            ({"mask": lambda header: Image(header=header, encoding="mono8")}, "empty mask"),
            ({"mask": lambda header: Image(header=header, height=4, width=4, step=4, encoding="rgb8")}, "got 'rgb8'"),
        ],
    )
    def test_what_cannot_be_used_is_refused_and_the_next_good_one_works(self, running, others, words):
        process, client, camera = running
        count = int(client.diagnosis(process)[2]["dropped: invalid input"])
        camera.send(**others)
        client.wait_until(lambda: int(client.diagnosis(process)[2]["dropped: invalid input"]) > count, process)
        assert words in client.diagnosis(process)[2]["last error"]
        assert client.result_of(camera.send(), process).objects

    def test_a_mask_without_objects_is_named(self, running, frame):
        process, client, camera = running
        empty = np.zeros_like(frame.picture.labels)
        count = int(client.diagnosis(process)[2]["dropped: invalid input"])
        camera.send(mask=lambda header: to_mask_msg(header, empty))
        client.wait_until(lambda: int(client.diagnosis(process)[2]["dropped: invalid input"]) > count, process)
        assert "empty mask" in client.diagnosis(process)[2]["last error"]

    def test_occupancy_is_refused_with_its_reason(self, running):
        from onet_ros import srv

        process, client, _ = running
        answer = client.call(srv.QueryOccupancy, "~/query_occupancy", process, points=[0.0, 0.0, 1.0])
        assert not answer.success
        assert "mode image" in answer.message


class TestVoxels:
    def test_a_cloud_gives_meshes_through_grids(self, client, table_scene, table_points, tmp_path):
        process = start("grids", tmp_path / "voxels.log", mode="voxels")
        own = type(client)("/grids")
        try:
            own.wait_until(lambda: "come reliably" in process.log(), process)
            own.meet(process)
            cloud = to_point_cloud2_msg(Header(frame_id="camera"), table_points, LAYOUTS["realsense"])
            result = own.result_of(own.send(cloud), process)
            table, _ = table_scene
            truth = table.meshes_in(table.camera_pose())
            assert len(result.objects) == len(truth)
            for item in result.objects:
                mesh = ReceivedObject.from_msg(item).mesh
                assert mesh.is_watertight
                nearest = min(np.linalg.norm(mesh.centroid - one.centroid) for one in truth.values())
                assert nearest < 0.03
        finally:
            assert process.stop() == 0, process.log()
            own.close()

    def test_a_map_gives_meshes_where_its_cells_are(self, client, tmp_path):
        octomap_msgs = pytest.importorskip("octomap_msgs.msg", reason="octomap_msgs is not installed")
        process = start("maps", tmp_path / "map.log", mode="voxels", input="octomap")
        own = type(client)("/maps")
        publisher = own.collector.create_publisher(octomap_msgs.Octomap, "octomap", 10)
        table = np.stack(np.meshgrid(np.arange(-40, 40), np.arange(-30, 30), [-1], indexing="ij"), -1).reshape(-1, 3)
        block = np.stack(np.meshgrid(np.arange(10, 18), np.arange(2, 10), np.arange(10), indexing="ij"), -1)
        data = octomap_data(np.concatenate([table, block.reshape(-1, 3)]))
        try:
            own.wait_until(lambda: "come reliably" in process.log(), process)
            own.wait_until(lambda: publisher.get_subscription_count() == 1, process)
            own.be_known(process)

            def send(**others) -> tuple[int, int]:
                header = Header(stamp=own.collector.get_clock().now().to_msg(), frame_id="map")
                fields = {"binary": True, "id": "OcTree", "resolution": 0.01, "data": data, **others}
                publisher.publish(octomap_msgs.Octomap(header=header, **fields))
                return header.stamp.sec, header.stamp.nanosec

            result = own.result_of(send(), process)
            assert result.header.frame_id == "map"
            (item,) = result.objects
            mesh = ReceivedObject.from_msg(item).mesh
            assert mesh.is_watertight
            np.testing.assert_allclose(mesh.bounds.mean(axis=0), (0.14, 0.06, 0.055), atol=0.02)
            send(data=data[:-1])
            own.wait_until(lambda: "truncated octomap" in process.log(), process)
            assert own.result_of(send(), process).objects
        finally:
            assert process.stop() == 0, process.log()
            own.close()

    def test_a_map_is_refused_in_another_mode(self, client, tmp_path):
        process = start("no_maps", tmp_path / "no_map.log", input="octomap")
        client.wait_until(lambda: "cannot activate: parameter input is 'octomap'" in process.log(), process)
        process.stop()

    def test_a_network_for_something_else_is_refused_by_name(self, client, tmp_path):
        process = start("mistaken", tmp_path / "mistaken.log", mode="voxels", model=model_path("points"))
        client.wait_until(lambda: "observes points" in process.log(), process)
        assert "parameter mode is 'voxels'" in process.log()
        process.stop()
