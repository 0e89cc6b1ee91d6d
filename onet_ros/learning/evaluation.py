"""How good methods are: every object of an evaluation folder, completed and scored.

Failures are counted as scores of 0 and listed; nothing is dropped. Two runs give the same figures. What is made of the
results, for people and for machines, is in `evaluation_report`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray
from tqdm import tqdm

from onet_ros.completion import BACKGROUND_POINTS
from onet_ros.learning.evaluation_data import EvaluationData, Frame, Truth
from onet_ros.learning.methods import Method
from onet_ros.learning.metrics import SAMPLES, MeshScores, score_mesh
from onet_ros.reconstructor import find_objects
from onet_ros.scene import SupportPlane, background_points

# What can be evaluated: the parts of the data, scenes and captures both by true masks and by our own segmentation.
TASKS = ("views", "scenes", "scenes-own", "real", "real-own")
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
    """

    task: str
    frame: str
    truth: Truth
    points: NDArray[np.float32]
    background: NDArray[np.float32] | None
    plane: SupportPlane | None
    reason: str = ""


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
    methods: Mapping[str, Method],
    data: EvaluationData,
    tasks: Sequence[str] = TASKS,
    samples: int = SAMPLES,
    seed: int = 0,
    jobs: int = JOBS,
    progress: bool = True,
) -> list[Result]:
    """Run methods, by their labels, on every object of the tasks.

    Args:
        samples: points that each score is taken from; `seed` is theirs.
        jobs: threads that score; their number does not change the figures.

    Raises:
        ValueError: an unknown task.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise ValueError(f"unknown tasks {unknown}; known are {', '.join(TASKS)}")
    pending: list[Future[list[Result]]] = []
    with ThreadPoolExecutor(jobs) as scoring:
        for task in tasks:
            for frame in tqdm(list(data.frames(task.partition("-")[0])), desc=task, disable=not progress):
                for case in frame_cases(task, frame):
                    answers = {label: _complete(method, case) for label, method in methods.items()}
                    pending.append(scoring.submit(_score, case, answers, samples, seed))
    return [result for results in pending for result in results.result()]


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
    background = None if alone else background_points(frame.cloud, indices, VIEWPOINT, BACKGROUND_POINTS)
    return Case(task, frame.name, truth, points, background, plane)


def _complete(method: Method, case: Case) -> Answer:
    if case.reason or case.plane is None:
        return None, case.reason
    try:
        return method(case.points, case.plane, case.background), ""
    except (ValueError, RuntimeError) as error:
        return None, str(error)
