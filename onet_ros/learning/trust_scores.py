"""Can the meshes be trusted, and does the node know when not? Measured on objects whose true shape is known.

    python -m onet_ros.learning.trust_scores --model DIR --data DIR      # views and scenes of an evaluation folder
    python -m onet_ros.learning.trust_scores --model DIR                 # procedural objects that no training saw
    python -m onet_ros.learning.trust_scores --model DIR --fit           # learn the network's errors, on others of them

What is measured of each object: how much of the mesh stands in space that the camera saw to be free, or under the
table, how far the seen points lie from it, how much of the true volume the conservative surface contains and what it
costs, whether the errors expected of the vertices come in the right order, and whether the right objects are called
reliable.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import minimize
from scipy.special import expit
from tqdm import tqdm

from onet_ros.completion import CompletionSettings, ObjectCompleter
from onet_ros.learning.calibration import stored_type
from onet_ros.learning.evaluation import VIEWPOINT, frame_cases
from onet_ros.learning.evaluation_data import EvaluationData, Frame
from onet_ros.learning.methods import table_hull
from onet_ros.learning.metrics import points_inside, score_mesh
from onet_ros.learning.procedural_data import ProceduralData
from onet_ros.networks import load_checkpoint, save_checkpoint
from onet_ros.networks.checkpoint import Checkpoint, with_training
from onet_ros.ray_casting import ray_scene
from onet_ros.scene import SeenObject, depth_noise
from onet_ros.surface import ExtractionSettings, SurfaceError
from onet_ros.trust import ErrorModel, Subject, assess
from onet_ros.trust.errors import ERROR_FLOOR, OBJECT_FEATURES

SAMPLES = 20_000
BORDER = 1e-4  # metres below the table that are rounding
BAD = 0.008  # metres of Chamfer-L1 from which on a mesh is bad
FALSE_ALARMS = 0.10  # of the good objects of the fit: what the limit of reliability is set for
NEARLY_BAD = 0.25  # of the logarithm of the error: by so much about BAD an object counts as bad in part
RIDGE = 1e-3  # of the weights that tell bad objects, of which there are few, for features of variance 1
VERTICES = 300  # of each object, that the fit looks at
COVERAGES = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
COVERAGE_OBJECTS = 60  # of the fit, that have all of these measured
FITTING_SEED, TESTING_SEED = 1, 0
NEIGHBOURS = 0.5  # probability that other objects stand around a procedural one
STEPS = 50  # of the sparsification curves
SILHOUETTE_PIXELS = 2  # beside an object of a single view that are not taken for free: depth cameras lose them


@dataclass(frozen=True)
class Seen:
    """One object as it was seen, and its true shape."""

    name: str
    frame: Frame
    seen: SeenObject
    truth: trimesh.Trimesh
    thin_walled: bool


@dataclass(frozen=True)
class TrustScores:
    """Of one object; metres, and shares between 0 and 1 of the volume they say.

    Attributes:
        free: of the tight mesh, in space seen to be free; under_table: below the table.
        seen_distance: mean, of the seen points from the tight mesh.
        contained: of the true volume, in the conservative mesh.
        extra, hull_extra: volume outside the true shape over the true volume, of the conservative mesh and of the
            table hull.
        sparsification: how much nearer to the best order of the vertices the expected errors come than chance, 1 for
            the best.
        coverage_error: mean of the expected over mean of the true vertex errors.
    """

    name: str
    thin_walled: bool
    iou: float
    chamfer: float
    expected: float
    reliable: bool
    reason: str
    free: float
    under_table: float
    seen_distance: float
    contained: float
    extra: float
    hull_extra: float
    sparsification: float
    error_ratio: float


def seen_objects(frames: Iterable[tuple[str, Frame]]) -> Iterator[Seen]:
    """The objects of frames of tasks, as the reconstructor is told of them; those of too few points are left out."""
    for task, frame in frames:
        for case in frame_cases(task, frame):
            if case.plane is not None and len(case.points) >= CompletionSettings().min_points:
                seen = SeenObject.on_plane(case.points, case.plane, VIEWPOINT, case.background)
                name = f"{task} {frame.name} {case.truth.name}"
                yield Seen(name, frame, seen, case.truth.mesh, case.truth.thin_walled)


def score(one: Seen, subject: Subject, model: ErrorModel | None, coverage: float, samples: int) -> TrustScores:
    """What is measured of an object."""
    error, trust = assess(subject, model, coverage)
    plane = one.frame.plane
    scores = score_mesh(subject.mesh, one.truth, samples)
    places = _places(subject.mesh, samples)
    inside = places[points_inside(subject.mesh, places)]
    contained, extra = _containing(subject.conservative_mesh, one.truth, samples)
    _, hull_extra = _containing(table_hull(one.seen.points.astype(np.float32), plane, None), one.truth, samples)
    true_error = _distances(one.truth, np.asarray(subject.mesh.vertices))
    return TrustScores(
        name=one.name,
        thin_walled=one.thin_walled,
        iou=scores.iou,
        chamfer=scores.chamfer_l1,
        expected=trust.expected_error,
        reliable=trust.reliable,
        reason=trust.reason,
        free=float(seen_free(one, inside).mean()) if len(inside) else 0.0,
        under_table=float((plane.height(inside) < -BORDER).mean()) if len(inside) else 0.0,
        seen_distance=float(_distances(subject.mesh, one.seen.points).mean()),
        contained=contained,
        extra=extra,
        hull_extra=hull_extra,
        sparsification=sparsification_gain(true_error, error),
        error_ratio=float(error.mean() / max(float(true_error.mean()), 1e-9)),
    )


def seen_free(one: Seen, places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) whether the pixel of each place (N, 3), camera frame, shows something clearly behind it.

    Pixel by pixel and by the sensor's noise, and so by other means than those that keep meshes out of it.
    """
    depth, K = _depth_image(one)
    z = places[:, 2]
    pixel = places @ K.T
    column, row = np.rint(pixel[:, :2] / np.maximum(pixel[:, 2:], 1e-6)).astype(int).T
    shown = (z > 0.0) & (column >= 0) & (row >= 0) & (column < depth.shape[1]) & (row < depth.shape[0])
    measured = np.where(shown, depth[np.where(shown, row, 0), np.where(shown, column, 0)], np.nan)
    return np.asarray(z < measured - 3.0 * depth_noise(measured) - 0.001)  # false where nothing was measured


