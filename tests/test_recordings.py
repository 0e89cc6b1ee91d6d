"""Recordings without ROS: captures and bags, transforms of a bag, and what `onet reconstruct` makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore
from table_scenes import K, View, box, look, table

from onet_ros.cli import main
from onet_ros.recordings import RecordedTransforms, RecordingError, open_recording
from onet_ros.recordings.transforms import TransformError
from onet_ros.scene import CloudError

BOX, CUBE = box((0.08, 0.06, 0.1), (-0.12, 0.0, 0.0)), box((0.06, 0.06, 0.06), (0.12, 0.05, 0.0))
EYE = (0.0, -0.6, 0.55)
COARSE = ["--set", "extraction.start_resolution=8", "--set", "extraction.max_triangles=200"]


class Bag:
    """Writes a bag: its messages are made by a function of the type store, its name and its time in seconds."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind
        self.store = get_typestore(Stores.ROS1_NOETIC if kind == "bag" else Stores.ROS2_HUMBLE)
        self.messages: list[tuple[str, str, float, object]] = []

    def make(self, kind: str, **values: object) -> object:
        return self.store.types[kind](**values)

    def header(self, seconds: float, frame_id: str) -> object:
        stamp = self.make("builtin_interfaces/msg/Time", sec=int(seconds), nanosec=round(seconds % 1 * 1e9))
        sequence = {"seq": 0} if self.kind == "bag" else {}
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id, **sequence)

    def add(self, topic: str, kind: str, seconds: float, message: object) -> None:
        self.messages.append((topic, kind, seconds, message))

    def cloud(self, seconds: float, view: View, topic: str = "/camera/points", frame_id: str = "camera") -> None:
        points = np.ascontiguousarray(view.cloud.points)
        fields = [
            self.make("sensor_msgs/msg/PointField", name=name, offset=4 * axis, datatype=7, count=1)
            for axis, name in enumerate("xyz")
        ]
        height, width = points.shape[:2]
        message = self.make(
            "sensor_msgs/msg/PointCloud2",
            header=self.header(seconds, frame_id),
            height=height,
            width=width,
            fields=fields,
            is_bigendian=False,
            point_step=12,
            row_step=12 * width,
            data=points.view(np.uint8).ravel(),
            is_dense=False,
        )
        self.add(topic, "sensor_msgs/msg/PointCloud2", seconds, message)

    def depth(self, seconds: float, view: View, topic: str = "/camera/depth/image") -> None:
        millimetres = np.nan_to_num(1000 * view.cloud.points[..., 2]).round().astype(np.uint16)
        height, width = millimetres.shape
        header = self.header(seconds, "camera")
        image = self.make(
            "sensor_msgs/msg/Image",
            header=header,
            height=height,
            width=width,
            encoding="16UC1",
            is_bigendian=0,
            step=2 * width,
            data=millimetres.view(np.uint8).ravel(),
        )
        self.add(topic, "sensor_msgs/msg/Image", seconds, image)

    def camera_info(self, seconds: float, view: View, topic: str = "/camera/depth/camera_info") -> None:
        height, width = view.cloud.points.shape[:2]
        roi = self.make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        info = self.make(
            "sensor_msgs/msg/CameraInfo",
            header=self.header(seconds, "camera"),
            height=height,
            width=width,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=K.ravel(),
            r=np.eye(3).ravel(),
            p=np.column_stack([K, np.zeros(3)]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=roi,
        )
        self.add(topic, "sensor_msgs/msg/CameraInfo", seconds, info)

    def transform(self, seconds: float, T: np.ndarray, parent: str, child: str, topic: str = "/tf") -> None:
        w, x, y, z = trimesh.transformations.quaternion_from_matrix(T)
        moved = self.make(
            "geometry_msgs/msg/Transform",
            translation=self.make("geometry_msgs/msg/Vector3", x=T[0, 3], y=T[1, 3], z=T[2, 3]),
            rotation=self.make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        )
        one = self.make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(seconds, parent),
            child_frame_id=child,
            transform=moved,
        )
        self.add(topic, "tf2_msgs/msg/TFMessage", seconds, self.make("tf2_msgs/msg/TFMessage", transforms=[one]))

    def write(self) -> Path:
        """The path to open."""
        if self.kind == "bag":
            with Writer1(self.path) as writer:
                self._write(writer, self.store.serialize_ros1)
            return self.path
        plugin = StoragePlugin.MCAP if self.kind == "mcap" else StoragePlugin.SQLITE3
        with Writer2(self.path, version=9, storage_plugin=plugin) as writer:
            self._write(writer, self.store.serialize_cdr)
        return self.path

    def _write(self, writer, serialize: Callable) -> None:
        connections = {}
        for topic, kind, seconds, message in sorted(self.messages, key=lambda item: item[2]):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=self.store)
            writer.write(connections[topic], round(seconds * 1e9), serialize(message, kind))


