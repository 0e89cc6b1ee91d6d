"""Objects as files: meshes in their own frames, poses apart, physics of a solid of known volume."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import trimesh
from trusted import trust

from onet_ros.object_files import FORMATS, ObjectFileSettings, save_objects
from onet_ros.object_properties import MassProperties, UprightBox
from onet_ros.reconstructor import ReconstructedObject

SIZE = (0.04, 0.06, 0.1)


def mass_properties(mesh: trimesh.Trimesh, density: float) -> MassProperties:
    return MassProperties.of_solid(np.asarray(mesh.vertices), np.asarray(mesh.faces), density)


@pytest.fixture
def item() -> ReconstructedObject:
    """A box of 40 x 60 x 100 mm, turned, 2 m away."""
    pose = trimesh.transformations.euler_matrix(0.2, -0.3, 1.0)
    pose[:3, 3] = 2.0, -0.5, 0.7
    mesh = trimesh.creation.box(SIZE).subdivide().apply_transform(pose)
    return ReconstructedObject(
        mesh=mesh,
        confidence=np.linspace(0.0, 1.0, len(mesh.vertices), dtype=np.float32),
        error=np.full(len(mesh.vertices), 0.002, dtype=np.float32),
        collision_mesh=trimesh.creation.box(SIZE).apply_transform(pose),
        conservative_mesh=trimesh.creation.box(SIZE).apply_transform(pose),
        T_source_object=pose,
        size=np.array(SIZE),
        indices=np.arange(50),
        seen_fraction=0.4,
        trust=trust(),
    )


@pytest.mark.parametrize("file_format", FORMATS)
def test_meshes_are_written_around_their_origin_and_the_index_puts_them_back(file_format, item, tmp_path):
    files = save_objects(tmp_path / "new" / "folder", {7: item}, "map", 12_000_000_034, ObjectFileSettings(file_format))
    assert all(path.is_file() and path.stat().st_size for path in files)
    index = json.loads(files[-1].read_text())
    assert (index["frame_id"], index["stamp"]) == ("map", {"sec": 12, "nanosec": 34})
    (record,) = index["objects"]
    assert record["id"] == 7
    assert record["trust"]["reliable"]
    assert record["trust"]["expected_error"] == pytest.approx(0.002)
    mesh = trimesh.load_mesh(files[0].parent / record["mesh"])
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.bounds, [np.array(SIZE) / -2, np.array(SIZE) / 2], atol=1e-6)
    x, y, z, w = record["orientation_xyzw"]
    pose = trimesh.transformations.quaternion_matrix([w, x, y, z])
    pose[:3, 3] = record["position"]
    np.testing.assert_allclose(mesh.apply_transform(pose).bounds, item.mesh.bounds, atol=1e-6)


def test_mass_and_inertia_are_those_of_a_box(item, tmp_path):
    index = json.loads(save_objects(tmp_path, {7: item}, settings=ObjectFileSettings(density=800.0))[-1].read_text())
    (record,) = index["objects"]
    a, b, c = SIZE
    mass = 800.0 * a * b * c
    assert record["volume"] == pytest.approx(a * b * c)
    assert record["mass"] == pytest.approx(mass)
    np.testing.assert_allclose(record["centre_of_mass"], 0.0, atol=1e-9)
    expected = np.diag([b * b + c * c, a * a + c * c, a * a + b * b]) * mass / 12
    np.testing.assert_allclose(record["inertia"], expected, atol=1e-12)


@pytest.mark.parametrize("file_format", FORMATS)
def test_urdf_names_files_that_are_there_and_the_same_physics(file_format, item, tmp_path):
    save_objects(tmp_path, {7: item}, settings=ObjectFileSettings(file_format, density=800.0))
    link = ET.parse(tmp_path / "object_7.urdf").getroot().find("link")
    for part in ("visual", "collision"):
        name = link.find(f"{part}/geometry/mesh").get("filename")
        mesh = trimesh.load_mesh(tmp_path / name)
        assert mesh.is_watertight
        np.testing.assert_allclose(mesh.extents, SIZE, atol=1e-6)
    assert float(link.find("inertial/mass").get("value")) == pytest.approx(800.0 * np.prod(SIZE), rel=1e-6)
    moments = link.find("inertial/inertia").attrib
    assert set(moments) == {"ixx", "ixy", "ixz", "iyy", "iyz", "izz"}
    inertia = mass_properties(trimesh.creation.box(SIZE), 800.0).inertia
    assert float(moments["izz"]) == pytest.approx(inertia[2, 2], rel=1e-6)


def test_inertia_is_about_the_centre_of_mass_of_what_is_not_symmetric():
    cone = trimesh.creation.cone(radius=0.03, height=0.12, sections=256)
    solid = mass_properties(cone, 1000.0)
    mass = 1000.0 * np.pi * 0.03**2 * 0.12 / 3
    assert solid.mass == pytest.approx(mass, rel=1e-3)
    np.testing.assert_allclose(solid.centre, [0.0, 0.0, 0.03], atol=1e-4)  # a quarter of the height above the base
    assert solid.inertia[2, 2] == pytest.approx(0.3 * mass * 0.03**2, rel=2e-3)
    assert solid.inertia[0, 0] == pytest.approx(mass * (3 / 20 * 0.03**2 + 3 / 80 * 0.12**2), rel=2e-3)


def test_mass_is_that_of_trimesh_for_a_hollow_solid_far_from_the_origin():
    pipe = trimesh.creation.annulus(0.03, 0.05, 0.08).apply_transform(trimesh.transformations.euler_matrix(0.3, 0.4, 1))
    pipe.apply_translation([0.4, -0.3, 1.2])
    solid, other = mass_properties(pipe, 500.0), trimesh.triangles.mass_properties(pipe.triangles, density=500.0)
    assert solid.mass == pytest.approx(other.mass, rel=1e-9)
    np.testing.assert_allclose(solid.centre, other.center_mass, atol=1e-9)
    np.testing.assert_allclose(solid.inertia, other.inertia, atol=1e-7 * np.abs(other.inertia).max())


def test_without_urdf_there_is_one_file_an_object(item, tmp_path):
    files = save_objects(tmp_path, {1: item, 2: item}, settings=ObjectFileSettings("stl", urdf=False))
    assert [path.name for path in files] == ["object_1.stl", "object_2.stl", "objects.json"]


def test_colours_tell_what_was_seen(item, tmp_path):
    save_objects(tmp_path, {7: item}, settings=ObjectFileSettings("ply", urdf=False))
    colours = np.asarray(trimesh.load_mesh(tmp_path / "object_7.ply", process=False).visual.vertex_colors)
    assert len(np.unique(colours, axis=0)) > 10


def test_what_cannot_be_is_refused(item, tmp_path):
    with pytest.raises(ValueError, match="format must be one of ply, stl, obj, glb, got 'dae'"):
        ObjectFileSettings("dae")
    with pytest.raises(ValueError, match="density must be in"):
        ObjectFileSettings(density=0.0)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        save_objects(tmp_path / "file" / "below", {7: item})
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 1]], process=False)
    with pytest.raises(ValueError, match="no solid"):
        mass_properties(flat, 1000.0)


def test_the_upright_box_has_the_smallest_footprint():
    turn = trimesh.transformations.rotation_matrix(0.4, [0, 0, 1])
    turn[:3, 3] = 0.3, -0.2, 0.5
    box = UprightBox.about(trimesh.creation.box((0.04, 0.1, 0.06)).apply_transform(turn).vertices)
    np.testing.assert_allclose(box.size, [0.1, 0.04, 0.06], atol=1e-5)
    np.testing.assert_allclose(box.T_mesh_box[:3, 3], turn[:3, 3], atol=1e-6)
    assert abs(box.T_mesh_box[:3, 0] @ turn[:3, 1]) == pytest.approx(1.0, abs=1e-5)  # its longer side is the mesh's y
    assert np.linalg.det(box.T_mesh_box[:3, :3]) == pytest.approx(1.0)


def test_principal_axes_are_those_of_the_shape():
    turn = trimesh.transformations.euler_matrix(0.3, -0.5, 1.1)
    solid = mass_properties(trimesh.creation.box((0.03, 0.06, 0.12)).apply_transform(turn), 500.0)
    axes = solid.principal_axes
    np.testing.assert_allclose(np.abs(axes.T @ turn[:3, :3]), np.eye(3)[[2, 1, 0]], atol=1e-6)  # longest first
    assert np.linalg.det(axes) == pytest.approx(1.0)