def _depth_image(one: Seen) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(H, W) metres, NaN where nothing was measured, and K (3, 3); of a single view, with the table around it."""
    frame = one.frame
    if frame.cloud.organized:
        points = frame.cloud.points.astype(np.float64)
        return points[..., 2], frame.K if frame.K is not None else _intrinsics(points)
    assert frame.K is not None
    width, height = (round(2.0 * float(frame.K[axis, 2]) + 1.0) for axis in (0, 1))
    pixels = one.seen.points @ frame.K.T
    column, row = np.rint(pixels[:, :2] / pixels[:, 2:]).astype(int).T
    own = np.zeros((height, width), dtype=bool)
    own[row, column] = True
    v, u = np.mgrid[:height, :width]
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(frame.K).T
    descent = -(rays @ frame.plane.normal)
    depth = np.where(descent > 1e-6, frame.plane.offset / np.maximum(descent, 1e-6), np.nan)
    depth[ndimage.binary_dilation(own, iterations=SILHOUETTE_PIXELS)] = np.nan
    depth[row, column] = one.seen.points[:, 2]
    return depth, frame.K


def _intrinsics(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """K (3, 3) of an organized cloud (H, W, 3), by least squares."""
    row, column = np.nonzero(np.isfinite(points).all(axis=2) & (points[..., 2] > 0.0))
    x, y, z = points[row, column].T
    fx, cx = np.linalg.lstsq(np.stack([x / z, np.ones_like(z)], axis=1), column, rcond=None)[0]
    fy, cy = np.linalg.lstsq(np.stack([y / z, np.ones_like(z)], axis=1), row, rcond=None)[0]
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def sparsification_gain(true: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """How far an order of vertices by expected error is better than chance: 0 as chance, 1 as the order by true error.

    Vertices are left out, those of the largest error first, and the mean true error of the others is drawn over the
    share left out (sparsification error: E. Ilg et al., "Uncertainty Estimates and Multi-Hypotheses Networks for
    Optical Flow", ECCV 2018). Of the area between that curve and the best one, the share that is saved against a flat
    curve.
    """
    if np.isnan(expected).any():
        return 0.0
    best, own = (_curve(true, order) for order in (np.argsort(true), np.argsort(expected)))
    chance = float((true.mean() - best).mean())
    return 1.0 - float((own - best).mean()) / chance if chance > 0.0 else 0.0


def _curve(true: NDArray[np.floating], ascending: NDArray[np.int64]) -> NDArray[np.float64]:
    kept = np.maximum((np.linspace(1.0, 0.0, STEPS, endpoint=False) * len(true)).astype(int), 1)
    return np.asarray((np.cumsum(true[ascending], dtype=np.float64) / np.arange(1, len(true) + 1))[kept - 1])


def _containing(mesh: trimesh.Trimesh, truth: trimesh.Trimesh, samples: int) -> tuple[float, float]:
    """Share of the true volume in a mesh, and the mesh's volume outside it over the true volume."""
    low = np.minimum(mesh.bounds[0], truth.bounds[0])
    high = np.maximum(mesh.bounds[1], truth.bounds[1])
    places = np.random.default_rng(0).uniform(low, high, (4 * samples, 3))
    own, true = points_inside(mesh, places), points_inside(truth, places)
    return float((own & true).sum() / max(true.sum(), 1)), float((own & ~true).sum() / max(true.sum(), 1))


def _places(mesh: trimesh.Trimesh, samples: int) -> NDArray[np.float64]:
    low, high = mesh.bounds
    return np.random.default_rng(0).uniform(low, high, (samples, 3))


def _distances(mesh: trimesh.Trimesh, points: NDArray[np.floating]) -> NDArray[np.float32]:
    distance: NDArray[np.float32] = ray_scene([mesh]).compute_distance(np.asarray(points, dtype=np.float32)).numpy()
    return distance


def fit(checkpoint: Checkpoint, objects: int) -> ErrorModel:
    """Learn the errors of a network on procedural objects."""
    # Without what was learnt of it before, which may be of an older kind.
    plain = Checkpoint(checkpoint.network, checkpoint.observation_points, checkpoint.threshold)
    completer = ObjectCompleter(plain, CompletionSettings(), ExtractionSettings())
    features, errors, chamfers, subjects = [], [], [], []
    rng = np.random.default_rng(0)
    coverage: list[list[float]] = []
    for number, one in enumerate(tqdm(_procedural(objects, FITTING_SEED), total=objects, desc="fit")):
        (subject,) = completer.subjects([one.seen])
        if isinstance(subject, SurfaceError):
            continue
        chosen = rng.integers(len(subject.mesh.vertices), size=VERTICES)
        features.append(subject.vertices.features()[chosen])
        errors.append(_distances(one.truth, np.asarray(subject.mesh.vertices)[chosen]))
        chamfers.append(score_mesh(subject.mesh, one.truth, SAMPLES // 4).chamfer_l1)
        subjects.append((subject, float(_distances(subject.mesh, one.seen.points).mean())))
        if number < COVERAGE_OBJECTS:
            coverage.append([_contained(plain, one, share) for share in COVERAGES])
    vertex = np.linalg.lstsq(np.concatenate(features), np.log(np.concatenate(errors) + ERROR_FLOOR), rcond=None)[0]
    factor = float((np.concatenate(errors) + ERROR_FLOOR).mean() / np.exp(np.concatenate(features) @ vertex).mean())
    unknown = [0.0] * len(OBJECT_FEATURES)
    model = ErrorModel(vertex.tolist(), factor, unknown, unknown, BAD, 1.0, _ascending(coverage))
    rows = np.stack([one.evidence(model.vertex_errors(one.vertices), fitted).features() for one, fitted in subjects])
    true = np.array(chamfers)
    weights = np.linalg.lstsq(rows, np.log(true), rcond=None)[0]
    doubt = logistic_weights(rows, expit(np.log(true / BAD) / NEARLY_BAD))
    chance = expit(rows @ doubt)
    limit = float(np.quantile(chance[true <= BAD], 1.0 - FALSE_ALARMS))
    caught = [bool(flag) for flag in chance[true > BAD] > limit]
    agreement = np.corrcoef(rows @ weights, np.log(true))[0, 1]
    print(
        f"{len(true)} objects; a chance above {100 * limit:.1f} % catches {_share(caught)} of the bad ones; the "
        f"logarithms of expected and true errors correlate by {agreement:.2f}"
    )
    return replace(model, object=weights.tolist(), doubt=doubt.tolist(), limit=limit)


def logistic_weights(rows: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (F,) of rows (N, F), the first column 1, whose logistic function is nearest to shares (N,), 0 to 1.

    Least cross entropy, with `RIDGE` against large weights.
    """
    mean, deviation = rows[:, 1:].mean(axis=0), np.maximum(rows[:, 1:].std(axis=0), 1e-9)
    standard = np.column_stack([rows[:, :1], (rows[:, 1:] - mean) / deviation])
    penalty = RIDGE * np.r_[0.0, np.ones(rows.shape[1] - 1)]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = standard @ weights
        value = (np.logaddexp(0.0, odds) - shares * odds).mean() + 0.5 * (penalty * weights**2).sum()
        return float(value), standard.T @ (expit(odds) - shares) / len(rows) + penalty * weights

    found = minimize(loss, np.zeros(rows.shape[1]), jac=True, method="BFGS").x
    slopes = found[1:] / deviation
    return np.r_[found[0] - slopes @ mean, slopes]


def _contained(checkpoint: Checkpoint, one: Seen, share: float) -> float:
    settings = CompletionSettings(coverage=share)
    (subject,) = ObjectCompleter(checkpoint, settings, ExtractionSettings()).subjects([one.seen])
    assert not isinstance(subject, SurfaceError)
    return _containing(subject.conservative_mesh, one.truth, SAMPLES // 4)[0]


def _ascending(achieved: list[list[float]]) -> list[list[float]]:
    """Pairs of COVERAGES and what they achieved on average."""
    mean = np.maximum.accumulate(np.mean(achieved, axis=0))
    return [[share, float(got)] for share, got in zip(COVERAGES, mean, strict=True)]


def _procedural(objects: int, seed: int) -> Iterator[Seen]:
    data = ProceduralData(objects, seed, NEIGHBOURS)
    return seen_objects(("procedural", frame) for frame in data.frames())


def summary(scores: Sequence[TrustScores], failures: int) -> str:
    """Means and counts as lines of text."""

    def mean(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in scores]))

    bad, good = [one for one in scores if one.chamfer > BAD], [one for one in scores if one.chamfer <= BAD]
    lines = [
        f"{len(scores)} objects, {failures} could not be completed; IoU {mean('iou'):.3f}, "
        f"Chamfer-L1 {1000 * mean('chamfer'):.2f} mm",
        f"tight mesh: {100 * mean('free'):.2f} % of its volume in space seen to be free, "
        f"{100 * mean('under_table'):.2f} % under the table; seen points {1000 * mean('seen_distance'):.2f} mm from it",
        f"conservative mesh: {100 * mean('contained'):.1f} % of the true volume in it; "
        f"{100 * mean('extra'):.0f} % more volume than the object's (table hull: {100 * mean('hull_extra'):.0f} %)",
        f"expected errors: order of the vertices {100 * mean('sparsification'):.0f} % better than chance; "
        f"{mean('error_ratio'):.2f} of the true mean",
        f"not reliable: {_share([not one.reliable for one in bad])} of the objects over {1000 * BAD:.0f} mm, "
        f"{_share([not one.reliable for one in good])} of the others",
    ]
    return "\n".join(lines)


def _share(flags: Sequence[bool]) -> str:
    return f"{sum(flags)} of {len(flags)} ({100 * sum(flags) / max(len(flags), 1):.0f} %)"


def worst(scores: Sequence[TrustScores], count: int = 10) -> str:
    """The objects with the largest errors, one a line."""
    rows = sorted(scores, key=lambda one: -one.chamfer)[:count]
    lines = [f"{'object':40} Chamfer expected  free  contained"]
    lines += [
        f"{one.name:40} {1000 * one.chamfer:4.1f} mm  {1000 * one.expected:4.1f} mm {100 * one.free:4.1f} % "
        f"{100 * one.contained:6.1f} %  {'reliable' if one.reliable else one.reason}"
        for one in rows
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m onet_ros.learning.trust_scores",
        description="Measures whether completed meshes keep to what was seen, and whether the errors expected of them "
        "come true; learns a network's errors.",
    )
    parser.add_argument("--model", type=Path, default=Path("models/default"), help="checkpoint (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="evaluation folder; without it procedural objects are measured")
    parser.add_argument("--objects", type=int, default=200, help="procedural ones (default: %(default)s)")
    parser.add_argument("--fit", action="store_true", help="learn the errors first and write them into the checkpoint")
    parser.add_argument("--fit-objects", type=int, default=600, help="to learn from (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="points of each measure (default: %(default)s)")
    parser.add_argument("--no-carving", action="store_true", help="measure without keeping to what was seen")
    parser.add_argument("--out", type=Path, help="JSON file for the figures of every object")
    options = parser.parse_args(arguments)
    try:
        with torch.no_grad():
            _run(options)
    except (ValueError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")


def _run(options: argparse.Namespace) -> None:
    checkpoint = load_checkpoint(options.model)
    if options.fit:
        model = fit(checkpoint, options.fit_objects)
        checkpoint = with_training(checkpoint, trust=model.record())
        save_checkpoint(options.model, checkpoint, stored_type(options.model))
        print(f"written to {options.model}")
    figures: dict[str, Any] = {}
    for task, objects, count in _tasks(options):
        scores, failures = _score_all(task, checkpoint, objects, count, options)
        print(f"\n{task}\n{summary(scores, failures)}\n\n{worst(scores)}")
        figures[task] = {"failures": failures, "objects": [asdict(one) for one in scores]}
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


def _tasks(options: argparse.Namespace) -> Iterator[tuple[str, Iterable[Seen], int | None]]:
    if options.data is None:
        yield "procedural", _procedural(options.objects, TESTING_SEED), options.objects
        return
    data = EvaluationData(options.data)
    for part in ("views", "scenes"):
        yield part, seen_objects((part, frame) for frame in data.frames(part)), None


def _score_all(
    task: str, checkpoint: Checkpoint, objects: Iterable[Seen], count: int | None, options: argparse.Namespace
) -> tuple[list[TrustScores], int]:
    settings = CompletionSettings(carve=not options.no_carving)
    completer = ObjectCompleter(checkpoint, settings, ExtractionSettings())
    record = checkpoint.training.get("trust")
    model = None if record is None else ErrorModel.from_record(record)
    scores, failures = [], 0
    for one in tqdm(objects, desc=task, total=count):
        (subject,) = completer.subjects([one.seen])
        if isinstance(subject, SurfaceError):
            failures += 1
        else:
            scores.append(score(one, subject, model, settings.coverage, options.samples))
    return scores, failures


if __name__ == "__main__":
    main()
