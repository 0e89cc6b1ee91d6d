"""How good methods are: every object of an evaluation folder, or of the procedural world, completed and scored.

Three kinds of task, by what a method gets: points, a picture, or a voxel grid. Failures are counted as scores of 0 and
listed; nothing is dropped. Two runs give the same figures. What is made of the results, for people and for machines, is
in `evaluation_report`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from tqdm import tqdm

from onet_ros.learning.evaluation_data import EvaluationData, Frame, Truth
from onet_ros.learning.methods import AnyMethod, observed_by_method
from onet_ros.learning.metrics import SAMPLES, MeshScores, score_mesh
from onet_ros.learning.observed_cases import drawn_picture, pictured, seen_cells, whole_grid
from onet_ros.learning.other_methods import Pictured
from onet_ros.learning.procedural_data import ProceduralData
from onet_ros.reconstructor import find_objects
from onet_ros.scene import AROUND_POINTS, WIDE, SupportPlane, VoxelGrid, background_points

# What can be evaluated of points: the parts of the data, scenes and captures both by true masks and by our own
# segmentation.
TASKS = ("views", "scenes", "scenes-own", "real", "real-own")
# All tasks, and what a method gets: "procedural" are objects of the simulated world that no training sees; "-image" is
# a picture of each object (of the views one that we draw), "-voxels" the grid of the whole object, "-map" that of the
# seen points.
OBSERVES = {
    **dict.fromkeys((*TASKS, "procedural"), "points"),
    **dict.fromkeys(("views-image", "real-image", "procedural-image"), "image"),
    **dict.fromkeys(("views-voxels", "views-map", "procedural-voxels", "procedural-map"), "voxels"),
}
PROCEDURAL_OBJECTS = 100
VIEWPOINT = (0.0, 0.0, 0.0)  # the data is in the camera's frame
JOBS = 2  # threads that score while the next object is being completed


@dataclass(frozen=True)
class Case:
    """One object of one frame, as a method gets it.

    Attributes:
        points: (N, 3) float32, metres, camera frame; empty where the object was not found.
        background: (M, 3) float32, metres, seen around it; None for single views, where it stood alone.
        plane: the table; None where none was found.
        reason: why there is nothing to complete.
        picture: what a method for pictures gets.
        grid: what a method for voxels gets; z up, T_cam_grid (4, 4) takes it to the camera frame.
    """

    task: str
    frame: str
    truth: Truth
    points: NDArray[np.float32]
    background: NDArray[np.float32] | None
    plane: SupportPlane | None
    reason: str = ""
    picture: Pictured | None = None
    grid: VoxelGrid | None = None
    T_cam_grid: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Result:
    """A method's answer to a case: the mesh (None where it failed, with the reason) and its scores."""

    method: str
    case: Case
    mesh: trimesh.Trimesh | None
    scores: MeshScores
    reason: str = ""


Answer = tuple[trimesh.Trimesh | None, str]  # the mesh, or None and why there is none


def evaluate(
    methods: Mapping[str, AnyMethod],
    data: EvaluationData | None,
    tasks: Sequence[str] = TASKS,
    samples: int = SAMPLES,
    seed: int = 0,
    jobs: int = JOBS,
    progress: bool = True,
    objects: int = PROCEDURAL_OBJECTS,
) -> list[Result]:
    """Run methods, by their labels, on every object of the tasks that give them what they observe.

    Args:
        data: for all tasks but the procedural ones.
        samples: points that each score is taken from; `seed` is theirs.
        jobs: threads that score; their number does not change the figures.
        objects: of the procedural tasks.

    Raises:
        ValueError: an unknown task, one without data, or one that no method is for.
    """
    check_tasks(tasks, methods, data)
    pending: list[Future[list[Result]]] = []
    with ThreadPoolExecutor(jobs) as scoring:
        for task in tasks:
            apt = {label: one for label, one in methods.items() if observed_by_method(one) == OBSERVES[task]}
            frames, count = _frames(task, data, objects)
            for frame in tqdm(frames, desc=task, disable=not progress, total=count):
                for case in frame_cases(task, frame):
                    answers = {label: _complete(method, case) for label, method in apt.items()}
                    pending.append(scoring.submit(_score, case, answers, samples, seed))
    return [result for results in pending for result in results.result()]


def check_tasks(tasks: Sequence[str], methods: Mapping[str, AnyMethod], data: EvaluationData | None) -> None:
    """Raises ValueError unless every task is known, has its data and is for one of the methods at least."""
    unknown = [task for task in tasks if task not in OBSERVES]
    if unknown:
        raise ValueError(f"unknown tasks {unknown}; known are {', '.join(OBSERVES)}")
    homeless = [task for task in tasks if data is None and not task.startswith("procedural")]
    if homeless:
        raise ValueError(f"tasks {', '.join(homeless)} need a folder of evaluation data")
    observed = {observed_by_method(method) for method in methods.values()}
    idle = [task for task in tasks if methods and OBSERVES[task] not in observed]
    if idle:
        raise ValueError(
            f"task {idle[0]} gives {OBSERVES[idle[0]]}, and no method observes that: {', '.join(methods)} observe "
            f"{', '.join(sorted(observed))}"
        )


