"""The demo's world: objects against analytic volumes, tables without contacts, depth against analytic surfaces."""

from __future__ import annotations

import dataclasses

import numpy as np
import open3d as o3d
import pytest
import trimesh
from manifold3d import Manifold, Mesh
from scipy.spatial import ConvexHull

from onet_ros.simulation import (
    NO_DEPTH,
    OBJECT_COLOURS,
    DepthCamera,
    DepthCameraSettings,
    SimulatedTable,
    TableSettings,
    demo_objects,
)

OBJECTS = demo_objects()
SIX = ("mug", "spray_bottle", "bowl", "drill", "teapot", "toy_car")
EXACT = DepthCameraSettings(
    noise_floor=0.0, noise_growth=0.0, quantisation=0.0, dropout=0.0, edge_dropout=0.0, projector_baseline=0.0
)


def wall(depth: float, size: float = 8.0) -> trimesh.Trimesh:
    """A thin square whose near side is the plane z = depth."""
    mesh = trimesh.creation.box((size, size, 0.01))
    mesh.apply_translation((0, 0, depth + 0.005))
    return mesh


def ball(radius: float, depth: float) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=6, radius=radius)
    mesh.apply_translation((0, 0, depth))
    return mesh


def support_margin(mesh: trimesh.Trimesh) -> float:
    """How far inside the polygon of its lowest vertices a mesh's centre of mass lies, in metres, seen from above."""
    touching = mesh.vertices[mesh.vertices[:, 2] < mesh.bounds[0, 2] + 0.0005, :2]
    facets = ConvexHull(touching).equations
    return float(-(facets[:, :2] @ mesh.center_mass[:2] + facets[:, 2]).max())


def table_with(names=SIX, seed=0, settings=None) -> SimulatedTable:
    return SimulatedTable.arrange({name: OBJECTS[name] for name in names}, seed, settings or TableSettings())


# Objects


@pytest.mark.parametrize("name", OBJECTS)
def test_object_is_one_outward_watertight_body_of_household_size(name):
    mesh = OBJECTS[name]
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.body_count == 1
    assert mesh.volume > 5e-5
    assert 0.08 < mesh.extents.max() < 0.35
    assert mesh.area_faces.min() > 0


@pytest.mark.parametrize("name", OBJECTS)
def test_object_stands_upright_and_stable_on_the_origin(name):
    mesh = OBJECTS[name]
    assert mesh.bounds[0, 2] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(mesh.bounds.mean(0)[:2], 0, atol=1e-9)
    assert support_margin(mesh) > 0.003


def test_objects_are_the_same_at_every_call():
    again = demo_objects()
    assert list(again) == list(OBJECTS) == list(OBJECT_COLOURS)
    for name, mesh in again.items():
        np.testing.assert_array_equal(mesh.vertices, OBJECTS[name].vertices)
        np.testing.assert_array_equal(mesh.faces, OBJECTS[name].faces)


def test_tape_roll_has_its_analytic_volume():
    core = np.pi * (41**2 - 38**2) * 49
    tape = np.pi * (55**2 - 41**2) * 47.4
    chamfers = 2 * (2 * np.pi * (55 - 0.8 / 3) * 0.8**2 / 2)  # Pappus, two triangles of 0.8 mm
    # 96 sides instead of a circle lose 0.07 %.
    assert OBJECTS["tape_roll"].volume * 1e9 == pytest.approx(core + tape - chamfers, rel=2e-3)


def test_block_has_its_analytic_volume():
    a, b, c, r = 84, 39, 39, 3  # a box grown by r is rounded: Steiner's formula
    rounded = a * b * c + 2 * r * (a * b + b * c + c * a) + np.pi * r**2 * (a + b + c) + 4 / 3 * np.pi * r**3
    assert OBJECTS["block"].volume * 1e9 == pytest.approx(rounded - np.pi * 13**2 * 45, rel=3e-3)


@pytest.mark.parametrize("name", ["mug", "bowl", "pan"])
def test_vessels_are_hollow(name):
    mesh = OBJECTS[name]
    assert mesh.volume < 0.45 * mesh.convex_hull.volume


