"""Objects on the support plane: each one exactly one cluster, organized or not."""

from __future__ import annotations

import numpy as np
import pytest
from table_scenes import TABLE, View, box, cup, look, table

from onet_ros.learning.segmentation_scores import score_segmentation, segment_capture
from onet_ros.scene import (
    ObjectCluster,
    PointCloud,
    SegmentationSettings,
    SupportPlane,
    clusters_from_labels,
    load_capture,
    masked_objects,
    segment_objects,
)

ON_TABLE = {
    "two boxes": [box((0.06, 0.06, 0.1), (-0.1, 0.0, 0.0)), box((0.05, 0.05, 0.05), (0.1, 0.05, 0.0))],
    "one before the other": [box((0.1, 0.06, 0.15), (0.0, -0.05, 0.0)), box((0.08, 0.05, 0.18), (0.0, 0.1, 0.0))],
    "side by side, 15 mm apart": [
        box((0.05, 0.05, 0.08), (-0.0325, 0.0, 0.0)),
        box((0.05, 0.05, 0.06), (0.0325, 0.0, 0.0)),
    ],
    "cup that hides its far wall": [cup(0.04, 0.1, (0.0, 0.0, 0.0))],
    "bowl with a floor of 4 mm": [cup(0.07, 0.04, (0.0, 0.0, 0.0))],
    "slab of 10 mm": [box((0.15, 0.07, 0.01), (0.0, 0.0, 0.0))],
    "half a metre tall": [box((0.1, 0.1, 0.5), (0.0, 0.3, 0.0))],
}


def clusters_of(
    view: View, organized: bool = True, settings: SegmentationSettings | None = None
) -> list[ObjectCluster]:
    cloud = view.cloud if organized else PointCloud.from_points(view.cloud.valid_points)
    return segment_objects(cloud, view.in_camera(TABLE), settings)


def owners(view: View, clusters: list[ObjectCluster], organized: bool = True) -> list[np.ndarray]:
    """For each cluster the mesh of each of its points."""
    owner = view.owner.ravel() if organized else view.owner[view.cloud.valid]
    return [owner[cluster.indices] for cluster in clusters]


@pytest.mark.parametrize("organized", [True, False])
@pytest.mark.parametrize("name", ON_TABLE)
def test_every_object_is_one_cluster_of_its_own_points(name, organized):
    objects = ON_TABLE[name]
    view = look([table(), *objects], (0.0, -0.6, 0.55), (0.0, 0.05, 0.05))
    found = owners(view, clusters_of(view, organized), organized)
    assert sorted(np.bincount(owner + 1).argmax() - 1 for owner in found) == list(range(1, len(objects) + 1))
    for owner in found:
        mesh = np.bincount(owner + 1).argmax() - 1
        true = int((view.owner == mesh).sum())
        assert (owner == mesh).sum() > 0.9 * true  # of its pixels
        assert (owner != mesh).sum() < 0.02 * true


def test_cluster_holds_the_points_of_its_indices_and_the_largest_comes_first():
    view = look([table(), *ON_TABLE["two boxes"]])
    clusters = clusters_of(view)
    assert [len(cluster.indices) for cluster in clusters] == sorted((len(c.indices) for c in clusters), reverse=True)
    for cluster in clusters:
        assert cluster.indices.dtype == np.int64
        assert (np.diff(cluster.indices) > 0).all()
        np.testing.assert_array_equal(cluster.points, view.cloud.points.reshape(-1, 3)[cluster.indices])
        assert cluster.points.dtype == np.float32
        assert np.isfinite(cluster.points).all()


def test_floor_of_a_bowl_is_not_cut_out():
    view = look([table(), cup(0.08, 0.05, (0.0, 0.0, 0.0), wall=0.003)], (0.0, -0.45, 0.65))
    height = view.in_camera(TABLE).height(view.cloud.points)
    floor = (view.owner == 1) & (height < 0.006)
    inside = np.zeros(view.owner.size, bool)
    inside[clusters_of(view)[0].indices] = True
    assert floor.sum() > 1000
    assert inside.reshape(floor.shape)[floor].mean() > 0.9


def test_empty_table_holds_no_objects():
    assert clusters_of(look([table()])) == []


