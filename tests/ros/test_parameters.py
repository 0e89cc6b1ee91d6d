"""Parameters: one source, described, checked at run time as at the start; the YAML file follows."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from rcl_interfaces.msg import ParameterType
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from onet_ros.reconstructor import ReconstructorSettings
from onet_ros.resources import data_folder
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.node_settings import (
    FIXED_WHILE_CONFIGURED,
    READ_ONLY,
    NodeSettings,
    ParameterError,
    describe,
    parameter_fields,
    parameters_yaml,
    replace_settings,
)
from onet_ros.settings import setting

pytestmark = pytest.mark.ros

FIELDS = [*parameter_fields(NodeSettings()), *parameter_fields(ReconstructorSettings())]
DEFAULTS = {name: value for name, _, value in FIELDS}


@dataclasses.dataclass(frozen=True)
class Inner:
    steps: int = setting(3, "How many steps", minimum=1)
    mode: str = setting("fast", "How it is done", choices=("fast", "good"))
    corner: tuple[float, ...] = setting((0.0, 1.0), "Where", unit="m", maximum=2.0)


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = dataclasses.field(default_factory=lambda: Inner(steps=5))
    length: float = setting(0.5, "How long", unit="m", minimum=0.0, maximum=1.0)


@pytest.fixture
def parameters(client, node):
    parameter_client = AsyncParameterClient(client.collector, "/onet")
    client.wait_until(parameter_client.services_are_ready, node)
    return parameter_client


def answer(future, client, node):
    client.wait_until(future.done, node)
    return future.result()


def test_yaml_in_the_repository_is_what_the_declarations_give():
    committed = (data_folder("config") / "onet.yaml").read_text()
    assert committed == parameters_yaml(), "make it anew: python -m onet_ros.ros.node_settings > config/onet.yaml"


def test_yaml_holds_every_parameter_with_its_default():
    nested = yaml.safe_load(parameters_yaml())["/**"]["ros__parameters"]
    flat = {}
    for name, value in nested.items():
        inner = value if isinstance(value, dict) else {}
        flat.update({f"{name}.{key}": inner_value for key, inner_value in inner.items()} or {name: value})
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in flat.items()} == DEFAULTS
    assert {type(value) for value in flat.values()} <= {bool, int, float, str, list}


def test_names_are_unique_and_every_parameter_is_described():
    names = [name for name, _, _ in FIELDS]
    assert len(set(names)) == len(names)
    assert set(names) >= READ_ONLY | FIXED_WHILE_CONFIGURED
    assert not READ_ONLY & FIXED_WHILE_CONFIGURED
    for name, field, _ in FIELDS:
        assert field.metadata["description"], name


def test_nested_settings_take_values_by_dotted_name():
    settings = replace_settings(Outer(), {"inner.steps": 7, "inner.corner": [1.0, 2.0], "length": 1, "other": 3})
    assert settings == Outer(inner=Inner(steps=7, corner=(1.0, 2.0)), length=1.0)
    assert type(settings.length) is float
    assert replace_settings(Outer(), {}).inner.steps == 5


def test_bad_value_is_refused_with_its_dotted_name():
    with pytest.raises(ParameterError, match=r"^parameter completion\.min_points must be in \[1, 10000\], got 0$"):
        replace_settings(ReconstructorSettings(), {"completion.min_points": 0})


def test_descriptions_name_range_unit_and_choices():
    texts = {name: describe(field) for name, field, _ in parameter_fields(Outer())}
    assert texts == {
        "inner.steps": "How many steps (at least 1)",
        "inner.mode": "How it is done (fast, good)",
        "inner.corner": "Where (at most 2.0 m)",
        "length": "How long (0.0 to 1.0 m)",
    }


def test_node_describes_its_parameters_with_their_ranges(parameters, client, node):
    names = list(DEFAULTS)
    described = answer(parameters.describe_parameters(names), client, node).descriptors
    types = {bool: 1, int: 2, float: 3, str: 4, tuple: ParameterType.PARAMETER_DOUBLE_ARRAY}
    for (name, field, default), descriptor in zip(FIELDS, described, strict=True):
        assert descriptor.name == name
        assert descriptor.type == types[type(default)]
        assert descriptor.description == describe(field)
        assert descriptor.read_only == (name in READ_ONLY)
        assert ("while unconfigured" in descriptor.additional_constraints) == (name in FIXED_WHILE_CONFIGURED)
        for limits in (*descriptor.integer_range, *descriptor.floating_point_range):
            if field.metadata["minimum"] is not None:
                assert limits.from_value == field.metadata["minimum"]
            if field.metadata["maximum"] is not None:
                assert limits.to_value == field.metadata["maximum"]
    ranged = [d for d in described if d.integer_range or d.floating_point_range]
    assert len(ranged) > 10


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("segmentation.min_points", -1, "out of range"),
        ("marker_lifetime", float("nan"), "marker_lifetime"),
        ("region.minimum", [0.0, 0.0, 2000.0], "parameter region.minimum must be in [-1000.0, 1000.0] m"),
        ("region.minimum", [0.0, 0.0], "parameter region.minimum"),
        ("max_points", "many", "Wrong parameter type"),
        ("autostart", False, "read-only"),
        ("model", "/elsewhere", "model can be changed only while the node is unconfigured"),
        ("input", "sonar", "input can be changed only while the node is unconfigured"),
        ("files.format", "dae", "parameter files.format must be one of ply, stl, obj, glb, got 'dae'"),
    ],
)
def test_node_refuses_bad_changes_with_the_reason(name, value, reason, parameters, client, node):
    before = answer(parameters.get_parameters([name]), client, node).values[0]
    (result,) = answer(parameters.set_parameters([Parameter(name, value=value)]), client, node).results
    assert not result.successful
    assert reason in result.reason
    assert answer(parameters.get_parameters([name]), client, node).values[0] == before


def test_change_takes_effect_with_the_next_cloud(parameters, table_points, client, node):
    cloud: PointCloud2 = to_point_cloud2_msg(Header(frame_id="camera"), table_points, LAYOUTS["packed"])
    name = "segmentation.min_points"
    for min_points, objects in ((100_000, 0), (DEFAULTS[name], 2)):
        (result,) = answer(parameters.set_parameters([Parameter(name, value=min_points)]), client, node).results
        assert result.successful, result.reason
        assert len(client.result_of(client.send(cloud), node).objects) == objects
