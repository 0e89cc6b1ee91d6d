"""How well clouds are cut into objects: against true masks and true planes.

    python -m onet_ros.learning.segmentation_scores --data DIR

prints, for every scene and real capture of an evaluation folder, what became of each object and how far the support
plane is off.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.scene import (
    Capture,
    ObjectCluster,
    PointCloud,
    SupportPlane,
    find_support_plane,
    load_capture,
    segment_objects,
)

OUTCOMES = ("found", "poor", "split", "merged", "missed")
MIN_SHARE = 0.05  # a cluster with a smaller share of an object has nothing to do with it
MIN_IOU = 0.7  # of mask and cluster, for an object to count as found
MIN_VISIBLE = 0.6  # objects of which less is visible are counted apart
NO_DEPTH = 255  # in true masks


@dataclass(frozen=True)
class ObjectScore:
    """What became of one object.

    Attributes:
        name: of the object.
        outcome: `found` as exactly one cluster of its own with an IoU of at least 0.7; `poor`, the same with less;
            `split` over several clusters; `merged`, in one cluster with another object; `missed`, in none.
        iou: of its mask and the cluster that fits it best, 0..1.
        kept: share of its pixels that are in any cluster.
        visible_fraction: share of it that nothing else hides; 1 where that is unknown.
    """

    name: str
    outcome: str
    iou: float
    kept: float
    visible_fraction: float


@dataclass(frozen=True)
class SegmentationScores:
    """What became of the objects of one image.

    Attributes:
        objects: in the order of the true labels.
        false_clusters: clusters that are for the most part no object.
        extra: pixels in clusters that belong to no object, over the pixels of all objects.
    """

    objects: tuple[ObjectScore, ...]
    false_clusters: int
    extra: float


def score_segmentation(
    labels_pred: NDArray[np.integer],
    labels_true: NDArray[np.integer],
    names: Sequence[str] = (),
    visible_fraction: ArrayLike | None = None,
) -> SegmentationScores:
    """Compare clusters with true masks.

    Args:
        labels_pred: (H, W) int, 0 for no cluster.
        labels_true: (H, W) int, 0 for no object, 255 for pixels without depth, which do not count.
        names: of the objects 1, 2, ...; the highest label decides how many there are when left out.
        visible_fraction: (n,) 0..1, one for each object.

    Raises:
        ValueError: the images differ in shape.
    """
    if labels_pred.shape != labels_true.shape:
        raise ValueError(f"labels must have one shape, got {labels_pred.shape} and {labels_true.shape}")
    known = labels_true != NO_DEPTH
    predicted, true = labels_pred[known], labels_true[known]
    count = len(names) or int(true.max(initial=0))
    overlap = np.zeros((count + 1, int(predicted.max(initial=0)) + 1), np.int64)
    np.add.at(overlap, (true, predicted), 1)
    sizes = overlap.sum(axis=1)
    visible = np.ones(count) if visible_fraction is None else np.asarray(visible_fraction, dtype=np.float64)
    objects = []
    for i in range(1, count + 1):
        if sizes[i]:
            name = names[i - 1] if names else str(i)
            objects.append(_score_object(i, overlap, name, float(visible[i - 1])))
    clusters = overlap[:, 1:]
    false = int(((clusters[0] > clusters[1:].sum(axis=0)) & (clusters.sum(axis=0) > 0)).sum())
    return SegmentationScores(tuple(objects), false, float(clusters[0].sum() / max(sizes[1:].sum(), 1)))


def _score_object(i: int, overlap: NDArray[np.int64], name: str, visible: float) -> ObjectScore:
    """Score object i from the pixels (objects + 1, clusters + 1) that each object shares with each cluster."""
    size, clusters = overlap[i].sum(), overlap[:, 1:]
    shared = clusters[i]
    union = size + clusters.sum(axis=0) - shared
    iou = float((shared / np.maximum(union, 1)).max(initial=0.0))
    holders = np.flatnonzero(shared > MIN_SHARE * size)
    if len(holders) == 0:
        outcome = "missed"
    elif len(holders) > 1:
        outcome = "split"
    else:
        inside = clusters[1:, holders[0]] > MIN_SHARE * overlap[1:].sum(axis=1)
        outcome = "merged" if inside.sum() > 1 else "found" if iou >= MIN_IOU else "poor"
    return ObjectScore(name, outcome, iou, float(shared.sum() / size), visible)


def plane_error(found: SupportPlane, true: SupportPlane, points: NDArray[np.floating]) -> tuple[float, float]:
    """Angle between two planes, radians, and their mean distance at points (N, 3), metres; positive: found too low."""
    angle = float(np.arcsin(np.clip(np.linalg.norm(np.cross(found.normal, true.normal)), 0.0, 1.0)))
    return angle, float((found.height(points) - true.height(points)).mean())


def cluster_labels(clusters: Sequence[ObjectCluster], shape: tuple[int, int]) -> NDArray[np.int32]:
    """(H, W) int32 image of clusters: 1, 2, ... in their order, 0 elsewhere."""
    labels = np.zeros(shape, np.int32)
    for i, cluster in enumerate(clusters, start=1):
        labels.ravel()[cluster.indices] = i
    return labels


def segment_capture(capture: Capture, unorganized: bool = False) -> tuple[SupportPlane | None, NDArray[np.int32]]:
    """The plane found in a capture and the label image of its clusters; optionally without the image's structure."""
    cloud = capture.cloud
    shape = cloud.valid.shape
    plane = find_support_plane(cloud.valid_points, capture.viewpoint).plane
    if plane is None:
        return None, np.zeros(shape, np.int32)
    if not unorganized:
        return plane, cluster_labels(segment_objects(cloud, plane, viewpoint=capture.viewpoint), shape)
    flat = PointCloud.from_points(cloud.valid_points)
    labels = np.zeros(shape, np.int32)
    labels[cloud.valid] = cluster_labels(segment_objects(flat, plane, viewpoint=capture.viewpoint), flat.valid.shape)[0]
    return plane, labels