def test_wall_and_floor_beside_the_table_are_no_objects():
    meshes = [
        table(0.6, 0.5),
        table(6.0, 6.0, -0.7),
        box((8.0, 0.05, 3.0), (0.0, 1.5, -0.7)),
        box((0.3, 0.3, 0.9), (0.7, 0.5, -0.7)),  # stands on the floor and rises above the table
        box((0.08, 0.08, 0.12), (0.2, 0.15, 0.0)),
    ]
    view = look(meshes, (0.0, -0.9, 0.6))
    (owner,) = owners(view, clusters_of(view))
    assert (owner == 4).all()


def test_what_is_larger_than_an_object_is_left_out_and_logged(caplog):
    view = look([table(), box((0.5, 0.1, 0.1), (0.0, 0.0, 0.0)), *ON_TABLE["slab of 10 mm"]], (0.0, -0.8, 0.8))
    assert len(clusters_of(view)) == 1
    with caplog.at_level("DEBUG", logger="onet_ros.scene.segmentation"):
        assert clusters_of(view, settings=SegmentationSettings(max_extent=0.4)) == []
    assert "0.50 m long" in caplog.text


def test_points_above_max_height_belong_to_no_object():
    view = look([table(), *ON_TABLE["half a metre tall"]], (0.0, -0.6, 0.55), (0.0, 0.05, 0.05))
    (cluster,) = clusters_of(view, settings=SegmentationSettings(max_height=0.2))
    assert view.in_camera(TABLE).height(cluster.points).max() <= 0.2


def test_object_cut_by_the_border_is_flagged():
    view = look([table(), box((0.1, 0.1, 0.1), (0.33, 0.0, 0.0)), box((0.06, 0.06, 0.06), (-0.1, 0.0, 0.0))])
    clusters = clusters_of(view)
    assert [owner[0] for owner in owners(view, clusters)] == [1, 2]
    assert [cluster.touches_border for cluster in clusters] == [True, False]


def test_one_missing_row_does_not_split_an_object():
    view = look([table(), box((0.1, 0.1, 0.15), (0.0, 0.0, 0.0))])
    rows = np.flatnonzero((view.owner == 1).any(axis=1))
    points = view.cloud.points.copy()
    points[int(rows.mean())] = np.nan
    assert len(segment_objects(PointCloud.from_points(points), view.in_camera(TABLE))) == 1


def test_the_same_cloud_gives_the_same_clusters():
    view = look([table(), *ON_TABLE["one before the other"], cup(0.04, 0.1, (-0.2, 0.0, 0.0))])
    first, second = clusters_of(view), clusters_of(view)
    assert len(first) == len(second) == 3
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)


@pytest.mark.parametrize("organized", [True, False])
def test_viewpoint_moves_with_the_cloud(organized):
    view = look([table(), *ON_TABLE["two boxes"]])
    clusters = clusters_of(view, organized)
    shift = np.array([0.5, -1.0, 2.0])
    T_moved_camera = np.eye(4)
    T_moved_camera[:3, 3] = shift
    cloud = view.cloud if organized else PointCloud.from_points(view.cloud.valid_points)
    moved = PointCloud.from_points(cloud.points + shift.astype(np.float32))
    again = segment_objects(moved, view.in_camera(TABLE).transformed(T_moved_camera), viewpoint=shift)
    sizes, expected = ([len(cluster.indices) for cluster in found] for found in (again, clusters))
    np.testing.assert_allclose(sizes, expected, rtol=0.03)  # the image of an unorganized cloud shifts a little


def test_stray_points_do_not_blow_up_an_unorganized_cloud():
    view = look([table(), *ON_TABLE["two boxes"]])
    strays = np.float32([[9.0, 9.0, 1.0], [-9.0, -9.0, 1.0], [0.0, 0.0, 900.0], [0.1, 0.1, -3.0]])
    cloud = PointCloud.from_points(np.concatenate([view.cloud.valid_points, strays]))
    assert len(segment_objects(cloud, view.in_camera(TABLE))) == 2


def test_a_handful_of_points_is_no_object():
    cloud = PointCloud.from_points(np.random.default_rng(0).uniform(0.1, 0.2, (30, 3)))
    assert segment_objects(cloud, SupportPlane(np.array([0.0, 0.0, -1.0]), 0.5)) == []


