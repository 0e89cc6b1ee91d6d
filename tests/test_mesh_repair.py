"""Broken meshes with known volumes, made solid or refused."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from onet_ros.learning.mesh_files import RefusedMeshError
from onet_ros.learning.mesh_repair import RepairSettings, make_solid
from onet_ros.surface import is_sound

BALL = trimesh.creation.icosphere(subdivisions=3, radius=0.05)


def without(mesh, faces):
    """The mesh without the faces of a mask."""
    rest = mesh.copy()
    rest.update_faces(~faces)
    rest.remove_unreferenced_vertices()
    return rest


def shifted(mesh, *offset):
    moved = mesh.copy()
    moved.apply_translation(offset)
    return moved


def coil(turns=2.5, pitch=0.008, radius=0.03, tube=0.006, rings=100, sides=12):
    """A closed tube wound so tightly that its turns run through each other."""
    t = np.linspace(0, 2 * np.pi * turns, rings)
    around = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None, :, None]
    centre = np.stack([radius * np.cos(t), radius * np.sin(t), pitch * t / (2 * np.pi)], axis=1)
    outward = np.stack([np.cos(t), np.sin(t), 0 * t], axis=1)[:, None]
    ring = centre[:, None] + tube * (np.cos(around) * outward + np.sin(around) * np.array([0.0, 0.0, 1.0]))
    faces = []
    for i in range(rings - 1):
        for j in range(sides):
            a, b = i * sides + j, i * sides + (j + 1) % sides
            faces += [(a, a + sides, b), (b, a + sides, b + sides)]
    last = (rings - 1) * sides
    for j in range(1, sides - 1):
        faces += [(0, j, j + 1), (last, last + j + 1, last + j)]
    mesh = trimesh.Trimesh(ring.reshape(-1, 3), faces, process=False)
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def test_a_solid_mesh_stays_as_it_is():
    mesh, done = make_solid(shifted(BALL, 0.3, 0.0, 0.0))
    assert done == []
    assert is_sound(mesh)
    assert mesh.volume == pytest.approx(BALL.volume, rel=1e-5)
    np.testing.assert_allclose(mesh.bounds.mean(axis=0), 0.0, atol=1e-6)


def test_the_given_mesh_is_not_changed():
    mesh = BALL.copy()
    mesh.invert()
    before = mesh.faces.copy()
    make_solid(mesh)
    np.testing.assert_array_equal(mesh.faces, before)


def test_triangles_that_face_inward_are_turned():
    inside_out, mixed = BALL.copy(), BALL.copy()
    inside_out.invert()
    mixed.faces[::3] = mixed.faces[::3, ::-1]
    for broken in (inside_out, trimesh.Trimesh(mixed.vertices, mixed.faces, process=False)):
        mesh, done = make_solid(broken)
        assert done == ["turned triangles that faced inward"]
        assert mesh.volume == pytest.approx(BALL.volume, rel=1e-5)


def test_open_seams_are_sewn():
    corners = BALL.triangles.reshape(-1, 3) + np.random.default_rng(0).normal(0.0, 1e-6, (3 * len(BALL.faces), 3))
    soup = trimesh.Trimesh(corners, np.arange(len(corners)).reshape(-1, 3), process=False)
    mesh, done = make_solid(soup)
    assert len(done) == 1
    assert done[0].startswith("sewed open seams narrower than 0.01 mm")
    assert mesh.volume == pytest.approx(BALL.volume, rel=1e-3)


def test_a_small_hole_is_closed_and_measured():
    hole = np.linalg.norm(BALL.triangles_center - BALL.vertices[0], axis=1) < 0.006
    mesh, done = make_solid(without(BALL, hole))
    assert len(done) == 1
    assert done[0].startswith("closed 1 hole, the widest 1")
    assert mesh.volume == pytest.approx(BALL.volume, rel=0.01)


def test_a_wide_hole_is_closed_only_when_that_is_allowed():
    without_top = without(BALL, BALL.triangles_center[:, 2] > 0.04)
    with pytest.raises(RefusedMeshError, match=r"the widest [\d.]+ mm across \(the mesh is 100 mm long\)"):
        make_solid(without_top)
    mesh, done = make_solid(without_top, RepairSettings(largest_hole=1.0))
    assert "closed 1 hole" in done[0]
    assert is_sound(mesh)
    assert mesh.volume == pytest.approx(without_top.convex_hull.volume, rel=0.01)


def test_bodies_that_overlap_become_one():
    pair = trimesh.util.concatenate([BALL, shifted(BALL, 0.05, 0.0, 0.0)])
    mesh, done = make_solid(pair)
    assert done == ["united 2 closed surfaces to one body, without hidden hollows"]
    overlap = 5.0 / 16.0  # of two balls whose centres are a radius apart
    assert mesh.volume == pytest.approx((2.0 - overlap) * BALL.volume, rel=0.02)


@pytest.mark.parametrize("inner_faces_inward", [False, True])
def test_hidden_hollows_are_filled(inner_faces_inward):
    inner = trimesh.creation.icosphere(subdivisions=2, radius=0.04)
    if inner_faces_inward:
        inner.invert()
    mesh, _ = make_solid(trimesh.util.concatenate([BALL, inner]))
    assert mesh.volume == pytest.approx(BALL.volume, rel=1e-4)


def test_separate_bodies_stay_and_are_counted():
    mesh, done = make_solid(trimesh.util.concatenate([BALL, shifted(BALL, 0.2, 0.0, 0.0)]))
    assert done == ["united 2 closed surfaces to 2 separate bodies, without hidden hollows"]
    assert mesh.volume == pytest.approx(2.0 * BALL.volume, rel=1e-5)


def test_a_surface_that_runs_through_itself_is_rebuilt():
    tight = coil()
    mesh, done = make_solid(tight)
    assert len(done) == 1
    assert done[0].startswith("rebuilt as the solid that its surface encloses")
    assert is_sound(mesh)
    # The turns, 8 mm apart, are 12 mm thick: counted once, they fill less than the tube's length times its section.
    assert 0.8 * tight.volume < mesh.volume < 0.95 * tight.volume


@pytest.mark.parametrize(
    "sheet",
    [
        without(trimesh.creation.box((0.1, 0.1, 0.1)), np.arange(12) < 2),
        without(BALL, BALL.triangles_center[:, 2] > 0.0),
    ],
    ids=["box without a side", "bowl without thickness"],
)
def test_an_open_sheet_is_refused(sheet):
    with pytest.raises(RefusedMeshError, match=r"open: 1 hole, the widest .* encloses no solid"):
        make_solid(sheet)


def test_a_flat_mesh_is_refused():
    with pytest.raises(RefusedMeshError, match=r"flat: 100 x 80 x 0\.1 mm bound no body"):
        make_solid(trimesh.creation.box((0.1, 0.08, 0.0001)))


def test_junk_is_removed_and_counted():
    vertices = np.concatenate([BALL.vertices, [[np.nan, 0.0, 0.0]]])
    faces = np.concatenate([BALL.faces, BALL.faces[:2], [[0, 0, 1]], [[0, 1, len(vertices) - 1]]])
    mesh, done = make_solid(trimesh.Trimesh(vertices, faces, process=False))
    assert done == [
        "removed 1 triangles with coordinates that are not finite",
        "removed 1 collapsed triangles",
        "removed 2 doubled triangles",
    ]
    assert mesh.volume == pytest.approx(BALL.volume, rel=1e-5)


def test_nothing_but_junk_is_refused():
    with pytest.raises(RefusedMeshError, match="0 triangles are left of 1"):
        make_solid(trimesh.Trimesh(np.full((3, 3), np.nan), [[0, 1, 2]], process=False))


def test_large_meshes_are_simplified_and_it_is_said():
    fine = trimesh.creation.icosphere(subdivisions=4, radius=0.05)  # 5,120 triangles
    mesh, done = make_solid(fine, RepairSettings(max_triangles=1000))
    assert len(mesh.faces) <= 1000
    assert done == [f"simplified from 5,120 to {len(mesh.faces):,} triangles"]
    assert mesh.volume == pytest.approx(fine.volume, rel=0.02)


@pytest.mark.parametrize(("name", "value"), [("largest_hole", 2.0), ("max_triangles", 3)])
def test_settings_outside_their_range_are_quoted(name, value):
    with pytest.raises(ValueError, match=f"{name} .*got {value}"):
        RepairSettings(**{name: value})
