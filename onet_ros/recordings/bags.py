"""ROS bags without ROS, through the library rosbags."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onet_ros.recordings.recording import RecordedFrame, RecordingError
from onet_ros.recordings.transforms import RecordedTransforms, TransformError
from onet_ros.scene import CloudError, DepthImageDecoder, PointCloud, decode_point_cloud2

CLOUD_TYPE, IMAGE_TYPE = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/Image"
INFO_TYPE, TF_TYPE = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"


class BagRecording:
    """The clouds, or depth images, of one topic of a bag.

    Args:
        path: of a bag's folder, or of an .mcap, .db3 or .bag file.
        topic: of the clouds (PointCloud2) or depth images (Image, with camera_info beside them); empty where there is
            only one topic of clouds.
        target_frame: of the results, found in /tf and /tf_static of the bag; empty for the camera's own.
        max_points: clouds with more points are refused.

    Raises:
        RecordingError: no bag, no such topic, or several to choose from; names those there are.
    """

    def __init__(self, path: Path, topic: str = "", target_frame: str = "", max_points: int = 5_000_000) -> None:
        self._path, self._max_points = path, max_points
        self.target_frame, self.fixed_frame = target_frame, bool(target_frame)
        with _opened(path) as reader:
            self._topics = {name: (info.msgtype or "", info.msgcount) for name, info in reader.topics.items()}
            self.topic = self._chosen(topic)
            self._transforms = self._read_transforms(reader) if target_frame else None

    def __len__(self) -> int:
        return self._topics[self.topic][1]

    def frames(self) -> Iterator[RecordedFrame]:
        """All of them, decoded one by one. Messages that are broken are frames whose `cloud` raises CloudError."""
        with _opened(self._path) as reader:
            if self._topics[self.topic][0] == CLOUD_TYPE:
                for message in _messages(reader, [self.topic]):
                    yield self._frame(message, lambda message=message: decode_point_cloud2(message, self._max_points))
                return
            decoder, info = DepthImageDecoder(), None
            info_topic = _beside(self.topic, "camera_info")
            for message in _messages(reader, [self.topic, info_topic]):
                if hasattr(message, "encoding"):
                    yield self._frame(message, lambda message=message, info=info: self._decoded(decoder, message, info))
                else:
                    info = message

    def _decoded(self, decoder: DepthImageDecoder, image: Any, info: Any) -> PointCloud:
        if info is None:
            raise CloudError(f"no message on {_beside(self.topic, 'camera_info')} so far: depth images need it")
        return decoder.decode(image, info, max_points=self._max_points)

    def _frame(self, message: Any, decode: Any) -> RecordedFrame:
        stamp = int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)
        camera = str(message.header.frame_id)

        def placed() -> NDArray[np.float64]:
            if self._transforms is None or camera == self.target_frame:
                return np.eye(4)
            return self._transforms.lookup(self.target_frame, camera, stamp)

        def cloud() -> PointCloud:
            T_target_camera, own = placed(), decode()
            if np.array_equal(T_target_camera, np.eye(4)):
                return own
            rotation, translation = T_target_camera[:3, :3], T_target_camera[:3, 3]
            return PointCloud(own.points @ rotation.T.astype(np.float32) + translation.astype(np.float32))

        return RecordedFrame(stamp, self.target_frame or camera, cloud, lambda: placed()[:3, 3])

    def _chosen(self, topic: str) -> str:
        """The topic to read, after a look at what there is."""
        clouds = [name for name, (kind, _) in self._topics.items() if kind == CLOUD_TYPE]
        images = [
            name
            for name, (kind, _) in self._topics.items()
            if kind == IMAGE_TYPE and self._topics.get(_beside(name, "camera_info"), ("",))[0] == INFO_TYPE
        ]
        if topic:
            if topic in (*clouds, *images):
                return topic
            if self._topics.get(topic, ("",))[0] == IMAGE_TYPE:
                info = _beside(topic, "camera_info")
                raise RecordingError(f"{self._path}: depth images on {topic} need {info}, which is not in the bag")
            raise RecordingError(f"{self._path}: no clouds or depth images on {topic!r}; {self._offer(clouds, images)}")
        if len(clouds) == 1:
            return clouds[0]
        if not clouds and not images:
            found = ", ".join(f"{name} ({kind})" for name, (kind, _) in sorted(self._topics.items())) or "nothing"
            raise RecordingError(f"{self._path}: no PointCloud2 and no depth images in this bag; it holds {found}")
        raise RecordingError(f"{self._path}: choose a topic; {self._offer(clouds, images)}")

    def _offer(self, clouds: list[str], images: list[str]) -> str:
        kinds = {**dict.fromkeys(clouds, "clouds"), **dict.fromkeys(images, "images")}
        texts = [f"{name} ({self._topics[name][1]} {kind})" for name, kind in kinds.items()]
        return f"there are {', '.join(texts)}" if texts else "there are none"

    def _read_transforms(self, reader: Any) -> RecordedTransforms:
        transforms = RecordedTransforms()
        topics = [name for name, (kind, _) in self._topics.items() if kind == TF_TYPE]
        if not topics:
            raise RecordingError(f"{self._path}: no /tf in this bag, so that nothing is known of {self.target_frame!r}")
        for connection, _, raw in reader.messages([one for one in reader.connections if one.topic in topics]):
            always = connection.topic.endswith("tf_static")
            for transform in reader.deserialize(raw, connection.msgtype).transforms:
                stamp = transform.header.stamp
                move, turn = transform.transform.translation, transform.transform.rotation
                try:
                    transforms.add(
                        str(transform.header.frame_id),
                        str(transform.child_frame_id),
                        None if always else int(stamp.sec) * 10**9 + int(stamp.nanosec),
                        (move.x, move.y, move.z),
                        (turn.x, turn.y, turn.z, turn.w),
                    )
                except TransformError:
                    continue  # tf2 ignores what is no transform, too
        transforms.finish()
        return transforms


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A reader of the bag.

    Raises:
        RecordingError: the library is missing, this is no bag, or it breaks off in the middle.
    """
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise RecordingError(
            f"{path}: bags need the library rosbags ({error}): pip install 'onet_ros[bags]'"
        ) from error
    try:
        # Bags of old ROS 2 distributions do not hold the definitions of their messages.
        with AnyReader([path], default_typestore=get_typestore(Stores.LATEST)) as reader:
            yield reader
    except RecordingError:
        raise
    except Exception as error:  # the library has many, without a common parent
        raise RecordingError(
            f"{path}: this bag cannot be read ({type(error).__name__}: {error}); was it closed at the recording's end?"
        ) from error


def _messages(reader: Any, topics: list[str]) -> Iterator[Any]:
    connections = [connection for connection in reader.connections if connection.topic in topics]
    for connection, _, raw in reader.messages(connections):
        yield reader.deserialize(raw, connection.msgtype)


def _beside(topic: str, name: str) -> str:
    """A topic of the same camera."""
    return f"{topic.rpartition('/')[0]}/{name}"
