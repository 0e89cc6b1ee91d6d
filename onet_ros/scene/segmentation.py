"""From a cloud and its support plane to the objects that stand on it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from onet_ros import columns
from onet_ros.scene.cloud import CloudError, PointCloud, depth_noise
from onet_ros.scene.fragments import connect, grouped, merge
from onet_ros.scene.plane import PlaneOutline, SupportPlane
from onet_ros.scene.range_image import RangeImage
from onet_ros.settings import check_settings, setting

MIN_MAP_CELLS = 8  # of an object; fewer say next to nothing of its shape
TABLE_CELLS = 0.75  # edges of a cell over the plane

_LOGGER = logging.getLogger(__name__)

_WINDOW = 7  # pixels; heights are averaged over such a square to find what lies flat on the table
_NEAR_TABLE = 0.015  # metres; the table's own roughness is measured on what lies this near to the plane
_MASK_CELL = 0.01  # metres; points of a mask are grouped by cells of this edge
_MASK_GAP = 0.025  # metres; groups are this far apart
_MASK_SHARE = 0.25  # of the largest group's points: smaller ones are what the mask spilled on
_BORDER = 2  # pixels; an object this near to the image's border is cut by it


@dataclass(frozen=True)
class SegmentationSettings:
    """What counts as table, as one object, and as an object at all."""

    min_height: float = setting(
        0.004,
        "A point must be this high above the plane, and clear of the noise, to start an object",
        unit="m",
        minimum=0.0,
        maximum=0.1,
    )
    flatness: float = setting(
        0.002,
        "By this much the average height of a patch of table may deviate from the plane",
        unit="m",
        minimum=0.0,
        maximum=0.05,
    )
    noise_factor: float = setting(
        4.0, "Standard deviations of the table's roughness that count as table", minimum=1.0, maximum=20.0
    )
    max_incidence: float = setting(
        1.25,
        "Neighbouring pixels are one surface where it is seen at no flatter an angle from its normal",
        unit="rad",
        minimum=0.1,
        maximum=1.55,
    )
    merge_gap: float = setting(
        0.015,
        "Pieces this near to each other, and four pixels more, with no table seen between them, are one object",
        unit="m",
        minimum=0.0,
        maximum=0.2,
    )
    hanging_gap: float = setting(
        0.022, "The same, where one of the pieces is not seen to reach the table", unit="m", minimum=0.0, maximum=0.2
    )
    min_points: int = setting(60, "Clusters of fewer points are no objects", minimum=3, maximum=1_000_000)
    min_object_height: float = setting(
        0.008, "Clusters that do not rise this high above the plane are no objects", unit="m", minimum=0.0, maximum=1.0
    )
    max_height: float = setting(
        0.6, "Points higher above the plane belong to no object", unit="m", minimum=0.01, maximum=5.0
    )
    max_extent: float = setting(
        0.6, "Clusters longer than this along the table are no objects", unit="m", minimum=0.01, maximum=10.0
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, eq=False)
class ObjectCluster:
    """The points of one object.

    Attributes:
        indices: (M,) int64, ascending, into the flat cloud.
        points: (M, 3) float32, metres, the cloud's frame.
        touches_border: the object is cut by the image's border; False for a cloud without image structure.
    """

    indices: NDArray[np.int64]
    points: NDArray[np.float32]
    touches_border: bool = False


def segment_objects(
    cloud: PointCloud,
    plane: SupportPlane,
    settings: SegmentationSettings | None = None,
    viewpoint: ArrayLike = (0.0, 0.0, 0.0),
) -> list[ObjectCluster]:
    """The objects on the support plane, those with most points first; the same input gives the same output.

    The cloud is worked on as the image that the camera saw (an unorganized cloud is projected into one first). Pixels
    clear of the table are connected into pieces of surface, and pieces into objects. What rises too little, stands
    beside the seen table, or is larger than an object, is left out and logged at level DEBUG. Of the cells of a map, in
    which no camera hides one by another, those that touch are one object.

    Args:
        plane: in the cloud's frame.
        viewpoint: (3,) metres, the cloud's frame: where the camera stood.
    """
    settings = settings or SegmentationSettings()
    if cloud.cell_size:
        return _touching_cells(cloud, plane, settings)
    image = RangeImage.from_cloud(cloud, viewpoint)
    view = np.asarray(viewpoint, dtype=np.float64)
    local = SupportPlane(plane.normal, float(plane.height(view)))
    height = local.height(image.points)
    clear, table = _split(image, height, abs(local.offset), settings)
    pieces = connect(image, clear, table, settings.max_incidence, min_points=10)
    labels = merge(image, height, pieces, table, settings.merge_gap, settings.hanging_gap)
    surface = image.points.reshape(-1, 3).take(np.flatnonzero(table)[::16], axis=0)
    outline = PlaneOutline.around(local, surface, np.zeros(3)) if len(surface) else None
    for pixels in _objects(labels):
        reason = _no_object(
            image.points.reshape(-1, 3).take(pixels, axis=0), height.ravel()[pixels], local, outline, settings
        )
        if reason:
            _LOGGER.debug("cluster of %d points left out: %s", len(pixels), reason)
            labels.ravel()[pixels] = 0
    return clusters_from_labels(cloud, _to_cloud(image, labels, cloud))


def _touching_cells(cloud: PointCloud, plane: SupportPlane, settings: SegmentationSettings) -> list[ObjectCluster]:
    """Cells clear of the table that touch at a face, an edge or a corner, as objects.

    The table, which noise spreads over two layers of cells, is what lies less than `TABLE_CELLS` over the plane.
    """
    flat = cloud.points.reshape(-1, 3)
    with np.errstate(invalid="ignore"):  # missing points compare false
        height = plane.height(flat)
        clear = np.flatnonzero(
            (height > max(TABLE_CELLS * cloud.cell_size, settings.min_height)) & (height <= settings.max_height)
        )
    labels = np.zeros(len(flat), dtype=np.int64)
    if len(clear):
        pairs = cKDTree(flat[clear]).query_pairs(1.8 * cloud.cell_size, output_type="ndarray")  # 3 ** 0.5 and rounding
        edges = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), 2 * (len(clear),))
        count, owner = connected_components(edges, directed=False)
        for members in grouped(clear, owner + 1, count):
            extent = np.ptp(flat[members] @ plane.axes().T, axis=0).max() + cloud.cell_size
            if len(members) >= MIN_MAP_CELLS and extent <= settings.max_extent:
                labels[members] = members[0] + 1
    return clusters_from_labels(cloud, labels.reshape(cloud.points.shape[:2]))


def _objects(labels: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """The flat pixels of each label but 0, ascending, by rising label."""
    pixels = np.flatnonzero(labels)
    names, owner = np.unique(labels.ravel()[pixels], return_inverse=True)
    return grouped(pixels, owner + 1, len(names)) if len(names) else []


def clusters_from_labels(cloud: PointCloud, labels: NDArray[np.integer]) -> list[ObjectCluster]:
    """Cut a cloud into the objects of a label image, those with most points first; missing points are left out.

    Args:
        labels: (H, W) int, the cloud's layout: 0 for none, any other number for one object.

    Raises:
        ValueError: labels are not of the cloud's layout.
    """
    if labels.shape != cloud.valid.shape:
        raise ValueError(f"labels must be {cloud.valid.shape} as the cloud, got {labels.shape}")
    groups = _objects(np.where(cloud.valid, labels, 0))
    groups.sort(key=lambda group: (-len(group), group[0]))
    points = cloud.points.reshape(-1, 3)
    return [ObjectCluster(group, points.take(group, axis=0), _touches_border(group, cloud)) for group in groups]


def masked_objects(
    cloud: PointCloud, labels: NDArray[np.integer], settings: SegmentationSettings | None = None
) -> list[ObjectCluster]:
    """The objects of an instance mask, those with most points first.

    Masks spill over the outline of their object, on what lies behind it. So a label's points are grouped by their
    distance in space, and groups that are much smaller than the largest one are left out, as are labels with fewer than
    `settings.min_points` points.

    Args:
        labels: (H, W) int, the cloud's layout: 0 for none, any other number for one object.

    Raises:
        CloudError: labels are not of the cloud's layout.
    """
    settings = settings or SegmentationSettings()
    if labels.shape != cloud.valid.shape:
        raise CloudError(
            f"a mask of {labels.shape[0]} x {labels.shape[1]} does not fit a cloud of {cloud.valid.shape[0]} x "
            f"{cloud.valid.shape[1]} points: it needs the cloud's own rows and columns"
        )
    objects = []
    for cluster in clusters_from_labels(cloud, labels):
        kept = np.flatnonzero(_main_groups(cluster.points))
        if len(kept) >= settings.min_points:
            objects.append(ObjectCluster(cluster.indices[kept], cluster.points[kept], cluster.touches_border))
    return sorted(objects, key=lambda one: (-len(one.indices), one.indices[0]))


def _main_groups(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) which of the points (N, 3), metres, belong to the largest group or to one of nearly its size."""
    cells, owner = np.unique(np.floor(points / _MASK_CELL).astype(np.int64), axis=0, return_inverse=True)
    pairs = cKDTree(cells).query_pairs(_MASK_GAP / _MASK_CELL, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(cells), len(cells)))
    groups = connected_components(links, directed=False)[1][owner.ravel()]
    sizes = np.bincount(groups)
    main: NDArray[np.bool_] = (sizes >= _MASK_SHARE * sizes.max())[groups]
    return main


