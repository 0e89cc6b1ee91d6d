"""Room for messages of several megabytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onet_ros.ros.large_messages import PROFILE_VARIABLES, ROOM, settings_for_large_messages

pytestmark = pytest.mark.ros


def free_memory(path: Path) -> int:
    known = os.statvfs(path)
    return known.f_bavail * known.f_frsize


def test_the_profile_that_comes_with_the_package_is_used_where_there_is_room(tmp_path):
    assert free_memory(tmp_path) > ROOM
    settings = settings_for_large_messages({"PATH": "/bin", "ROS_LOCALHOST_ONLY": "0"}, tmp_path)
    assert set(settings) == set(PROFILE_VARIABLES)
    (profile,) = set(settings.values())
    assert Path(profile).is_absolute()
    assert "<segment_size>16777216</segment_size>" in Path(profile).read_text()


@pytest.mark.parametrize(
    "chosen",
    [
        {"FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml"},
        {"FASTDDS_DEFAULT_PROFILES_FILE": "/mine.xml"},
        {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"},
        {"ROS_LOCALHOST_ONLY": "1"},
    ],
)
def test_who_chose_otherwise_is_left_alone(chosen, tmp_path):
    assert settings_for_large_messages(chosen, tmp_path) == {}


def test_without_shared_memory_nothing_is_set():
    assert settings_for_large_messages({}, Path("/nowhere")) == {}


def test_without_room_nothing_is_set(monkeypatch, tmp_path):
    monkeypatch.setattr("onet_ros.ros.large_messages.ROOM", free_memory(tmp_path) + (1 << 40))
    assert settings_for_large_messages({}, tmp_path) == {}


def test_clouds_of_six_megabytes_arrive_with_best_effort(client, tmp_path):
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import PointCloud2

    from onet_ros.ros.packed_message import PackedMessage
    from onet_ros.ros.processes import NodeProcess

    if not settings_for_large_messages():
        pytest.skip("other transports are set, or there is too little shared memory")
    stamps: list[float] = []

    def on_bytes(data: bytes) -> None:
        packed = PackedMessage.of(PointCloud2, data)
        assert len(data) > 6_000_000
        stamps.append(packed.stamp.sec + 1e-9 * packed.stamp.nanosec)

    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    subscription = client.collector.create_subscription(PointCloud2, "large_clouds", on_bytes, qos, raw=True)
    words = ["--rate", "5", "--objects", "2", "--prepare", "2", "--best-effort"]
    remapped = ["--ros-args", "-r", "points:=large_clouds"]
    camera = NodeProcess("onet_ros.ros.depth_camera", [*words, *remapped], tmp_path / "camera.log")
    try:
        client.wait_until(lambda: len(stamps) > 10 and stamps[-1] - stamps[0] > 3.0, camera)
    finally:
        assert camera.stop() == 0, camera.log()
        client.collector.destroy_subscription(subscription)
    sent = (stamps[-1] - stamps[0]) * 5.0 + 1.0
    assert len(stamps) > 0.7 * sent  # of 512 kB of shared memory it is less than a third
