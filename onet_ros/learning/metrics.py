"""How close a reconstructed mesh is to the true one: the metrics of the occupancy network papers, in metres as well.

Both meshes are given in the same frame and compared as they lie, without alignment. Definitions as in Occupancy
Networks (Mescheder et al., CVPR 2019, section 4) and, for the F-score, Tatarchenko et al. (CVPR 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open3d as o3d
import trimesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from onet_ros.ray_casting import ray_scene

SAMPLES = 100_000
BOX_MARGIN = 1.1  # the box for volumetric IoU, over the longest edge of the true mesh's bounding box
F_SCORE_DISTANCE = 0.005  # metres
F_SCORE_SHARE = 0.01  # of the longest edge: the papers' threshold
SEEN_DISTANCE = 0.005  # metres from a seen point within which the true surface counts as seen


@dataclass(frozen=True)
class MeshScores:
    """Scores of one reconstruction.

    Attributes:
        iou: volumetric intersection over union, 0 to 1.
        accuracy: mean distance from the reconstruction to the truth, metres.
        completeness: mean distance from the truth to the reconstruction, metres.
        chamfer_l1: their mean, metres.
        normal_consistency: mean |cosine| between normals of nearest points, both directions averaged, 0 to 1.
        f_score: harmonic mean of precision and recall at 5 mm, 0 to 1.
        chamfer_l1_normalised: chamfer_l1 over the longest edge of the true bounding box.
        f_score_normalised: f-score at 1 % of that edge.
        seen_error, hidden_error: the completeness of the part of the true surface that the camera saw, and of the part
            it did not see, metres; None where there is no such part, or nobody said what was seen.
        failed: there was no reconstruction.
    """

    iou: float
    accuracy: float
    completeness: float
    chamfer_l1: float
    normal_consistency: float
    f_score: float
    chamfer_l1_normalised: float
    f_score_normalised: float
    seen_error: float | None = None
    hidden_error: float | None = None
    failed: bool = False


def score_mesh(
    predicted: trimesh.Trimesh | None,
    truth: trimesh.Trimesh,
    samples: int = SAMPLES,
    seed: int = 0,
    seen: NDArray[np.floating] | None = None,
) -> MeshScores:
    """Compare a reconstruction with the truth.

    Args:
        predicted: watertight, metres; None (or a mesh without faces) is a failure: IoU and F-scores 0, distances the
            longest edge of the truth.
        truth: watertight, metres, same frame.
        samples: points in the box, and points on each surface.
        seen: (N, 3) metres, same frame, the points that the camera saw of the object.

    Raises:
        ValueError: the truth has no faces.
    """
    if len(truth.faces) == 0:
        raise ValueError("the true mesh has no faces")
    edge = float(truth.extents.max())
    if predicted is None or len(predicted.faces) == 0:
        return MeshScores(0.0, edge, edge, edge, 0.0, 0.0, 1.0, 0.0, edge, edge, failed=True)
    from_predicted, from_truth, normals, on_truth = _nearest_distances(predicted, truth, samples, seed)
    seen_error, hidden_error = _seen_and_hidden(from_truth, on_truth, seen)
    accuracy, completeness = float(from_predicted.mean()), float(from_truth.mean())
    chamfer = (accuracy + completeness) / 2.0
    return MeshScores(
        iou=volume_iou(predicted, truth, samples, seed),
        accuracy=accuracy,
        completeness=completeness,
        chamfer_l1=chamfer,
        normal_consistency=normals,
        f_score=_f_score(from_predicted, from_truth, F_SCORE_DISTANCE),
        chamfer_l1_normalised=chamfer / edge,
        f_score_normalised=_f_score(from_predicted, from_truth, F_SCORE_SHARE * edge),
        seen_error=seen_error,
        hidden_error=hidden_error,
    )


def volume_iou(predicted: trimesh.Trimesh, truth: trimesh.Trimesh, samples: int = SAMPLES, seed: int = 0) -> float:
    """Share of uniform points inside both of those inside either.

    The points fill the cube about the true bounding box's centre with BOX_MARGIN times its longest edge.
    """
    half = BOX_MARGIN * float(truth.extents.max()) / 2.0
    centre = truth.bounds.mean(axis=0)
    points = centre + np.random.default_rng(seed).uniform(-half, half, (samples, 3))
    a, b = points_inside(predicted, points), points_inside(truth, points)
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 0.0


def points_inside(mesh: trimesh.Trimesh, points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(N, 3) metres -> (N,) whether each point lies in a watertight mesh (majority of three rays)."""
    query = o3d.core.Tensor(np.ascontiguousarray(points, dtype=np.float32))
    occupancy = ray_scene([mesh]).compute_occupancy(query, nsamples=3)
    inside: NDArray[np.bool_] = occupancy.numpy() > 0.5
    return inside


def _nearest_distances(
    predicted: trimesh.Trimesh, truth: trimesh.Trimesh, samples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, NDArray[np.float64]]:
    """Distances from samples of each surface to those of the other, the normal consistency, and the true samples."""
    points_a, faces_a = trimesh.sample.sample_surface(predicted, samples, seed=seed)[:2]
    points_b, faces_b = trimesh.sample.sample_surface(truth, samples, seed=seed + 1)[:2]
    tree_a, tree_b = _search_tree(points_a), _search_tree(points_b)
    from_a, nearest_b = _nearest(tree_a, tree_b)
    from_b, nearest_a = _nearest(tree_b, tree_a)
    normals_a, normals_b = predicted.face_normals[faces_a], truth.face_normals[faces_b]
    agree_a = np.abs((normals_a * normals_b[nearest_b]).sum(axis=1)).mean()
    agree_b = np.abs((normals_b * normals_a[nearest_a]).sum(axis=1)).mean()
    return from_a, from_b, float(agree_a + agree_b) / 2.0, points_b


def _seen_and_hidden(
    from_truth: NDArray[np.float64], on_truth: NDArray[np.float64], seen: NDArray[np.floating] | None
) -> tuple[float | None, float | None]:
    """Mean of the distances (N,) over the true samples (N, 3) that were seen, and over the others."""
    if seen is None or not len(seen):
        return None, None
    nearest, _ = cKDTree(seen).query(on_truth, distance_upper_bound=SEEN_DISTANCE)
    was_seen = np.isfinite(nearest)
    seen_error, hidden_error = (
        float(from_truth[part].mean()) if part.any() else None for part in (was_seen, ~was_seen)
    )
    return seen_error, hidden_error


def _search_tree(points: NDArray[np.float64]) -> cKDTree:
    """Split at the middle of the space, not of the points: where the surfaces are far apart, and so many points almost
    equally near, the balanced tree takes up to six times as long for the same answers."""
    return cKDTree(points, balanced_tree=False, compact_nodes=False)


def _nearest(queries: cKDTree, tree: cKDTree) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each point of `queries`, in its given order, the distance to the nearest one of `tree`, and which that is.

    Asked leaf by leaf, so that neighbours follow each other and find the tree in the cache: two thirds of the time.
    """
    order = queries.indices
    distances, indices = np.empty(len(order)), np.empty(len(order), dtype=np.int64)
    distances[order], indices[order] = tree.query(queries.data[order])
    return distances, indices


def _f_score(from_predicted: NDArray[np.float64], from_truth: NDArray[np.float64], distance: float) -> float:
    precision, recall = float((from_predicted < distance).mean()), float((from_truth < distance).mean())
    return 2.0 * precision * recall / (precision + recall) if precision + recall > 0.0 else 0.0