def test_clusters_from_a_label_image_leave_missing_points_out():
    points = np.ones((3, 4, 3), np.float32)
    points[0, 0] = np.nan
    labels = np.array([[7, 7, 0, 2], [0, 2, 2, 0], [0, 0, 0, 9]])
    clusters = clusters_from_labels(PointCloud.from_points(points), labels)
    assert [cluster.indices.tolist() for cluster in clusters] == [[3, 5, 6], [1], [11]]
    with pytest.raises(ValueError, match=r"labels must be \(3, 4\) as the cloud, got \(4, 3\)"):
        clusters_from_labels(PointCloud.from_points(points), labels.T)


def test_impossible_setting_is_refused():
    with pytest.raises(ValueError, match=r"merge_gap must be in \[0.0, 0.2\] m, got 1.0"):
        SegmentationSettings(merge_gap=1.0)


@pytest.mark.parametrize("unorganized", [False, True])
def test_objects_of_the_simulated_scenes_are_found_as_one_cluster_each(dev_data, unorganized):
    outcomes = []
    for path in sorted((dev_data / "scenes").glob("*.npz")):
        capture = load_capture(path)
        _, labels = segment_capture(capture, unorganized)
        with np.load(path) as data:
            scores = score_segmentation(labels, capture.segmentation, capture.names, data["visible_fraction"])
        assert scores.false_clusters == 0, path
        assert scores.extra < 0.01, path
        outcomes += [score for score in scores.objects if score.visible_fraction >= 0.6]
    assert len(outcomes) >= 47
    assert sum(score.outcome == "found" for score in outcomes) >= len(outcomes) - (1 if unorganized else 0)
    assert np.mean([score.iou for score in outcomes]) > 0.98
    assert all(score.kept > 0.97 for score in outcomes if "bowl" in score.name)


@pytest.mark.parametrize("name", ["6dof_mustard", "6dof_sugar", "6dof_red_mug", "6dof_green_bowl"])
def test_object_of_a_real_capture_is_the_one_cluster(dev_data, name):
    capture = load_capture(dev_data / "real" / f"{name}.npz")
    _, labels = segment_capture(capture)
    scores = score_segmentation(labels, capture.segmentation, capture.names)
    assert labels.max() == 1
    assert scores.objects[0].iou > 0.95


def test_mask_gives_one_object_for_each_label_without_what_it_spilled_on():
    view = look([table(), *ON_TABLE["one before the other"]])
    labels = np.where(view.owner == 1, 40_000, 0).astype(np.uint16)
    behind = np.flatnonzero((view.owner == 2).ravel())
    labels.ravel()[behind[::7]] = 40_000  # the mask of the box in front spills on the one behind
    (found,) = masked_objects(view.cloud, labels)
    assert (view.owner.ravel()[found.indices] == 1).all()
    assert len(found.indices) > 0.99 * (view.owner == 1).sum()
    np.testing.assert_array_equal(found.points, view.cloud.points.reshape(-1, 3)[found.indices])


def test_mask_labels_with_few_points_are_no_objects():
    view = look([table(), *ON_TABLE["two boxes"]])
    labels = np.maximum(view.owner, 0)
    assert len(masked_objects(view.cloud, labels)) == 2
    most = int((labels == 1).sum())
    assert len(masked_objects(view.cloud, labels, SegmentationSettings(min_points=most + 1))) <= 1
    assert masked_objects(view.cloud, np.zeros_like(labels)) == []


class TestMapCells:
    def test_cells_that_touch_are_one_object_whatever_hides_them(self):
        edge = 0.01
        table = np.stack(np.meshgrid(np.arange(-30, 30), np.arange(-30, 30), [-1], indexing="ij"), -1).reshape(-1, 3)
        tower = np.stack(np.meshgrid([0, 1], [0, 1], np.arange(12), indexing="ij"), -1).reshape(-1, 3)
        block = np.stack(np.meshgrid(np.arange(4), np.arange(4), np.arange(4), indexing="ij"), -1).reshape(-1, 3)
        speck = np.array([[-20, -20, 5]])
        cells = np.concatenate([table, tower, block + (10, 0, 0), speck])
        points = ((cells + 0.5) * edge).astype(np.float32)[None]
        cloud = PointCloud(points, cell_size=edge)
        plane = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.005)
        found = segment_objects(cloud, plane, viewpoint=(0.0, 0.0, 1.0))
        assert [len(one.points) for one in found] == [4 * 12, 4 * 4 * 4][::-1]
        np.testing.assert_allclose(found[0].points.mean(axis=0)[:2], (0.12, 0.02), atol=1e-6)
