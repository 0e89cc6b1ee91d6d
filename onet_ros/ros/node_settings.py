"""The node's own settings, and the parameter names and the YAML file of all its settings. Needs no ROS.

    python -m onet_ros.ros.node_settings > config/onet.yaml

A nested settings dataclass becomes parameters with dotted names: the field `min_points` of the field `segmentation` is
the parameter `segmentation.min_points`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from onet_ros.reconstructor import ReconstructorSettings
from onet_ros.settings import check_settings, setting

Settings = TypeVar("Settings")


class ParameterError(ValueError):
    """A parameter holds a value that it may not hold."""


@dataclasses.dataclass(frozen=True)
class NodeSettings:
    """What the node itself needs to know, beside the settings of the reconstruction."""

    model: str = setting("", "Folder of the checkpoint; empty for the one that comes with the package")
    device: str = setting("cpu", "Device that the networks run on, as torch names it: cpu, cuda, cuda:1")
    num_threads: int = setting(0, "CPU threads of torch; 0 leaves the choice to torch", minimum=0, maximum=1024)
    max_points: int = setting(
        5_000_000, "Clouds with more points are refused", unit="points", minimum=1, maximum=100_000_000
    )
    target_frame: str = setting("", "Frame of all results, with z up, found with tf2; empty for the cloud's own frame")
    transform_timeout: float = setting(
        0.1, "Longest wait for the transform at the cloud's stamp", unit="s", minimum=0.0, maximum=5.0
    )
    frame_prefix: str = setting("", "Put before the cloud's frame id, as robot_state_publisher does: robot1/")
    publish_markers: bool = setting(True, "Publish ~/markers for RViz")
    marker_lifetime: float = setting(
        30.0,
        "RViz drops markers that were not renewed for so long; 0 keeps them",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
    )
    publish_collision_objects: bool = setting(True, "Publish collision_object for planners, where moveit_msgs is there")
    collision_object_prefix: str = setting("onet_", "Put before the number of an object to name its collision object")
    same_object_distance: float = setting(
        0.05,
        "An object keeps its number when it lies at most this far from where it lay in the cloud before",
        unit="m",
        minimum=0.0,
        maximum=1.0,
    )

    def __post_init__(self) -> None:
        check_settings(self)


# What is fixed once the node runs: it decides which network, threads, topics and transforms there are.
READ_ONLY = frozenset(
    {"model", "device", "num_threads", "target_frame", "publish_markers", "publish_collision_objects"}
)


def parameter_fields(settings: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Dotted name, declaration and value of each plain setting in a settings dataclass, in the order declared."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from parameter_fields(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field, value


def replace_settings(settings: Settings, values: Mapping[str, Any], prefix: str = "") -> Settings:
    """Settings with the values given by dotted name in place of their own; names of other settings are ignored.

    Raises:
        ParameterError: a value outside its declaration; says the dotted name, the range and the value.
    """
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        name, value = f"{prefix}{field.name}", getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = replace_settings(value, values, f"{name}.")
        elif name in values:
            changes[field.name] = _in_type_of(value, values[name])
    try:
        return dataclasses.replace(settings, **changes)  # type: ignore[type-var]
    except ValueError as error:  # its text begins with the field's name
        raise ParameterError(f"parameter {prefix}{error}") from error


def _in_type_of(declared: Any, value: Any) -> Any:
    """The value in its declared type, where ROS and YAML have another type for it (1 for 1.0, a list for a tuple)."""
    if isinstance(declared, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(declared, tuple) and not isinstance(value, (str, bytes)):
        return tuple(value)
    return value


def describe(field: dataclasses.Field[Any]) -> str:
    """Description of a setting with its range, its unit and its choices."""
    description, unit, minimum, maximum, choices = (
        field.metadata[key] for key in ("description", "unit", "minimum", "maximum", "choices")
    )
    limits = ", ".join(choices)
    if minimum is not None and maximum is not None:
        limits = f"{minimum} to {maximum}"
    elif minimum is not None:
        limits = f"at least {minimum}"
    elif maximum is not None:
        limits = f"at most {maximum}"
    remark = f"{limits} {unit}".strip()
    return f"{description} ({remark})" if remark else description


def parameters_yaml() -> str:
    """Text of `config/onet.yaml`: every parameter with its default, and its description as a comment."""
    lines = [
        "# All parameters of the onet node, with their defaults. Start from a copy: a file needs only what differs.",
        "# Made by: python -m onet_ros.ros.node_settings",
        "/**:",
        "  ros__parameters:",
    ]
    for settings in (NodeSettings(), ReconstructorSettings()):
        lines += _yaml_lines(settings, "    ")
    return "\n".join(lines) + "\n"


def _yaml_lines(settings: Any, indent: str) -> Iterator[str]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield f"{indent}{field.name}:"
            yield from _yaml_lines(value, f"{indent}  ")
        else:
            comment = f"{indent}# "
            yield from textwrap.wrap(describe(field), 118, initial_indent=comment, subsequent_indent=comment)
            yield f"{indent}{field.name}: {_yaml_value(value)}"


def _yaml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_yaml_value(element) for element in value)}]"
    text = json.dumps(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text  # YAML reads 1e-5 as text


if __name__ == "__main__":
    sys.stdout.write(parameters_yaml())
