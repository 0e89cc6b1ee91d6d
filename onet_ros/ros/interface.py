"""What the node listens to, publishes, offers and can be told: as tables. They are docs/interface.md.

python -m onet_ros.ros.interface > docs/interface.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rclpy.qos import QoSProfile

from onet_ros.object_files import FORMATS
from onet_ros.reconstructor import ReconstructorSettings
from onet_ros.ros.node_settings import NodeSettings, describe, parameter_fields, when_changed
from onet_ros.ros.qos import COLLISION_QOS, DIAGNOSTICS_QOS, MARKERS_QOS, OBJECTS_QOS
from onet_ros.ros.statistics import HARMLESS, REASONS


@dataclass(frozen=True)
class Topic:
    """One topic; `qos` is None for those that take what the other side offers."""

    name: str
    type: str
    qos: QoSProfile | None
    about: str


@dataclass(frozen=True)
class Offer:
    """One service or action."""

    name: str
    type: str
    about: str


INPUTS = (
    Topic("points", "sensor_msgs/msg/PointCloud2", None, "`input: cloud`. Any layout and byte order, organized or not"),
    Topic(
        "image",
        "sensor_msgs/msg/Image",
        None,
        "`mode: image`, with `mask` and `camera_info`. rgb8, bgr8, rgba8, bgra8, 8UC3 (blue first), mono8, 8UC1",
    ),
    Topic(
        "depth_image",
        "sensor_msgs/msg/Image",
        None,
        "`input: depth`, or `use_depth: true`. 16UC1 or mono16 (`depth_unit`), 32FC1 (metres)",
    ),
    Topic(
        "camera_info",
        "sensor_msgs/msg/CameraInfo",
        None,
        "`input: depth`, `mode: image`. The newest one; plumb_bob, rational_polynomial, equidistant; binning, region",
    ),
    Topic(
        "octomap",
        "octomap_msgs/msg/Octomap",
        None,
        "`input: octomap`, `mode: voxels`, where octomap_msgs is there. OcTree, ColorOcTree, binary or full, z up",
    ),
    Topic(
        "mask",
        "sensor_msgs/msg/Image",
        None,
        "`use_mask: true`, `mode: image`. mono8, mono16, 8UC1, 16UC1, 32SC1: 0 for none, else an object",
    ),
    Topic(
        "attached_collision_object",
        "moveit_msgs/msg/AttachedCollisionObject",
        None,
        "Which objects a robot holds; only where moveit_msgs is installed",
    ),
)
OUTPUTS = (
    Topic(
        "~/objects", "onet_ros/msg/ReconstructedObjects", OBJECTS_QOS, "All objects that are known, after each input"
    ),
    Topic(
        "~/markers",
        "visualization_msgs/msg/MarkerArray",
        MARKERS_QOS,
        "Namespaces `onet/objects`, `labels`, `shells` (conservative surface), `next_views`, `pieces`, `grasps` (while "
        "somebody listens to grasps); id as in ~/objects; differences, in several messages, and only while somebody "
        "listens",
    ),
    Topic(
        "collision_object",
        "moveit_msgs/msg/CollisionObject",
        COLLISION_QOS,
        "`collision.via: topic`. ADD for new and changed objects and the table, REMOVE for what is gone, nothing for "
        "what a robot holds; only where moveit_msgs is installed",
    ),
    Topic(
        "~/grasp_candidates",
        "onet_ros/msg/GraspCandidates",
        OBJECTS_QOS,
        "Antipodal grasps of all reliable objects, best first; looked for only while somebody listens",
    ),
    Topic("~/grasps", "geometry_msgs/msg/PoseArray", OBJECTS_QOS, "Their poses: z is the approach, x the closing"),
    Topic(
        "~/completed_cloud",
        "sensor_msgs/msg/PointCloud2",
        OBJECTS_QOS,
        "Points on the completed meshes with normals, confidence and id; only while somebody listens",
    ),
    Topic(
        "~/collision_pieces",
        "onet_ros/msg/CollisionPieces",
        COLLISION_QOS,
        "`collision.shape: pieces`. Convex pieces of each new shape, seconds after it",
    ),
    Topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", DIAGNOSTICS_QOS, "Every `diagnostics_period`"),
)
SERVICES = (
    Offer("~/reconstruct", "onet_ros/srv/Reconstruct", "Complete what the newest cloud, or a given one, shows"),
    Offer("~/clear", "std_srvs/srv/Trigger", "Forget all objects; take them back from displays and planners"),
    Offer(
        "~/save_meshes",
        "onet_ros/srv/SaveMeshes",
        f"Write the objects as {', '.join(FORMATS)}; URDF with inertia",
    ),
    Offer("~/query_occupancy", "onet_ros/srv/QueryOccupancy", "How probable it is that an object is at some points"),
    Offer("~/change_state", "lifecycle_msgs/srv/ChangeState", "configure, activate, deactivate, cleanup, shutdown"),
    Offer("~/get_state", "lifecycle_msgs/srv/GetState", "unconfigured, inactive, active"),
)
ACTIONS = (
    Offer(
        "~/reconstruct", "onet_ros/action/Reconstruct", "The service with feedback, and cancelled between two stages"
    ),
)

_BEGINNING = """\
# The node's interface

*Made by `python -m onet_ros.ros.interface`; a test compares it with the code, and the running node with it.*