@pytest.fixture
def new_bag(tmp_path) -> Callable[[str], Bag]:
    def make(kind: str = "mcap") -> Bag:
        name = "recording.bag" if kind == "bag" else "recording"
        return Bag(tmp_path / name, kind)

    return make


class TestReading:
    @pytest.mark.parametrize("kind", ["mcap", "db3", "bag"])
    def test_clouds_come_out_as_they_went_in(self, kind, new_bag):
        bag, views = new_bag(kind), [look([table(), BOX], seed=seed) for seed in range(3)]
        for number, view in enumerate(views):
            bag.cloud(100.5 + number, view)
        path = bag.write()
        paths = [path] if kind == "bag" else [path, next(path.glob(f"*.{kind}"))]  # the folder, and its file alone
        for one in paths:
            recording = open_recording(one)
            assert len(recording) == 3
            assert not recording.fixed_frame
            for number, (frame, view) in enumerate(zip(recording.frames(), views, strict=True)):
                assert (frame.stamp, frame.frame_id) == (100_500_000_000 + number * 10**9, "camera")
                np.testing.assert_array_equal(frame.cloud().points, view.cloud.points)
                np.testing.assert_array_equal(frame.viewpoint(), 0.0)

    def test_depth_images_with_the_camera_beside_them(self, new_bag):
        bag, view = new_bag(), look([table(), BOX])
        bag.depth(1.0, view)
        bag.camera_info(1.5, view)
        bag.depth(2.0, view)
        recording = open_recording(bag.write(), topic="/camera/depth/image")
        early, late = recording.frames()
        with pytest.raises(CloudError, match="no message on /camera/depth/camera_info so far"):
            early.cloud()
        np.testing.assert_allclose(late.cloud().points, view.cloud.points, atol=0.002)

    def test_several_topics_have_to_be_chosen_from(self, new_bag):
        bag, view = new_bag(), look([table(), BOX])
        bag.cloud(1.0, view, "/left/points")
        bag.cloud(1.0, view, "/right/points")
        bag.cloud(2.0, view, "/right/points")
        bag.depth(1.0, view)
        bag.camera_info(1.0, view)
        path = bag.write()
        offer = "there are /left/points (1 clouds), /right/points (2 clouds), /camera/depth/image (1 images)"
        with pytest.raises(RecordingError) as refused:
            open_recording(path)
        assert f"choose a topic; {offer}" in str(refused.value)
        with pytest.raises(RecordingError, match="no clouds or depth images on '/middle/points'; there are"):
            open_recording(path, topic="/middle/points")
        assert len(open_recording(path, topic="/right/points")) == 2

    def test_bags_without_anything_to_see_say_what_they_hold(self, new_bag):
        bag = new_bag()
        bag.transform(1.0, np.eye(4), "map", "camera")
        with pytest.raises(RecordingError, match=r"no PointCloud2 and no depth images .* holds /tf \(tf2_msgs/msg/TF"):
            open_recording(bag.write())

    def test_images_without_their_camera_are_refused(self, new_bag):
        bag, view = new_bag(), look([table(), BOX])
        bag.depth(1.0, view)
        bag.cloud(1.0, view)
        with pytest.raises(RecordingError, match="need /camera/depth/camera_info, which is not"):
            open_recording(bag.write(), topic="/camera/depth/image")

    @pytest.mark.parametrize("size", [0, 100, 5000])
    def test_a_bag_that_broke_off_is_refused(self, size, new_bag, tmp_path):
        bag = new_bag()
        bag.cloud(1.0, look([table(), BOX]))
        whole = next(bag.write().glob("*.mcap"))
        broken = tmp_path / "broken.mcap"
        broken.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(RecordingError, match=r"broken.mcap: this bag cannot be read .*closed at the"):
            open_recording(broken)

    def test_other_files_are_refused_with_their_names(self, tmp_path):
        (tmp_path / "notes.txt").touch()
        (tmp_path / "empty").mkdir()
        for name, reason in (
            ("nowhere.mcap", "no such file"),
            ("notes.txt", "a recording ends in"),
            ("empty", "cannot be read"),
        ):
            with pytest.raises(RecordingError, match=f"{name}: .*{reason}"):
                open_recording(tmp_path / name)