@pytest.mark.parametrize(("name", "holes"), [("mug", 1), ("tape_roll", 1), ("block", 1), ("teapot", 1), ("bowl", 0)])
def test_handles_and_holes_are_open(name, holes):
    assert OBJECTS[name].euler_number == 2 - 2 * holes


# Table


def test_objects_on_the_table_keep_their_distance_rest_on_it_and_stay_inside():
    table = table_with(OBJECTS, seed=1)
    solids = {
        name: Manifold(Mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32)))
        for name, mesh in table.meshes.items()
    }
    names = list(solids)
    for number, name in enumerate(names):
        low, high = table.meshes[name].bounds
        assert low[2] == pytest.approx(0, abs=1e-6)
        assert (np.abs([low[:2], high[:2]]) <= [0.5 * table.settings.spread_x, 0.5 * table.settings.spread_y]).all()
        for other in names[:number]:
            assert solids[name].min_gap(solids[other], 0.05) >= table.settings.clearance - 1e-5, (name, other)


def test_arrangement_follows_from_its_seed():
    first, same, other = table_with(seed=3), table_with(seed=3), table_with(seed=4)
    for name in SIX:
        np.testing.assert_array_equal(first.T_table_object[name], same.T_table_object[name])
    assert any(not np.allclose(first.T_table_object[name], other.T_table_object[name]) for name in SIX)


def test_poses_take_the_objects_own_frame_to_the_table():
    table = table_with(("mug", "drill"))
    for name, mesh in table.meshes.items():
        moved = trimesh.transform_points(OBJECTS[name].vertices, table.T_table_object[name])
        np.testing.assert_allclose(mesh.vertices, moved, atol=1e-12)
        assert mesh.volume == pytest.approx(OBJECTS[name].volume)


def test_tipped_objects_lie_stable_on_their_side():
    table = table_with(("mug", "spray_bottle", "block"), settings=TableSettings(lying_fraction=1.0))
    for name, mesh in table.meshes.items():
        assert abs(table.T_table_object[name][2, 2]) < 0.7, name
        assert mesh.bounds[0, 2] == pytest.approx(0, abs=1e-6)
        assert support_margin(mesh) > 0


def test_full_table_says_for_which_object_there_is_no_room():
    with pytest.raises(ValueError, match=r"no room for \w+ beside \d objects"):
        table_with(OBJECTS, settings=TableSettings(spread_x=0.4, spread_y=0.4))


def test_table_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"clearance.*-0\.1"):
        TableSettings(clearance=-0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_camera_sees_all_objects_whole(seed):
    table = table_with(seed=seed)
    pose = table.camera_pose()
    camera = DepthCamera(table.meshes, pose, table.surroundings())
    assert min(camera.visible_fractions().values()) > 0.8
    for mesh in table.meshes_in(pose).values():
        pixels = mesh.vertices @ camera.intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        assert (pixels > 0).all()
        assert (pixels < (camera.settings.width - 1, camera.settings.height - 1)).all()


def test_plane_in_the_camera_frame_lies_under_the_objects():
    table = table_with(("mug", "bowl"))
    pose = table.camera_pose(azimuth=0.7)
    plane = table.plane_in(pose)
    assert np.linalg.norm(plane[:3]) == pytest.approx(1)
    assert plane[3] > 0.3  # the camera itself, at the origin, is above
    for mesh in table.meshes_in(pose).values():
        assert (mesh.vertices @ plane[:3] + plane[3]).min() == pytest.approx(0, abs=1e-6)


# Camera


def test_depth_of_a_sphere_is_analytic():
    radius, depth = 0.2, 0.9
    frame = DepthCamera({"ball": ball(radius, depth)}, np.eye(4), settings=EXACT).capture(0)
    seen = frame.labels == 1
    points = frame.points[seen].astype(np.float64)
    direction = points / np.linalg.norm(points, axis=-1, keepdims=True)
    along = direction[:, 2] * depth
    analytic = along - np.sqrt(radius**2 - depth**2 + along**2)
    inner = along**2 > depth**2 - (0.97 * radius) ** 2  # at the rim a facet's edge is far from the sphere along the ray
    assert inner.sum() > 10_000
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1)[inner], analytic[inner], atol=2e-4)


