"""The node's own settings, and the parameter names and the YAML file of all its settings. Needs no ROS.

    python -m onet_ros.ros.node_settings > config/onet.yaml

A nested settings dataclass becomes parameters with dotted names: the field `min_points` of the field `segmentation` is
the parameter `segmentation.min_points`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from onet_ros.collision import CollisionSettings
from onet_ros.grasping import GraspSettings
from onet_ros.object_files import ObjectFileSettings
from onet_ros.reconstructor import ReconstructorSettings
from onet_ros.settings import check_settings, setting

Settings = TypeVar("Settings")


class ParameterError(ValueError):
    """A parameter holds a value that it may not hold."""


@dataclasses.dataclass(frozen=True)
class NodeSettings:
    """What the node itself needs to know, beside the settings of the reconstruction."""

    autostart: bool = setting(True, "Configure and activate by itself at the start; false: a lifecycle manager does it")
    mode: str = setting(
        "points",
        "What objects are completed from: points seen of them; an image with an instance mask, where depth fails; or "
        "voxels, the points put into a coarse grid",
        choices=("points", "image", "voxels"),
    )
    model: str = setting(
        "", "Folder of the checkpoint, of a network for this mode; empty for the one that comes with the package"
    )
    device: str = setting("cpu", "Device that the networks run on, as torch names it: cpu, cuda, cuda:1")
    num_threads: int = setting(0, "CPU threads of torch; 0 leaves the choice to torch", minimum=0, maximum=1024)
    input: str = setting(
        "cloud",
        "What to work on, but in mode image: clouds on `points`, depth images on `depth_image` with `camera_info`, or "
        "maps on `octomap` in mode voxels",
        choices=("cloud", "depth", "octomap"),
    )
    depth_unit: float = setting(0.001, "Length of 1 in depth images of integers", unit="m", minimum=1e-6, maximum=1.0)
    depth_rectified: bool = setting(
        False, "Images are free of distortion already, so that P of camera_info holds, not K and D"
    )
    use_mask: bool = setting(
        False,
        "Take the objects from instance masks on `mask`, which have the cloud's rows and columns; in mode image always",
    )
    use_depth: bool = setting(
        False,
        "In mode image, take table and scale from depth images on `depth_image`, registered to the image, as far as "
        "there is depth",
    )
    table_height: float = setting(
        0.0,
        "In mode image, height of the table in target_frame, where no depth shows it",
        unit="m",
        minimum=-10.0,
        maximum=10.0,
    )
    mask_tolerance: float = setting(
        0.02, "Longest time between the stamps of a mask and its cloud", unit="s", minimum=0.0, maximum=10.0
    )
    mask_queue: int = setting(10, "Clouds that wait for their mask at most", minimum=1, maximum=1000)
    continuous: bool = setting(True, "Work on whatever comes in; false: only when ~/reconstruct asks")
    max_points: int = setting(
        5_000_000, "Clouds with more points are refused", unit="points", minimum=1, maximum=100_000_000
    )
    target_frame: str = setting(
        "",
        "Frame of all results, with z up, in which objects stand still: map, odom, the base of an arm; found with tf2. "
        "Empty for the cloud's own frame",
    )
    static_camera: bool = setting(
        False, "The camera never moves, so that without target_frame its own frame is as good as one"
    )
    transform_timeout: float = setting(
        0.1, "Longest wait for the transform at the cloud's stamp", unit="s", minimum=0.0, maximum=5.0
    )
    frame_prefix: str = setting("", "Put before the cloud's frame id, as robot_state_publisher does: robot1/")
    publish_unreliable_meshes: bool = setting(
        False, "Show and publish the meshes of objects that are not reliable, too, and not their conservative ones only"
    )
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
    completed_cloud_spacing: float = setting(
        0.003, "Mean distance of neighbouring points of ~/completed_cloud", unit="m", minimum=0.0005, maximum=0.1
    )
    grasps: GraspSettings = dataclasses.field(default_factory=GraspSettings)
    collision: CollisionSettings = dataclasses.field(default_factory=CollisionSettings)
    diagnostics_period: float = setting(
        1.0, "Time between two messages on /diagnostics", unit="s", minimum=0.1, maximum=60.0
    )
    save_directory: str = setting("~/.ros/onet", "Where ~/save_meshes writes to when it is not told")
    files: ObjectFileSettings = dataclasses.field(default_factory=ObjectFileSettings)

    def __post_init__(self) -> None:
        check_settings(self)


# Cannot be changed at all once the node runs.
READ_ONLY = frozenset({"autostart", "diagnostics_period"})
# Can be changed only while the node is unconfigured: decides which network, threads, topics and transforms there are.
FIXED_WHILE_CONFIGURED = frozenset(
    {
        *(
            "mode",
            "model",
            "device",
            "num_threads",
            "input",
            "use_mask",
            "use_depth",
            "mask_tolerance",
            "mask_queue",
            "target_frame",
        ),
        *("publish_markers", "publish_collision_objects", "collision.shape", "collision.via", "collision.surface"),
        *(f"grasps.{field.name}" for field in dataclasses.fields(GraspSettings)),
        *("collision.max_pieces", "collision.max_vertices", "collision.concavity", "collision.time_limit"),
    }
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


def settings_from(path: Path | None, assignments: Sequence[str]) -> tuple[NodeSettings, ReconstructorSettings]:
    """Settings as the node would have them, for those who run without it.

    Args:
        path: a YAML file of ROS parameters; None for the defaults.
        assignments: NAME=VALUE with a dotted name, over what is in the file.

    Raises:
        ParameterError: a value that may not be, an unknown name, or a file that holds no parameters.
    """
    values = _read_parameters(path) if path is not None else {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ParameterError(f"expected NAME=VALUE, got {assignment!r}")
        values[name] = yaml.safe_load(text)
    node, reconstructor = NodeSettings(), ReconstructorSettings()
    known = {name for settings in (node, reconstructor) for name, _, _ in parameter_fields(settings)}
    unknown = sorted(set(values) - known)
    if unknown:
        similar = difflib.get_close_matches(unknown[0], known, n=1)
        raise ParameterError(f"no parameter {unknown[0]}" + (f"; did you mean {similar[0]}?" if similar else ""))
    return replace_settings(node, values), replace_settings(reconstructor, values)


def _read_parameters(path: Path) -> dict[str, Any]:
    """Values by dotted name, of every node that a file of ROS parameters names."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    values: dict[str, Any] = {}

    def flatten(nested: Mapping[str, Any], prefix: str) -> None:
        for name, value in nested.items():
            if isinstance(value, Mapping):
                flatten(value, f"{prefix}{name}.")
            else:
                values[f"{prefix}{name}"] = value

    for node, parts in content.items() if isinstance(content, Mapping) else ():
        if not isinstance(parts, Mapping) or not isinstance(parts.get("ros__parameters"), Mapping):
            raise ParameterError(f"{path}: {node} holds no ros__parameters")
        flatten(parts["ros__parameters"], "")
    if not values:
        raise ParameterError(f"{path}: no ROS parameters in this file")
    return values


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


def when_changed(name: str) -> str:
    """When a parameter can be changed, for people; empty where it can be at any time."""
    if name in READ_ONLY:
        return "read-only"
    return "while unconfigured" if name in FIXED_WHILE_CONFIGURED else ""


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


def _yaml_lines(settings: Any, indent: str, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield f"{indent}{field.name}:"
            yield from _yaml_lines(value, f"{indent}  ", f"{prefix}{field.name}.")
        else:
            comment, when = f"{indent}# ", when_changed(f"{prefix}{field.name}")
            text = f"{describe(field)} [{when}]" if when else describe(field)
            yield from textwrap.wrap(text, 118, initial_indent=comment, subsequent_indent=comment)
            yield f"{indent}{field.name}: {_yaml_value(value)}"


def _yaml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_yaml_value(element) for element in value)}]"
    text = json.dumps(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text  # YAML reads 1e-5 as text


if __name__ == "__main__":
    sys.stdout.write(parameters_yaml())
