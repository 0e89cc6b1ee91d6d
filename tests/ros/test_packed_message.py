"""Messages that are unpacked later."""

from __future__ import annotations

import array

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, PointCloud2

from onet_ros.ros.packed_message import PackedMessage
from onet_ros.scene import CloudError

pytestmark = pytest.mark.ros


def cloud_bytes(frame_id: str = "camera_depth_optical_frame") -> bytes:
    message = PointCloud2(height=1, width=5, data=array.array("B", range(100)))
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, 999_999_999
    return serialize_message(message)


@pytest.mark.parametrize("frame_id", ["camera_depth_optical_frame", "", "Größe/深度"])
def test_stamp_and_frame_are_known_before_it_is_unpacked(frame_id: str):
    packed = PackedMessage.of(PointCloud2, cloud_bytes(frame_id))
    message = packed.unpacked()
    assert (packed.stamp, packed.frame_id) == (message.header.stamp, message.header.frame_id)
    assert (packed.stamp.sec, packed.stamp.nanosec, packed.frame_id) == (1_700_000_000, 999_999_999, frame_id)
    assert message.data.tolist() == list(range(100))


def test_the_header_of_a_machine_of_the_other_byte_order_is_understood():
    data = b"\0\0\0\0" + (77).to_bytes(4, "big") + (88).to_bytes(4, "big") + (4).to_bytes(4, "big") + b"cam\0"
    packed = PackedMessage.of(PointCloud2, data)
    assert (packed.stamp.sec, packed.stamp.nanosec, packed.frame_id) == (77, 88, "cam")


@pytest.mark.parametrize("length", [0, 1, 3, 4, 15, 16, 30, 60, 150])
def test_what_ends_early_is_refused_with_its_size(length: int):
    packed = PackedMessage.of(PointCloud2, cloud_bytes()[:length])
    with pytest.raises(CloudError, match=f"^{length} bytes are not a PointCloud2: "):
        packed.unpacked()


def test_what_says_that_it_is_longer_than_it_is_is_refused():
    data = bytearray(cloud_bytes())
    data[12:16] = b"\xff\xff\xff\x7f"  # the length of frame_id
    packed = PackedMessage.of(Image, bytes(data))
    assert len(packed.frame_id) < len(data)
    with pytest.raises(CloudError, match="are not a Image"):
        packed.unpacked()