def test_points_lie_on_their_pixels_rays():
    frame = DepthCamera({"wall": wall(1.0)}, np.eye(4)).capture(0)
    v, u = np.nonzero(frame.labels == 1)
    x, y, z = frame.points[v, u].T.astype(np.float64)
    K = DepthCameraSettings().intrinsics
    np.testing.assert_allclose(x / z * K[0, 0] + K[0, 2], u, atol=1e-2)
    np.testing.assert_allclose(y / z * K[1, 1] + K[1, 2], v, atol=1e-2)


@pytest.mark.parametrize("depth", [0.6, 1.5])
def test_depth_noise_has_the_documented_deviation(depth):
    settings = dataclasses.replace(EXACT, noise_floor=0.0012, noise_growth=0.0019)
    z = DepthCamera({"wall": wall(depth)}, np.eye(4), settings=settings).capture(0).points[..., 2]
    assert np.mean(z) == pytest.approx(depth, abs=5e-5)
    assert np.std(z) == pytest.approx(0.0012 + 0.0019 * (depth - 0.4) ** 2, rel=0.01)


def test_depth_is_quantised():
    z = DepthCamera({"wall": wall(1.0)}, np.eye(4)).capture(0).points[..., 2].astype(np.float64)
    steps = z[np.isfinite(z)] / DepthCameraSettings().quantisation
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


def test_missing_depth_is_nan_and_labelled_so_at_the_dropout_rate():
    frame = DepthCamera({"wall": wall(1.0)}, np.eye(4)).capture(0)
    missing = np.isnan(frame.points).all(-1)
    np.testing.assert_array_equal(missing, np.isnan(frame.points).any(-1))
    np.testing.assert_array_equal(missing, frame.labels == NO_DEPTH)
    assert missing.mean() == pytest.approx(DepthCameraSettings().dropout, abs=0.002)


def test_frames_differ_and_repeat_by_number():
    camera = DepthCamera({"wall": wall(1.0)}, np.eye(4), seed=5)
    first, second, again = camera.capture(0), camera.capture(1), camera.capture(0)
    np.testing.assert_array_equal(first.points, again.points)
    assert not np.array_equal(first.points, second.points, equal_nan=True)


def test_edges_lose_the_documented_share_and_slopes_lose_none():
    settings = dataclasses.replace(EXACT, edge_dropout=0.7)
    camera = DepthCamera({"card": wall(0.8, 0.301), "wall": wall(1.2)}, np.eye(4), settings=settings)
    labels = np.stack([camera.capture(number).labels for number in range(20)])
    outline = labels.min(0) == 1
    rim = outline & ~(
        np.roll(outline, 1, 1) & np.roll(outline, -1, 1) & np.roll(outline, 1, 0) & np.roll(outline, -1, 0)
    )
    assert (labels[:, rim] == NO_DEPTH).mean() == pytest.approx(0.7, abs=0.02)
    tilted = wall(0.0).apply_transform(trimesh.transformations.rotation_matrix(0.8, (1, 0, 0)))
    tilted.apply_translation((0, 0, 1.0))
    slope = DepthCamera({"slope": tilted}, np.eye(4), settings=dataclasses.replace(settings, far=20.0)).capture(0)
    assert (slope.labels == NO_DEPTH).mean() < 0.01


def test_grazing_surfaces_are_lost_between_the_two_angles():
    settings = dataclasses.replace(EXACT, grazing_start=0.8, grazing_end=1.2, far=50.0)
    floor = wall(0.0).apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0)))
    floor.apply_translation((0, 0.3, 0))
    camera = DepthCamera({"floor": floor}, look_down(0.5), settings=settings)
    frame = camera.capture(0)
    rays = np.linalg.inv(settings.intrinsics) @ np.stack([np.full(480, 320), np.arange(480), np.ones(480)])
    down = look_down(0.5)[:3, 1]
    incidence = np.arccos(np.abs(down @ rays) / np.linalg.norm(rays, axis=0))
    lost = (frame.labels == NO_DEPTH)[:, 300:340].mean(1)
    assert lost[incidence > 1.21].min() == 1
    assert lost[incidence < 0.79].max() == 0
    middle = (incidence > 0.98) & (incidence < 1.02)
    assert lost[middle].mean() == pytest.approx(0.5, abs=0.1)