class TestTransforms:
    def turned(self, angle: float, x: float) -> np.ndarray:
        return trimesh.transformations.rotation_matrix(angle, (0, 0, 1)) @ trimesh.transformations.translation_matrix(
            (x, 0, 0)
        )

    def add(self, transforms: RecordedTransforms, parent: str, child: str, stamp: int | None, T: np.ndarray) -> None:
        w, x, y, z = trimesh.transformations.quaternion_from_matrix(T)
        transforms.add(parent, child, stamp, T[:3, 3], (x, y, z, w))

    def test_along_a_tree_up_and_down(self):
        transforms = RecordedTransforms()
        A, B, C = self.turned(0.3, 1.0), self.turned(-0.7, 2.0), self.turned(1.1, -1.0)
        self.add(transforms, "map", "base", None, A)
        self.add(transforms, "base", "camera", None, B)
        self.add(transforms, "map", "tower", None, C)
        transforms.finish()
        np.testing.assert_allclose(transforms.lookup("map", "camera", 5), A @ B, atol=1e-12)
        np.testing.assert_allclose(transforms.lookup("camera", "map", 5), np.linalg.inv(A @ B), atol=1e-12)
        np.testing.assert_allclose(transforms.lookup("tower", "/camera", 5), np.linalg.inv(C) @ A @ B, atol=1e-12)
        np.testing.assert_allclose(transforms.lookup("base", "base", 5), np.eye(4))

    def test_between_two_moments_it_is_interpolated(self):
        transforms = RecordedTransforms()
        for stamp, angle in ((3_000, 0.8), (1_000, 0.0)):  # in any order
            T = trimesh.transformations.rotation_matrix(angle, (0, 1, 0))
            T[0, 3] = stamp / 1000
            self.add(transforms, "base", "camera", stamp, T)
        transforms.finish()
        expected = trimesh.transformations.rotation_matrix(0.2, (0, 1, 0))
        expected[0, 3] = 1.5
        np.testing.assert_allclose(transforms.lookup("base", "camera", 1_500), expected, atol=1e-12)
        np.testing.assert_allclose(transforms.lookup("base", "camera", 3_000)[0, 3], 3.0)

    def test_what_is_not_known_is_refused(self):
        transforms = RecordedTransforms()
        self.add(transforms, "base", "camera", 2_000_000_000, np.eye(4))
        self.add(transforms, "other", "island", None, np.eye(4))
        transforms.finish()
        with pytest.raises(TransformError, match=r"nothing is known 0\.500 s before the first of 1 transforms"):
            transforms.lookup("base", "camera", 1_500_000_000)
        with pytest.raises(TransformError, match=r"1\.000 s after the last"):
            transforms.lookup("base", "camera", 3_000_000_000)
        with pytest.raises(TransformError, match="not connected; frames of the recording: base, camera, island, other"):
            transforms.lookup("base", "island", 2_000_000_000)
        with pytest.raises(TransformError, match="is no transform"):
            transforms.add("a", "b", None, (0, 0, 0), (0, 0, 0, 0))