All names are relative: the node `onet` in the namespace `robot1` publishes `/robot1/onet/objects`. `~/` is the
node's own name. /diagnostics, /tf and /clock are absolute, as everywhere; remap them where robots keep theirs apart.
"""
_INPUT_QOS = """\
Inputs take what the publishers offer: reliable while every publisher of the topic is, best effort otherwise; keep
last 1, volatile. So a driver of either kind matches, and one that is exchanged while the node runs, too. (Best
effort matches every publisher, but loses clouds of several megabytes where the driver uses Fast DDS as it comes; see
[troubleshooting](troubleshooting.md).) Only the newest input is worked on.
"""
_FRAMES = """\
## Frames, units, time

- Metres, radians, seconds. Meshes are given in the object's own frame: origin in the middle of its bounding box, z
  up from the table, x horizontal towards the camera. `pose` places it in `header.frame_id`.
- `header.frame_id` is `target_frame` where that is set: a frame with z up in which objects stand still (`map`,
  `odom`, the base of an arm). tf2 is asked for the transform at the input's stamp, for `transform_timeout` at most.
  Without it, it is the input's own frame, with `frame_prefix` before it. Cameras' frames are optical (x right, y
  down, z forward) or not (ZED: x forward): nothing depends on it.
- In a target frame views from several places are put together, and objects that are hidden or out of view are kept
  for `tracking.keep_hidden`. In the camera's own frame neither is possible, unless `static_camera` says that it
  never moves.
- Everything published carries the stamp of its input. Where stamps or the clock (`use_sim_time`) jump back by more
  than a second, transforms, objects and what waits are forgotten; ids go on.
"""
_OBJECTS = """\
## Objects over time

- `id` stays with an object for as long as the node runs, and is given to no other. An object is known again by
  position, size and shape.
- An object is completed when it is new, when it moved, when more of it is seen, when it is seen from a new
  direction; otherwise its mesh stays as it is, and costs nothing (`completed` is the stamp of the newest input in
  it). `tracking.updates_per_cloud` and `tracking.update_period` bound the work; what has to wait is counted in
  `waiting`.
- An object that is not found though its place is in view goes after `tracking.keep_missing`.
- In `mode: image` an object's `id` is its label in the mask, it is completed anew when its mask changes or the camera
  moves, and it goes `tracking.keep_missing` after its label. `~/query_occupancy` cannot be asked there.
- In `mode: voxels` an object's points are put into a grid of 32 x 32 x 32 cells about it, from which it is completed.
- Markers are renewed when their object changes, when somebody new listens, and before `marker_lifetime` ends.
"""


_ANSWERS = """\
Each answers also when it cannot do what is asked, with `success: false` and the reason in `message`. The fields of all
types are explained in `msg/`, `srv/` and `action/`.
"""
_PARAMETERS = """\
In `config/onet.yaml` with their defaults. A change is checked as a whole and refused with its reason; unknown names in
a file are warned of. *fixed*: can be changed only while the node is unconfigured.
"""
_DIAGNOSTICS = """\
One status, named `<node>: reconstruction`: ERROR when a transition failed or after an internal error, WARN without
input for 5 s or when inputs were dropped for a fault, OK otherwise. Its values: state, model, device, target frame,
input; rates in and out; latency from the input's stamp and processing time, p50 and p95 of the last 100; what the
middleware lost on the way, as far as it tells; received = published + dropped + waiting; requests by kind; the last
error and its age; memory. Inputs are dropped for these reasons:
"""


def interface_markdown() -> str:
    """Text of docs/interface.md."""
    return "\n".join(_parts())


def _parts() -> Iterator[str]:
    yield _BEGINNING
    yield "## Listens to\n"
    yield _table(("topic", "type", "what"), [(f"`{t.name}`", f"`{t.type}`", t.about) for t in INPUTS])
    yield _INPUT_QOS
    yield "## Publishes\n"
    published = [(f"`{t.name}`", f"`{t.type}`", describe_qos(t.qos), t.about) for t in OUTPUTS]
    yield _table(("topic", "type", "QoS", "what"), published)
    yield "## Services and actions\n"
    offers = [(f"`{offer.name}`", f"`{offer.type}`", offer.about) for offer in SERVICES]
    offers += [(f"`{offer.name}` (action)", f"`{offer.type}`", offer.about) for offer in ACTIONS]
    yield _table(("name", "type", "what"), offers)
    yield _ANSWERS
    yield _OBJECTS
    yield _FRAMES
    yield "## Parameters\n"
    yield _PARAMETERS
    rows = []
    for settings in (NodeSettings(), ReconstructorSettings()):
        for name, field, value in parameter_fields(settings):
            when = {"while unconfigured": "fixed", "": ""}.get(when_changed(name), when_changed(name))
            rows.append((f"`{name}`", f"`{_default(value)}`", when, describe(field)))
    yield _table(("parameter", "default", "change", "meaning (range, unit)"), rows)
    yield "## Diagnostics\n"
    yield _DIAGNOSTICS
    yield _table(("reason", ""), [(reason, "no fault" if reason in HARMLESS else "") for reason in REASONS])


def describe_qos(qos: QoSProfile | None) -> str:
    """A profile in words."""
    if qos is None:
        return "as the publishers offer"
    words = (qos.reliability.name, f"keep last {qos.depth}", qos.durability.name)
    return ", ".join(word.lower().replace("_", " ") for word in words)


def _default(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(interface_markdown())