def look_down(angle: float) -> np.ndarray:
    """T_camera_world of a camera at the world's origin, pitched down; the world is an optical frame, too."""
    return trimesh.transformations.rotation_matrix(angle, (1, 0, 0))


def test_projector_left_of_the_camera_casts_its_shadow_to_the_right():
    settings = dataclasses.replace(EXACT, projector_baseline=0.05)
    camera = DepthCamera({"card": wall(0.6, 0.2), "wall": wall(1.0)}, np.eye(4), settings=settings)
    row = camera.capture(0).labels[240]
    card = np.flatnonzero(row == 1)
    # By similar triangles the shadow's edge moves by baseline (1 / z_card - 1 / z_wall) focal lengths.
    expected = 600 * 0.05 * (1 / 0.6 - 1 / 1.0)
    assert np.count_nonzero(row[: card[0]] == NO_DEPTH) <= 1
    assert np.count_nonzero(row[card[-1] :] == NO_DEPTH) == pytest.approx(expected, abs=1.5)


def test_depths_outside_the_range_are_missing():
    settings = dataclasses.replace(EXACT, near=0.7, far=1.1)
    for depth, seen in ((0.6, 0.0), (0.9, 1.0), (1.2, 0.0)):
        frame = DepthCamera({"wall": wall(depth)}, np.eye(4), settings=settings).capture(0)
        assert (frame.labels != NO_DEPTH).mean() == seen


def test_labelled_points_lie_on_the_true_mesh_in_the_camera_frame():
    table = table_with(("mug", "teapot", "toy_car"), seed=2)
    pose = table.camera_pose(azimuth=0.3)
    camera = DepthCamera(table.meshes, pose, table.surroundings(), settings=EXACT)
    frame = camera.capture(0)
    for label, mesh in enumerate(table.meshes_in(pose).values(), start=1):
        points = frame.points[frame.labels == label]
        assert len(points) > 500
        scene = o3d.t.geometry.RaycastingScene()
        scene.add_triangles(
            o3d.core.Tensor(mesh.vertices.astype(np.float32)), o3d.core.Tensor(mesh.faces.astype(np.uint32))
        )
        assert scene.compute_distance(o3d.core.Tensor(points)).numpy().max() < 1e-4


def test_scene_has_table_floor_and_wall():
    table = table_with(("mug",))
    pose = table.camera_pose()
    frame = DepthCamera(table.meshes, pose, table.surroundings()).capture(0)
    world = trimesh.transform_points(frame.points[frame.labels == 0], np.linalg.inv(pose))
    for axis, place, least in (
        (2, 0.0, 0.5),
        (2, -table.settings.height, 0.01),
        (1, table.settings.wall_distance, 0.1),
    ):
        assert (np.abs(world[:, axis] - place) < 0.03).mean() > least


def test_moving_the_camera_changes_what_it_sees_and_where():
    table = table_with(("drill", "bowl"))
    camera = DepthCamera(table.meshes, table.camera_pose(), table.surroundings(), settings=EXACT)
    before = camera.capture(0)
    camera.move_to(table.camera_pose(azimuth=1.0))
    after = camera.capture(0)
    np.testing.assert_allclose(after.T_camera_world, table.camera_pose(azimuth=1.0))
    assert not np.array_equal(before.labels, after.labels)
    plane = table.plane_in(after.T_camera_world)
    bottom = after.points[(after.labels > 0) & (after.labels < NO_DEPTH)] @ plane[:3] + plane[3]
    assert bottom.min() > -1e-5


def test_object_behind_another_counts_as_hidden():
    camera = DepthCamera({"front": wall(0.8, 0.2), "back": wall(1.0, 0.2)}, np.eye(4), settings=EXACT)
    fractions = camera.visible_fractions()
    assert fractions["front"] == 1
    assert fractions["back"] == 0
    beside = DepthCamera({"outside": wall(-1.0, 0.2)}, np.eye(4), settings=EXACT)
    assert beside.visible_fractions() == {"outside": 0.0}


def test_camera_settings_that_contradict_are_refused_with_their_values():
    with pytest.raises(ValueError, match=r"near 2\.0 .* far 1\.0"):
        DepthCameraSettings(near=2.0, far=1.0)
