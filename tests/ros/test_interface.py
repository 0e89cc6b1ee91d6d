"""The documented interface is that of the running node."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from rclpy.action import get_action_server_names_and_types_by_node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from onet_ros.msg import ReconstructedObjects
from onet_ros.resources import PACKAGE
from onet_ros.ros import conversions
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.interface import ACTIONS, INPUTS, OUTPUTS, SERVICES, describe_qos, interface_markdown

pytestmark = pytest.mark.ros

REPOSITORY = PACKAGE.parent


def full_name(name: str) -> str:
    """Of the node of the tests, which runs in the root namespace."""
    return name.replace("~", "/onet") if name.startswith("~") else f"/{name.lstrip('/')}"


def test_page_in_the_repository_is_what_the_declarations_give():
    committed = (REPOSITORY / "docs" / "interface.md").read_text()
    assert committed == interface_markdown(), "make it anew: python -m onet_ros.ros.interface > docs/interface.md"


def test_links_and_files_that_the_documents_name_are_there():
    for page in (*(REPOSITORY / "docs").glob("*.md"), REPOSITORY / "README.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_published_topics_have_the_types_and_qos_of_the_table(client, node):
    watcher = client.collector
    published = dict(watcher.get_publisher_names_and_types_by_node("onet", "/"))
    for topic in OUTPUTS:
        if topic.name == "collision_object" and conversions.CollisionObject is None:
            continue
        if topic.name == "~/collision_pieces":  # with `collision.shape: pieces` only; see test_planning_scene
            continue
        assert published[full_name(topic.name)] == [topic.type]
        ours = [
            info for info in watcher.get_publishers_info_by_topic(full_name(topic.name)) if info.node_name == "onet"
        ]
        for info in ours:
            assert info.qos_profile.reliability == topic.qos.reliability
            assert info.qos_profile.durability == topic.qos.durability
    undocumented = {name for name in published if "/_action/" not in name} - {full_name(t.name) for t in OUTPUTS}
    assert undocumented <= {"/parameter_events", "/rosout", "/onet/transition_event"}


def test_inputs_have_the_types_of_the_table(client, node):
    listened = dict(client.collector.get_subscriber_names_and_types_by_node("onet", "/"))
    types = {full_name(topic.name): [topic.type] for topic in INPUTS}
    assert listened["/points"] == types["/points"]
    assert all(types[name] == kind for name, kind in listened.items() if name in types)
    assert set(listened) - set(types) <= {"/parameter_events", "/clock", "/tf", "/tf_static"}


def test_services_and_actions_are_those_of_the_table(client, node):
    offered = dict(client.collector.get_service_names_and_types_by_node("onet", "/"))
    for service in SERVICES:
        assert offered[full_name(service.name)] == [service.type]
    own = {name for name, types in offered.items() if types[0].startswith(("onet_ros", "std_srvs"))}
    own = {name for name in own if "/_action/" not in name}
    assert own == {full_name(s.name) for s in SERVICES if s.type.startswith(("onet_ros", "std_srvs"))}
    actions = dict(get_action_server_names_and_types_by_node(client.collector, "onet", "/"))
    assert actions == {full_name(one.name): [one.type] for one in ACTIONS}


@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_subscribers_of_either_kind_are_told(reliability, table_points, client, node):
    told: list[ReconstructedObjects] = []
    subscription = client.collector.create_subscription(
        ReconstructedObjects, "onet/objects", told.append, QoSProfile(depth=1, reliability=reliability)
    )
    cloud = to_point_cloud2_msg(Header(frame_id="camera"), table_points, LAYOUTS["realsense"])
    client.repeat_until(lambda: client.send(cloud), lambda: bool(told), node)
    client.collector.destroy_subscription(subscription)


def test_qos_is_described_in_words():
    assert describe_qos(None) == "as the publishers offer"
    assert describe_qos(OUTPUTS[0].qos) == "reliable, keep last 1, transient local"
