"""What is measured: the scene, completion over objects and resolutions, and the paper's way beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import trimesh

from onet_ros.benchmark.measurement import Timing, measure
from onet_ros.benchmark.paper_network import LOWER, UPPER, fitted_paper_network, observation_of_mug, true_mug
from onet_ros.benchmark.table_scene import VIEWPOINT, TableScene
from onet_ros.benchmark.textbook import textbook_mesh
from onet_ros.completion import (
    CompletionSettings,
    ObjectCompleter,
    ReconstructedObject,
    SurfaceError,
    object_box,
)
from onet_ros.networks import Checkpoint, InferenceNetwork
from onet_ros.scene import (
    AROUND_POINTS,
    PlaneTracker,
    RegionOfInterest,
    Surroundings,
    decode_point_cloud2,
    find_support_plane,
    segment_objects,
)
from onet_ros.stopwatch import Stopwatch
from onet_ros.surface import ExtractionSettings, extract_surfaces, sample_grids_mise

if TYPE_CHECKING:
    from onet_ros.ros.node_latency import NodeLatency

LEAST_NODE_SECONDS = 20.0
TEXTBOOK_START = 32

# Publishes objects, telling the watch of the stages serialise and publish.
Publish = Callable[[list[ReconstructedObject], Stopwatch], None]


@dataclass(frozen=True)
class Case:
    """Completion of so many objects at so many cells along an edge."""

    objects: int
    resolution: int
    timing: Timing
    triangles: int


@dataclass(frozen=True)
class AskedValues:
    """Of the objects of the scene, on average: values asked, of them on the start grid, and the corners of the cells
    that the surface crosses, within the box."""

    resolution: int
    asked: float
    start: float
    needed: float


@dataclass(frozen=True)
class Contender:
    """One way to the mesh of the paper's network, scored against the shape that the network stands for."""

    name: str
    timing: Timing
    iou: float
    chamfer: float


def scene_timing(scene: TableScene, seconds: float) -> Timing:
    """From the message's bytes to the objects' points; the plane both looked for and confirmed."""
    tracker = PlaneTracker()

    def run(watch: Stopwatch) -> None:
        with watch.stage("parse"):
            cloud = decode_point_cloud2(scene.message)
        with watch.stage("crop"):
            cloud = RegionOfInterest().crop(cloud, viewpoint=VIEWPOINT)
        with watch.stage("plane, searched"):
            plane = find_support_plane(cloud.valid_points).plane
        with watch.stage("plane, confirmed"):
            tracker.find(cloud.valid_points)
        assert plane is not None
        with watch.stage("segment"):
            clusters = segment_objects(cloud, plane, viewpoint=VIEWPOINT)
        with watch.stage("surroundings"):
            around = Surroundings(cloud)
            for cluster in clusters:
                around.around(cluster.indices, VIEWPOINT, AROUND_POINTS)

    return measure(run, seconds)


def completion_case(
    checkpoint: Checkpoint, scene: TableScene, count: int, resolution: int, seconds: float, publish: Publish | None
) -> Case:
    """From the points of objects to meshes, collision meshes, confidence and messages."""
    completer = ObjectCompleter(checkpoint, CompletionSettings(), extraction_settings(resolution))
    seen = scene.objects(count)
    triangles = 0

    def run(watch: Stopwatch) -> None:
        nonlocal triangles
        done = [item for item in completer.complete(seen, watch) if not isinstance(item, SurfaceError)]
        triangles = sum(len(item.mesh.faces) for item in done)
        if publish is not None:
            publish(done, watch)

    return Case(count, resolution, measure(run, seconds), triangles)