def default_tasks(methods: Mapping[str, AnyMethod], data: EvaluationData | None) -> list[str]:
    """All tasks with data that give one of the methods what it observes; without data the procedural ones."""
    observed = {observed_by_method(method) for method in methods.values()}
    return [
        task for task, kind in OBSERVES.items() if kind in observed and task.startswith("procedural") == (data is None)
    ]


def _frames(task: str, data: EvaluationData | None, objects: int) -> tuple[Iterable[Frame], int]:
    """The frames of a task, and how many there are."""
    part = task.partition("-")[0]
    if part == "procedural":
        return ProceduralData(objects).frames(), objects
    frames = [] if data is None else list(data.frames(part))
    return frames, len(frames)


def _score(case: Case, answers: Mapping[str, Answer], samples: int, seed: int) -> list[Result]:
    """All methods' answers to a case in one thread, because a mesh keeps what was computed of it."""
    return [
        Result(label, case, mesh, score_mesh(mesh, case.truth.mesh, samples, seed, case.points), reason)
        for label, (mesh, reason) in answers.items()
    ]


def frame_cases(task: str, frame: Frame) -> list[Case]:
    """The objects of a frame, cut out by the true masks or, in the tasks whose names say so, as the robot would."""
    if task.endswith("-own"):
        return _found_cases(task, frame)
    if OBSERVES[task] == "image":
        return _picture_cases(task, frame)
    if OBSERVES[task] == "voxels":
        return [_grid_case(task, frame, truth) for truth in frame.truths]
    return [_seen_case(task, frame, truth, truth.indices, frame.plane) for truth in frame.truths]


def _found_cases(task: str, frame: Frame) -> list[Case]:
    """For each true object the cluster that our segmentation found for it (at least half of the cluster's pixels are
    the object's, and no other cluster holds more of it)."""
    scene = find_objects(frame.cloud)
    cases = []
    for truth in frame.truths:
        shared = [np.isin(cluster.indices, truth.indices).sum() for cluster in scene.clusters]
        best = int(np.argmax(shared)) if shared else -1
        if best >= 0 and shared[best] >= 0.5 * len(scene.clusters[best].indices):
            cases.append(_seen_case(task, frame, truth, scene.clusters[best].indices, scene.plane))
        else:
            nothing = np.zeros((0, 3), dtype=np.float32)
            reason = "not segmented" if scene.plane else scene.reason
            cases.append(Case(task, frame.name, truth, nothing, nothing, scene.plane, reason))
    return cases


def _seen_case(task: str, frame: Frame, truth: Truth, indices: NDArray[np.int64], plane: SupportPlane | None) -> Case:
    points = frame.cloud.points.reshape(-1, 3)[indices]
    alone = frame.part == "views"
    background = None if alone else background_points(frame.cloud, indices, VIEWPOINT, AROUND_POINTS, window=WIDE)
    return Case(task, frame.name, truth, points, background, plane)


def _picture_cases(task: str, frame: Frame) -> list[Case]:
    """The objects of a frame in its picture; where there is none, in one that is drawn."""
    picture = frame.picture or drawn_picture(frame)
    flat = frame.cloud.points.reshape(-1, 3)
    return [
        Case(task, frame.name, truth, flat[truth.indices], None, frame.plane, picture=pictured(picture, number))
        for number, truth in enumerate(frame.truths, start=1)
    ]


def _grid_case(task: str, frame: Frame, truth: Truth) -> Case:
    """The whole object as a coarse grid, or the cells that its seen points fall into; z up by the table."""
    points = frame.cloud.points.reshape(-1, 3)[truth.indices]
    if task.endswith("-map"):
        grid, T_cam_grid = seen_cells(points, frame.plane)
    else:
        grid, T_cam_grid = whole_grid(truth.mesh, frame.plane)
    return Case(task, frame.name, truth, points, None, frame.plane, grid=grid, T_cam_grid=T_cam_grid)


def _complete(method: Any, case: Case) -> Answer:
    if case.reason or case.plane is None:
        return None, case.reason
    try:
        if case.grid is not None and case.T_cam_grid is not None:
            return method(case.grid).apply_transform(case.T_cam_grid), ""
        if case.picture is not None:
            return method(case.picture, case.plane), ""
        return method(case.points, case.plane, case.background), ""
    except (ValueError, RuntimeError) as error:
        return None, str(error)
