"""The door for pictures and voxel grids, with the weights that come along: closed meshes where the objects are."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
import trimesh

from onet_ros import Reconstructor
from onet_ros.completion import CompletionSettings
from onet_ros.learning.metrics import score_mesh
from onet_ros.learning.observed_cases import upright, whole_grid
from onet_ros.learning.procedural_data import held_out_frame
from onet_ros.networks import Checkpoint, OccupancyNetwork
from onet_ros.reconstructor import ReconstructorSettings
from onet_ros.resources import model_path
from onet_ros.scene import PictureError, SupportPlane, VoxelError, VoxelGrid
from onet_ros.shape_completion import PICTURED
from onet_ros.surface import ExtractionSettings, SurfaceError

QUICK = ReconstructorSettings(extraction=ExtractionSettings(start_resolution=32, doublings=0))


@pytest.fixture(scope="module")
def image_model():
    return Reconstructor.load(model_path("image"), QUICK)


@pytest.fixture(scope="module")
def voxel_model():
    return Reconstructor.load(model_path("voxels"), QUICK)


@pytest.fixture(scope="module")
def frame():
    return held_out_frame(0, 1)


def parts(frame):
    picture = frame.picture
    return picture.image, picture.K, picture.labels == 1


class TestPictures:
    def test_an_object_is_completed_where_it_stands(self, image_model, frame):
        item = image_model.complete_image(*parts(frame), frame.plane)
        assert item.mesh.is_watertight
        assert item.mesh.volume > 0
        truth = frame.truths[0].mesh
        assert score_mesh(item.mesh, truth, samples=10_000).iou > 0.3
        assert np.linalg.norm(item.T_source_object[:3, 3] - truth.bounds.mean(axis=0)) < 0.3 * truth.extents.max()
        assert frame.plane.height(np.asarray(item.mesh.vertices)).min() > -0.003
        np.testing.assert_allclose(item.T_source_object[:3, 2], frame.plane.normal, atol=1e-9)

    def test_what_the_camera_saw_is_half_sure_and_the_rest_a_guess(self, image_model, frame):
        item = image_model.complete_image(*parts(frame), frame.plane)
        assert set(np.unique(item.confidence)) == {np.float32(0.0), np.float32(PICTURED)}
        assert 0.2 < item.seen_fraction < 0.8
        away = np.asarray(item.mesh.vertex_normals)
        sees = (away * np.asarray(item.mesh.vertices)).sum(axis=1) < 0  # turned to the camera
        assert item.confidence[sees].mean() > 0.8 * PICTURED
        assert item.confidence[~sees].mean() < 0.2 * PICTURED

    def test_without_a_table_a_few_depth_points_give_the_size(self, image_model, frame):
        points = frame.cloud.points.reshape(-1, 3)[frame.truths[0].indices]
        few = points[:: len(points) // 12]
        known = image_model.complete_image(*parts(frame), frame.plane)
        up = frame.plane.normal
        item = image_model.complete_image(*parts(frame), None, few, up=up)
        assert item.size == pytest.approx(known.size, rel=0.25)
        # The points lie on the mesh in the middle: half of them before, half behind.
        twice = image_model.complete_image(*parts(frame), None, 2.0 * few, up=up)
        assert twice.size == pytest.approx(2.0 * item.size, rel=1e-4)
        np.testing.assert_allclose(twice.T_source_object[:3, 3], 2.0 * item.T_source_object[:3, 3], rtol=1e-4)

    def test_without_table_and_depth_it_is_refused(self, image_model, frame):
        with pytest.raises(PictureError, match="neither a support plane nor depth points"):
            image_model.complete_image(*parts(frame))
        bad = np.array([[0, 0, 1.0], [0, 0, 1.0], [0, 0, np.nan], [0, 0, -1.0], [0, 0, 0.0]])
        with pytest.raises(PictureError, match="2 of 5 depth points are usable"):
            image_model.complete_image(*parts(frame), None, bad)

    def test_depth_points_beside_the_object_are_no_help(self, image_model, frame):
        beside = np.tile([5.0, 5.0, 1.0], (9, 1))
        with pytest.raises(SurfaceError, match="0 of 9 depth points lie on the object"):
            image_model.complete_image(*parts(frame), None, beside, up=frame.plane.normal)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"image": np.zeros((224, 224, 3), np.float32)}, "8 bits a channel"),
            ({"K": None}, "no intrinsics"),
            ({"K": np.zeros((3, 3))}, "no intrinsics"),
            ({"mask": np.zeros((224, 224), bool)}, "the mask holds 0 pixels"),
            ({"mask": np.ones((10, 10), bool)}, r"got \(10, 10\)"),
            ({"plane": SupportPlane(np.array([0.0, 0.0, 1.0]), -1.0)}, "above the support plane"),
        ],
    )
    def test_bad_input_is_refused_with_the_bad_value(self, image_model, frame, change, message):
        image, K, mask = parts(frame)
        given = {"image": image, "K": K, "mask": mask, "plane": frame.plane, **change}
        with pytest.raises(PictureError, match=message):
            image_model.complete_image(**given)

    def test_all_objects_of_a_picture_are_completed_by_their_labels(self, image_model, frame):
        image, K, mask = parts(frame)
        labels = np.where(mask, 700, 0).astype(np.uint16)
        labels[3, 3] = 9  # one pixel: no object
        result = image_model.reconstruct_image(image, K, labels, frame.plane)
        assert len(result.objects) == 1
        assert result.failures == ["object of label 9: the mask holds 1 pixels, at least 16 are needed"]
        np.testing.assert_array_equal(result.objects[0].indices, np.flatnonzero(mask))
        alone = image_model.complete_image(image, K, mask, frame.plane)
        np.testing.assert_allclose(result.objects[0].size, alone.size, atol=1e-4)

    def test_the_table_is_found_in_the_depth_there_is(self, image_model, frame):
        image, K, mask = parts(frame)
        result = image_model.reconstruct_image(
            image, K, mask.astype(int), cloud=frame.cloud.points, up=frame.plane.normal
        )
        assert result.plane.normal @ frame.plane.normal > np.cos(np.radians(2.0))
        assert len(result.objects) == 1

    def test_a_cloud_of_another_size_is_refused(self, image_model, frame):
        image, K, mask = parts(frame)
        with pytest.raises(PictureError, match=r"\(224, 224, 3\), as the image, got \(4, 5, 3\)"):
            image_model.reconstruct_image(image, K, mask.astype(int), cloud=np.zeros((4, 5, 3)))

    def test_where_the_network_is_nowhere_sure_the_volume_to_be_expected_is_shown_and_not_relied_on(self, frame):
        known, unsure = (
            Reconstructor.load(
                model_path("image"), dataclasses.replace(QUICK, completion=CompletionSettings(threshold=threshold))
            ).complete_image(*parts(frame), frame.plane)
            for threshold in (0.0, 0.99)
        )
        assert known.trust.reliable
        assert unsure.mesh.is_watertight
        assert 0.5 < unsure.mesh.volume / known.mesh.volume < 2.0
        assert unsure.conservative_mesh.volume > unsure.mesh.volume
        assert not unsure.trust.reliable
        assert re.search(r"nowhere sure that the object is there: [4-9]\d % at most", unsure.trust.reason)

    def test_where_nothing_is_expected_there_is_no_surface(self, frame):
        sizes = {"code_size": 16, "hidden_size": 16}
        network = OccupancyNetwork("resnet_cbn", {"code_size": 16, "width": 4, "image_size": 32}, sizes)
        network.eval().requires_grad_(False)
        network.decoder.fc_out.bias.fill_(-30.0)
        with pytest.raises(SurfaceError, match=r"no surface: .* none above threshold 0"):
            Reconstructor(Checkpoint(network, 0, 0.5), QUICK).complete_image(*parts(frame), frame.plane)

    def test_two_runs_give_the_same_mesh(self, image_model, frame):
        a, b = (image_model.complete_image(*parts(frame), frame.plane).mesh for _ in range(2))
        np.testing.assert_array_equal(a.vertices, b.vertices)


class TestVoxels:
    def test_super_resolution_comes_closer_to_the_truth_than_its_input(self, voxel_model, frame):
        truth = frame.truths[0].mesh
        grid, T_cam_grid = whole_grid(truth, frame.plane)
        item = voxel_model.complete_voxels(grid)
        assert item.mesh.is_watertight
        mesh = item.mesh.copy().apply_transform(T_cam_grid)
        boxes = grid.boxes().apply_transform(T_cam_grid)
        ours, theirs = (score_mesh(one, truth, samples=10_000) for one in (mesh, boxes))
        assert ours.iou > theirs.iou
        assert ours.chamfer_l1 < 0.85 * theirs.chamfer_l1

    def test_the_result_moves_and_grows_with_the_grid(self, voxel_model, frame):
        grid, _ = whole_grid(frame.truths[0].mesh, frame.plane)
        moved = VoxelGrid.from_array(grid.values, grid.origin + [1.0, -2.0, 0.5], grid.edge)
        larger = VoxelGrid.from_array(grid.values, 3.0 * grid.origin, 3.0 * grid.edge)
        here, there, big = (voxel_model.complete_voxels(one) for one in (grid, moved, larger))
        np.testing.assert_allclose(
            there.T_source_object[:3, 3] - here.T_source_object[:3, 3], [1.0, -2.0, 0.5], atol=1e-5
        )
        np.testing.assert_allclose(big.size, 3.0 * here.size, rtol=1e-4)

    def test_any_resolution_comes_out_of_the_same_grid(self, voxel_model, frame):
        grid, _ = whole_grid(frame.truths[0].mesh, frame.plane)
        counts = []
        for doublings in (0, 1, 2):
            extraction = ExtractionSettings(32, doublings, max_triangles=0)
            model = Reconstructor(voxel_model.checkpoint, ReconstructorSettings(extraction=extraction))
            mesh = model.complete_voxels(grid).mesh
            assert mesh.is_watertight
            counts.append(len(mesh.faces))
        assert 3.0 < counts[1] / counts[0] < 5.0
        assert 3.0 < counts[2] / counts[1] < 5.0

    def test_what_the_camera_saw_in_a_map_is_sure_and_the_far_side_is_not(self, voxel_model, frame):
        T_cam_grid = upright(frame.plane)
        points = frame.cloud.points.reshape(-1, 3)[frame.truths[0].indices] @ T_cam_grid[:3, :3]
        item = voxel_model.complete_voxels(VoxelGrid.around_cells(points))
        assert item.confidence.max() > 0.9
        assert item.confidence.min() < 0.1
        assert 0.1 < item.seen_fraction < 0.9

    def test_a_grid_of_another_size_is_refused_by_its_size(self, voxel_model):
        values = np.zeros((16, 16, 16))
        values[4:12, 4:12, 4:12] = 1.0
        with pytest.raises(VoxelError, match=r"grids of 32\^3 voxels, got 16 x 16 x 16"):
            voxel_model.complete_voxels(VoxelGrid.from_array(values))

    def test_one_that_fails_leaves_the_others(self, voxel_model, frame):
        grid, _ = whole_grid(frame.truths[0].mesh, frame.plane)
        from onet_ros.shape_completion import GriddedObject

        good = GriddedObject(grid)
        lost = dataclasses.replace(grid, values=np.zeros_like(grid.values))
        lost.values[0, 0, :4] = 1.0
        results = voxel_model._completer_of("voxels").complete_grids([good, GriddedObject(lost), good])
        assert isinstance(results[0].mesh, trimesh.Trimesh)
        assert isinstance(results[2].mesh, trimesh.Trimesh)


class TestTheRightNetwork:
    def test_points_are_refused_by_a_network_for_pictures(self, image_model):
        with pytest.raises(ValueError, match="observes image; a network for points is needed"):
            image_model.complete(np.random.default_rng(0).random((50, 3)))
        with pytest.raises(ValueError, match="a network for points is needed"):
            image_model.reconstruct(np.random.default_rng(0).random((50, 3)))

    def test_pictures_and_grids_are_refused_by_the_default_model(self, frame):
        model = Reconstructor.load(model_path("points"), QUICK)
        with pytest.raises(ValueError, match=r"\(local_planes\) observes points; a network for image is needed"):
            model.complete_image(*parts(frame), frame.plane)
        with pytest.raises(ValueError, match="a network for voxels is needed"):
            model.complete_voxels(VoxelGrid.from_array(np.ones((32, 32, 32))))

    def test_the_papers_networks_come_in_through_the_same_door(self, frame):
        torch.manual_seed(0)
        sizes = {"code_size": 16, "hidden_size": 16}
        voxels = OccupancyNetwork("voxels_cbn", {"code_size": 16, "width": 4}, sizes).eval().requires_grad_(False)
        image = OccupancyNetwork("resnet_cbn", {"code_size": 16, "width": 4, "image_size": 32}, sizes)
        image.eval().requires_grad_(False)
        with torch.no_grad():  # untrained, they say the same everywhere: let them say inside near the middle
            for network in (voxels, image):
                network.decoder.fc_out.bias.fill_(0.1)
        grid, _ = whole_grid(frame.truths[0].mesh, frame.plane)
        for network, ask in (
            (voxels, lambda model: model.complete_voxels(grid)),
            (image, lambda model: model.complete_image(*parts(frame), frame.plane)),
        ):
            assert ask(Reconstructor(Checkpoint(network, 0, 0.5), QUICK)).mesh.is_watertight