def _split(
    image: RangeImage, height: NDArray[np.float32], camera_height: float, settings: SegmentationSettings
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(H, W) bool each: what is clear of the table, and the table.

    A pixel is clear of the table when it is above the noise of a single pixel. The floor of a bowl may be only a few
    millimetres thick and is not: it is found by the average over a window, whose noise is far smaller.
    """
    level, distances = _distance_levels(image.distance)
    noise = depth_noise(distances) * camera_height / distances  # of the height, where the ray meets the table
    centre, roughness = _roughness(height, level, noise)
    margin = np.maximum(settings.noise_factor * roughness, settings.min_height)
    with np.errstate(invalid="ignore"):  # missing pixels compare false
        high = height > _look_up(level, centre + margin)
        low = (height > _look_up(level, centre - margin)) & ~high
    share, high_share = _window_mean(low), _window_mean(high)
    average = _window_mean(np.where(low, height, np.float32(0))) / np.maximum(share, np.float32(1e-3))
    centre, roughness = _roughness(np.where(low, average, np.nan), level, noise / _WINDOW)
    margin = np.maximum(settings.noise_factor * roughness, settings.flatness)
    raised = (share > 0.25) & (average > _look_up(level, centre + margin))
    # More than half the window is clear: not the table beside a straight edge, but a gap in something.
    raised = low & (raised | (high_share > 0.6))
    return (high | raised) & ~(height > settings.max_height), low & ~raised


def _distance_levels(distance: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.floating]]:
    """(H, W) uint8 level of each pixel's distance, and the (256,) distances, metres, of the levels."""
    nearest, farthest = float(np.nanmin(distance)), float(np.nanmax(distance))
    # Stray points far behind everything must not make the levels coarse: they share the last one.
    step = np.clip((farthest - nearest) / 255, 1e-6, 0.02)
    level = np.nan_to_num(np.minimum((distance - nearest) / step, 255)).astype(np.uint8)
    return level, nearest + step * np.arange(256)


def _look_up(level: NDArray[np.uint8], values: NDArray[np.float64]) -> NDArray[np.float32]:
    """(H, W) float32: for each pixel the value (256,) of its level."""
    return np.asarray(cv2.LUT(level, values.astype(np.float32)))


def _roughness(
    height: NDArray[np.float32], level: NDArray[np.uint8], noise: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle and standard deviation (256,) of the table's height for each level of distance, metres.

    Cameras bend flat tables by more than their noise, mostly with distance, so both are measured: median and median
    absolute deviation of what lies near the plane, in eight zones of distance. The model's noise (256,) is the floor.
    """
    heights, levels = height[::4, ::4].ravel(), level[::4, ::4].ravel()
    near = np.abs(heights) < _NEAR_TABLE
    heights, levels = heights[near], levels[near]
    if len(heights) < 8 * 50:
        return np.zeros(256), noise
    order = np.argsort(levels, kind="stable")
    zones = np.array_split(order, 8)
    middle = np.array([np.median(heights[zone]) for zone in zones])
    spread = np.array([1.4826 * np.median(np.abs(heights[zone] - m)) for zone, m in zip(zones, middle, strict=True)])
    at = np.array([np.median(levels[zone]) for zone in zones])
    every = np.arange(256)
    return np.interp(every, at, middle), np.maximum(np.interp(every, at, spread), noise)


def _window_mean(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """(H, W) float32: the mean of an image over the window around each pixel, zero beyond the border."""
    window = (_WINDOW, _WINDOW)
    return np.asarray(cv2.boxFilter(values.astype(np.float32), -1, window, borderType=cv2.BORDER_CONSTANT), np.float32)


def _no_object(
    points: NDArray[np.float32],
    height: NDArray[np.float32],
    plane: SupportPlane,
    outline: PlaneOutline | None,
    settings: SegmentationSettings,
) -> str:
    """Why a cluster is no object on the table; empty if it is one."""
    if len(points) < settings.min_points:
        return f"fewer than {settings.min_points} points"
    top = float(columns.percentiles(height, 98.0)[0])
    if top < settings.min_object_height:
        return f"rises only {top:.4f} m"
    low, high = columns.bounds(points @ plane.axes().T.astype(points.dtype))
    extent = float((high - low).max())
    if extent > settings.max_extent:
        return f"{extent:.2f} m long"
    supported = float(outline.contains(points).mean()) if outline else 0.0
    if supported < 0.5:
        return f"stands beside the seen table with {1 - supported:.0%} of its points"
    return ""


def _to_cloud(image: RangeImage, labels: NDArray[np.int32], cloud: PointCloud) -> NDArray[np.int32]:
    """The labels of pixels as labels in the cloud's layout."""
    if image.pixels is None:
        return labels
    flat = labels.ravel()[image.pixels]
    flat[image.pixels < 0] = 0
    return flat.reshape(cloud.valid.shape)


def _touches_border(indices: NDArray[np.int64], cloud: PointCloud) -> bool:
    """Whether pixels (M,) of an organized cloud come near the border of the image."""
    if not cloud.organized:
        return False
    height, width = cloud.valid.shape
    row, column = np.divmod(indices, width)
    margin = np.minimum(np.minimum(row, height - 1 - row), np.minimum(column, width - 1 - column))
    return bool(margin.min() < _BORDER)
