"""Settings dataclasses as ROS parameters: declared, described, checked as a whole, changed while the node runs."""

from __future__ import annotations

import array
import dataclasses
import difflib
import sys
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from onet_ros.reconstructor import ReconstructorSettings
from onet_ros.ros.node_settings import (
    FIXED_WHILE_CONFIGURED,
    READ_ONLY,
    NodeSettings,
    describe,
    parameter_fields,
    replace_settings,
    when_changed,
)

_INT64_LIMIT = 2**63 - 1


class NodeParameters:
    """The parameters of a node, and the settings they stand for.

    Attributes:
        node, reconstructor: replaced by new frozen settings when a parameter is changed, never modified: a worker takes
            both at the start of a frame and keeps them to its end.
        configured: while it is set, what is in `FIXED_WHILE_CONFIGURED` cannot be changed.
    """

    def __init__(self, ros_node: Node) -> None:
        """Declare every parameter of `ros_node` from its overrides and the defaults.

        Raises:
            ParameterError: an override that may not be; says name, range and value.
        """
        # rclpy shows overrides only once they are declared, and would refuse the first bad one in its own words.
        overrides = {name: override.value for name, override in ros_node._parameter_overrides.items()}
        self.configured = False
        self.node = replace_settings(NodeSettings(), overrides)
        self.reconstructor = replace_settings(ReconstructorSettings(), overrides)
        for settings in (self.node, self.reconstructor):
            for name, field, value in parameter_fields(settings):
                descriptor = parameter_descriptor(name, field, value)
                ros_node.declare_parameter(name, _ros_value(value), descriptor, ignore_override=True)
        for name in overrides:
            if not ros_node.has_parameter(name) and not name.startswith("qos_overrides."):
                ros_node.get_logger().warning(_unknown_parameter(name, list(ros_node._parameters)))
        ros_node.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        """Take over a change that leaves the settings valid as a whole, refuse another one with its reason."""
        changes = {parameter.name: parameter.value for parameter in parameters}
        fixed = sorted(FIXED_WHILE_CONFIGURED & changes.keys()) if self.configured else []
        if fixed:
            reason = f"{', '.join(fixed)} can be changed only while the node is unconfigured: clean it up first"
            return SetParametersResult(successful=False, reason=reason)
        try:
            node = replace_settings(self.node, changes)
            reconstructor = replace_settings(self.reconstructor, changes)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.node, self.reconstructor = node, reconstructor
        return SetParametersResult(successful=True)


def parameter_descriptor(name: str, field: dataclasses.Field[Any], value: Any) -> ParameterDescriptor:
    """ROS descriptor of a setting: what it means, its unit, its range, its choices, when it can be changed."""
    descriptor = ParameterDescriptor(description=describe(field), read_only=name in READ_ONLY)
    minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
    constraints = [f"one of: {', '.join(field.metadata['choices'])}"] if field.metadata["choices"] else []
    constraints += [when_changed(name)] if when_changed(name) else []
    descriptor.additional_constraints = "; ".join(constraints)
    if isinstance(value, bool) or (minimum is None and maximum is None):
        return descriptor
    if isinstance(value, int):
        low, high = (-_INT64_LIMIT if minimum is None else minimum), (_INT64_LIMIT if maximum is None else maximum)
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    elif isinstance(value, float):
        low = -sys.float_info.max if minimum is None else minimum
        high = sys.float_info.max if maximum is None else maximum
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor


def _ros_value(value: Any) -> Any:
    """A tuple of floats is an array of doubles to ROS; everything else is what it is."""
    return array.array("d", value) if isinstance(value, tuple) else value


def _unknown_parameter(name: str, known: list[str]) -> str:
    similar = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {similar[0]}?" if similar else ""
    return f"parameter {name} is not one of this node's and changes nothing{hint}"