def extraction_settings(resolution: int) -> ExtractionSettings:
    """The defaults, but for the resolution."""
    start = min(ExtractionSettings().start_resolution, resolution)
    return ExtractionSettings(start, (resolution // start).bit_length() - 1)


def textbook_case(checkpoint: Checkpoint, scene: TableScene, resolution: int, seconds: float) -> Case:
    """The paper's way with the same weights, for one object: plain module, subdivision, marching cubes; no more."""
    completer = ObjectCompleter(checkpoint, CompletionSettings(), ExtractionSettings())
    observation = completer.observation(scene.objects(1)).to(checkpoint.network.device)
    doublings = (resolution // TEXTBOOK_START).bit_length() - 1
    triangles = 0

    def run(watch: Stopwatch) -> None:
        nonlocal triangles
        mesh = textbook_mesh(
            checkpoint.network, observation, *object_box(), logit(checkpoint.threshold), doublings, watch
        )
        triangles = len(mesh.faces)

    return Case(1, resolution, measure(run, seconds), triangles)


def asked_values(checkpoint: Checkpoint, scene: TableScene, resolution: int) -> AskedValues:
    """How many values the surface takes, without refinement."""
    completer = ObjectCompleter(checkpoint, CompletionSettings(), ExtractionSettings())
    network, seen = InferenceNetwork(checkpoint.network), scene.seen
    field = network.field(network.encode(completer.observation(seen).to(network.device)))
    lower, upper = (np.tile(corner, (len(seen), 1)) for corner in object_box())
    settings = extraction_settings(resolution)
    seeds = [one.frame.to_unit(one.points) for one in seen]
    level, device = logit(checkpoint.threshold), network.device
    grids = sample_grids_mise(field, lower, upper, level, settings, device, seeds)
    start = sample_grids_mise(field, lower, upper, level, replace(settings, doublings=0), device, seeds)
    needed = 0
    for number in range(len(seen)):
        corners = torch.zeros(3 * (resolution + 3,), dtype=torch.bool)
        x, y, z = (grids[number].crossed_cells.cpu() + 1).unbind(1)
        for i, j, k in np.ndindex(2, 2, 2):
            corners[x + i, y + j, z + k] = True
        needed += int(corners[1:-1, 1:-1, 1:-1].sum())
    count = len(seen)
    return AskedValues(resolution, grids.points_asked / count, start.points_asked / count, needed / count)


def paper_contest(seconds: float, progress: Callable[[str], None]) -> Iterator[Contender]:
    """The paper's network at full width, its way and ours, from points to a mesh of one object."""
    from onet_ros.learning.metrics import score_mesh

    checkpoint, observation, truth = fitted_paper_network(), observation_of_mug(), true_mug()
    ways: dict[str, Callable[[Stopwatch], trimesh.Trimesh]] = {
        "as published, 32 to 128": lambda watch: textbook_mesh(
            checkpoint.network, observation, LOWER, UPPER, logit(checkpoint.threshold), 2, watch
        )
    }
    for precision in ("float32", "bfloat16"):
        network = InferenceNetwork(checkpoint.network, precision)
        for name, settings in (
            ("16 to 128", ExtractionSettings(16, 3, max_triangles=0, refinement_steps=0)),
            ("16 to 64, vertices refined", ExtractionSettings(16, 2, max_triangles=0)),
            ("12 to 48, vertices refined", ExtractionSettings(12, 2, max_triangles=0)),
        ):
            ways[f"{name}, {precision}"] = _our_way(network, checkpoint, settings)
    for name, way in ways.items():
        progress(name)
        timing = measure(way, seconds)
        scores = score_mesh(way(Stopwatch()), truth)
        yield Contender(name, timing, scores.iou, scores.chamfer_l1)


def _our_way(
    network: InferenceNetwork, checkpoint: Checkpoint, settings: ExtractionSettings
) -> Callable[[Stopwatch], trimesh.Trimesh]:
    observation = observation_of_mug()

    def way(watch: Stopwatch) -> trimesh.Trimesh:
        with watch.stage("encode"):
            field = network.field(network.encode(observation))
        box, threshold = (LOWER[None], UPPER[None]), logit(checkpoint.threshold)
        (found,) = extract_surfaces(
            field, *box, threshold, settings, network.device, watch=watch, collision_meshes=False
        )
        if isinstance(found, SurfaceError):
            raise found
        return found.mesh

    return way


def logit(probability: float) -> float:
    return float(np.log(probability / (1.0 - probability)))


def node_latencies(seconds: float, progress: Callable[[str], None]) -> Iterator[NodeLatency]:
    """Of the whole node over DDS: objects that stand still, and all of them completed anew; nothing without ROS."""
    try:
        from onet_ros.ros.node_latency import measure_node
    except ImportError:
        return
    for anew in (False, True):
        progress("the whole node")
        yield measure_node(max(seconds, LEAST_NODE_SECONDS), anew=anew)


@contextmanager
def publisher() -> Iterator[Publish | None]:
    """What publishes over DDS, or None without ROS."""
    try:
        from onet_ros.ros.message_costs import MessageCosts
    except ImportError:
        yield None
        return
    with MessageCosts.opened() as costs:
        yield costs.publish
