"""Spoiled clouds into the live node, over DDS: it goes on, and every one of them is accounted for."""

from __future__ import annotations

import array
import time
from collections import Counter

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from fuzzed_clouds import Cloud, fuzzed_cloud, good_cloud
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.scene import CloudError, decode_point_cloud2

pytestmark = pytest.mark.ros

MESSAGES = 300
OF_A_KIND = 12  # refusals that begin with the same words


def to_msg(cloud: Cloud, number: int) -> PointCloud2:
    """As a real message, with a stamp of its own."""
    header = Header(frame_id="camera")
    header.stamp.sec = 10_000 + number
    return PointCloud2(
        header=header,
        height=cloud.height,
        width=cloud.width,
        fields=[
            PointField(name=one.name.replace("\0", ""), offset=one.offset, datatype=one.datatype, count=one.count)
            for one in cloud.fields
        ],
        is_bigendian=cloud.is_bigendian,
        point_step=cloud.point_step,
        row_step=cloud.row_step,
        data=array.array("B", cloud.data),
        is_dense=cloud.is_dense,
    )


def nastiest() -> list[PointCloud2]:
    """Some hundred messages: a few of each kind of refusal, and those that can be decoded."""
    good, kinds, chosen = good_cloud(), Counter(), []
    for number in range(20_000):
        cloud = fuzzed_cloud(good, number)
        try:
            decode_point_cloud2(cloud)
            kind = "usable"
        except CloudError as error:
            kind = " ".join(str(error).split()[:3])
        kinds[kind] += 1
        if kinds[kind] <= OF_A_KIND * (5 if kind == "usable" else 1):
            chosen.append(to_msg(cloud, number))
        if len(chosen) == MESSAGES:
            return chosen
    return chosen


def test_node_survives_and_accounts_for_every_spoiled_cloud(client, node, table_points):
    messages = nastiest()
    assert len(messages) > 200

    def account() -> dict[str, int]:
        values = client.diagnosis(node)[2]
        return {key: int(value) for key, value in values.items() if value.isdigit()}

    before = account()
    deadline = time.monotonic() + 120.0
    refused = "dropped: invalid input"
    while account()[refused] - before[refused] <= 50 and time.monotonic() < deadline:
        for message in messages:  # on a busy machine most of them are overtaken on the way
            client._publisher.publish(message)
            client.executor.spin_once(timeout_sec=0.0)
            time.sleep(0.004)
    good = to_point_cloud2_msg(Header(frame_id="camera"), table_points, LAYOUTS["realsense"])
    assert len(client.result_of(client.send(good), node, timeout=60.0).objects) >= 2
    client.wait_until(lambda: account()["waiting"] == 0, node)
    after = account()
    received = after["received"] - before["received"]
    dropped = {key: after[key] - before[key] for key in after if key.startswith("dropped: ")}
    assert received > 50
    assert received == after["published"] - before["published"] + sum(dropped.values())
    assert dropped["dropped: internal error"] == 0
    assert dropped[refused] > 50
    assert "Traceback" not in node.log()