class TestCommand:
    """`onet reconstruct`, with a network that makes an octahedron of everything."""

    @pytest.fixture
    def reconstruct(self, octahedron_checkpoint, tmp_path):
        def run(*arguments: object) -> tuple[int, dict]:
            out = tmp_path / "out"
            words = ["reconstruct", *map(str, arguments), "--out", str(out), "--model", str(octahedron_checkpoint)]
            picture = [] if "--picture" in words else ["--no-picture"]
            status = main([*(word for word in words if word != "--picture"), *COARSE, *picture])
            return status, json.loads((out / "report.json").read_text()) if (out / "report.json").is_file() else {}

        return run

    def test_objects_keep_their_numbers_over_a_recording(self, reconstruct, new_bag, tmp_path, capsys):
        bag = new_bag()
        for number in range(3):
            bag.cloud(10.0 + number, look([table(), BOX, CUBE], seed=number))
        moved = CUBE.copy().apply_translation((0.03, 0.0, 0.0))
        bag.cloud(13.0, look([table(), BOX, moved], seed=3))
        for number in range(4, 6):
            bag.cloud(10.0 + number, look([table(), moved], seed=number))
        status, report = reconstruct(bag.write(), "--picture")
        assert status == 0
        assert [(r["id"], r["present_at_the_end"], r["last_seen"] // 10**9) for r in report["objects"]] == [
            (0, False, 13),
            (1, True, 15),
        ]
        assert [frame["completed"] for frame in report["timeline"]] == [[0, 1], [], [], [1], [], []]
        assert [frame["objects"] for frame in report["timeline"]] == [[0, 1]] * 4 + [[1], [1]]
        for record in report["objects"]:
            assert trimesh.load_mesh(tmp_path / "out" / record["file"]).is_watertight
        scene = trimesh.load_scene(tmp_path / "out" / "scene.glb")
        assert set(scene.geometry) == {"object_1"}
        assert (tmp_path / "out" / "picture.png").stat().st_size > 10_000
        assert "object_0.ply: " in capsys.readouterr().out

    def test_a_moving_camera_with_tf_adds_up_its_views_in_a_fixed_frame(self, reconstruct, new_bag):
        bag = new_bag()
        for number, azimuth in enumerate((0.0, 0.5, 1.0)):
            view = look([table(), BOX], (0.6 * np.sin(azimuth), -0.6 * np.cos(azimuth), 0.55), seed=number)
            bag.transform(20.0 + number, view.T_world_camera, "base_link", "camera")
            bag.cloud(20.0 + number, view)
        bag.cloud(25.0, view)
        status, report = reconstruct(bag.write(), "--target-frame", "base_link", "--models")
        assert status == 0
        (record,) = report["objects"]
        assert (record["views"], report["frame_id"]) == (3, "base_link")
        np.testing.assert_allclose(np.array(record["T_frame_object"])[:2, 3], BOX.centroid[:2], atol=0.03)
        assert list(report["dropped"]) == [
            "from 'camera' to 'base_link' nothing is known 3.000 s after the last of 3 transforms"
        ]

    def test_models_are_written_as_well_where_they_are_wanted(self, reconstruct, new_bag, tmp_path):
        bag = new_bag()
        bag.cloud(1.0, look([table(), BOX]))
        assert reconstruct(bag.write(), "--models", "--format", "obj")[0] == 0
        assert (tmp_path / "out" / "object_0.obj").is_file()
        assert (tmp_path / "out" / "models" / "object_0.urdf").is_file()

    def test_grasps_are_in_the_report_where_they_are_wanted(self, reconstruct, new_bag, capsys):
        bag = new_bag()
        bag.cloud(1.0, look([table(), BOX]))
        path, wide = bag.write(), ("--set", "grasps.max_opening=0.3", "--set", "grasps.friction=2.0")
        status, report = reconstruct(path, "--grasps", *wide)
        assert status == 0
        grasps = report["objects"][0]["grasps"]
        assert grasps
        assert f", {len(grasps)} grasps" in capsys.readouterr().out
        for grasp in grasps:
            assert np.shape(grasp["T_frame_gripper"]) == (4, 4)
            assert 0.0 < grasp["width"] < 0.3
        status, report = reconstruct(path)
        assert "grasps" not in report["objects"][0]

    def test_captures_are_recordings_of_one_frame(self, reconstruct, tmp_path):
        view = look([table(), BOX, CUBE])
        depth = np.nan_to_num(view.cloud.points[..., 2])
        for name in ("one", "two"):
            np.savez(tmp_path / f"{name}.npz", depth=depth, K=K)
        assert reconstruct(tmp_path / "one.npz", tmp_path / "two.npz")[0] == 0
        for name in ("one", "two"):
            report = json.loads((tmp_path / "out" / name / "report.json").read_text())
            assert len(report["objects"]) == 2

    def test_only_some_frames_and_other_parameters(self, reconstruct, new_bag, tmp_path):
        bag = new_bag()
        for number in range(5):
            bag.cloud(10.0 + number, look([table(), BOX, CUBE], seed=number))
        params = tmp_path / "mine.yaml"
        params.write_text("/**:\n  ros__parameters:\n    tracking:\n      updates_per_cloud: 1\n")
        _, report = reconstruct(bag.write(), "--every", 2, "--params", params)
        assert [frame["completed"] for frame in report["timeline"]] == [[0], [1], []]
        assert report["timeline"][0]["waiting"] == 1

    def test_what_cannot_be_is_refused(self, reconstruct, new_bag, tmp_path, capsys):
        bag = new_bag()
        bag.cloud(1.0, look([table()]))
        path = bag.write()
        status, report = reconstruct(path)
        assert status == 1  # a table without objects
        assert report["objects"] == []
        for words, reason in (
            (
                [path, "--set", "extraction.doubling=1"],
                "no parameter extraction.doubling; did you mean ",
            ),
            ([path, "--set", "extraction.doublings"], "expected NAME=VALUE, got 'extraction.doublings'"),
            ([path, "--every", 0], "--every must be at least 1, got 0"),
            ([path, "--target-frame", "map"], "no /tf in this bag"),
            ([tmp_path / "nowhere.mcap"], "no such file"),
        ):
            capsys.readouterr()
            assert reconstruct(*words)[0] == 1
            assert reason in capsys.readouterr().err