def paint(labels: NDArray[np.int32], rgb: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, RGB: the clusters in colours over the darkened picture."""
    base = np.zeros((*labels.shape, 3), np.uint8) if rgb is None else rgb
    hues = (labels * 47 % 180).astype(np.uint8)  # 47 and 180 have no common divisor: neighbours in number differ much
    vivid = cv2.cvtColor(np.dstack([hues, np.full_like(hues, 220), np.full_like(hues, 255)]), cv2.COLOR_HSV2RGB)
    inside = (labels > 0)[..., None]
    return np.where(inside, 0.35 * base + 0.65 * vivid, 0.45 * base).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m onet_ros.learning.segmentation_scores",
        description="Segments every scene and real capture of an evaluation folder and prints, for each, the objects "
        "found as exactly one cluster, split, merged and missed, the false clusters, the mean IoU with the true masks, "
        "and the error of the support plane (angle, and height at the objects).",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with scenes/*.npz and real/*.npz")
    parser.add_argument("--unorganized", action="store_true", help="forget the image structure of the clouds first")
    parser.add_argument("--pictures", type=Path, help="folder to write an image of the clusters of each capture to")
    options = parser.parse_args(arguments)
    paths = [path for part in ("scenes", "real") for path in sorted((options.data / part).glob("*.npz"))]
    if not paths:
        parser.error(f"no scenes/*.npz or real/*.npz in {options.data}")
    print(f"{'capture':<22}{'clusters':>9}  {'objects':<34}{'IoU':>6}{'kept':>6}{'false':>6}{'plane deg':>10}{'mm':>7}")
    everything: list[ObjectScore] = []
    for path in paths:
        everything += _report(path, options.unorganized, options.pictures)
    for title, chosen in (
        (f"objects at least {MIN_VISIBLE:.0%} visible", [o for o in everything if o.visible_fraction >= MIN_VISIBLE]),
        ("objects less visible", [o for o in everything if o.visible_fraction < MIN_VISIBLE]),
    ):
        if chosen:
            iou, kept = (float(np.mean([getattr(o, name) for o in chosen])) for name in ("iou", "kept"))
            print(f"{title}: {_outcomes(chosen)} of {len(chosen)}; mean IoU {iou:.3f}, pixels kept {kept:.3f}")


def _report(path: Path, unorganized: bool, pictures: Path | None) -> list[ObjectScore]:
    """Print one capture's line; its objects where the truth is known."""
    capture = load_capture(path)
    plane, labels = segment_capture(capture, unorganized)
    line = f"{path.stem:<22}{int(labels.max()):>9}"
    objects: tuple[ObjectScore, ...] = ()
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(pictures / f"{path.stem}.png"), paint(labels, capture.rgb)[..., ::-1])
    if plane is None:
        line += "  no support plane"
    if capture.segmentation is not None:
        with np.load(path) as data:
            visible = data.get("visible_fraction")
        scores = score_segmentation(labels, capture.segmentation, capture.names, visible)
        objects = scores.objects
        iou, kept = (float(np.mean([getattr(o, name) for o in objects])) for name in ("iou", "kept"))
        line += f"  {_outcomes(objects):<34}{iou:>6.3f}{kept:>6.3f}{scores.false_clusters:>6}"
    if plane is not None and capture.plane is not None and capture.segmentation is not None:
        inside = (capture.segmentation > 0) & (capture.segmentation < NO_DEPTH) & capture.cloud.valid
        angle, height = plane_error(plane, capture.plane, capture.cloud.points[inside])
        line += f"{np.degrees(angle):>10.3f}{1000 * height:>7.2f}"
    print(line)
    return list(objects)


def _outcomes(objects: Sequence[ObjectScore]) -> str:
    """ "5 found, 1 split": only what occurred."""
    counts = Counter(score.outcome for score in objects)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])


if __name__ == "__main__":
    main()
