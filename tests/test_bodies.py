"""Which bodies of a mesh are kept."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from onet_ros.surface import SurfaceError, is_sound, keep_bodies


def ball(radius: float, x: float = 0.0, inverted: bool = False) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    mesh.apply_translation([x, 0.0, 0.0])
    if inverted:
        mesh.invert()
    return mesh


def joined(*meshes: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.util.concatenate(meshes)


def test_specks_go_and_bodies_stay():
    mesh = joined(ball(0.02, -0.5), ball(0.3), ball(0.1, 0.6))
    kept = keep_bodies(mesh, min_fraction=0.05)
    assert is_sound(kept)
    assert kept.volume == pytest.approx(ball(0.3).volume + ball(0.1).volume)
    assert len(kept.vertices) == 2 * len(ball(0.1).vertices)
    assert keep_bodies(mesh, 0.0) is mesh
    assert keep_bodies(mesh, 1.0).volume == pytest.approx(ball(0.3).volume)


def test_thin_plate_counts_by_its_area():
    plate = trimesh.creation.box((0.5, 0.5, 0.002))
    plate.apply_translation([0.0, 0.0, 0.5])
    mesh = joined(ball(0.3), plate)
    assert plate.volume < 0.005 * mesh.volume
    assert keep_bodies(mesh, 0.3) is mesh


def test_hollows_are_filled_and_what_lies_in_them_goes():
    mesh = joined(ball(0.1), ball(0.2, inverted=True), ball(0.4), ball(0.15, 0.9))
    kept = keep_bodies(mesh, 0.05)
    assert kept.volume == pytest.approx(ball(0.4).volume + ball(0.15).volume)
    assert kept.body_count == 2


def test_body_in_the_mouth_of_a_ring_is_not_inside_it():
    ring = trimesh.creation.torus(0.4, 0.1)
    mesh = joined(ring, ball(0.2))
    assert keep_bodies(mesh, 0.0) is mesh


@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (0.38, -0.35, 0.3), (-0.4, 0.4, -0.4)])
def test_what_lies_in_a_body_of_few_large_triangles_goes_wherever_it_is(place):
    inner = ball(0.05).apply_translation(place)
    assert keep_bodies(joined(trimesh.creation.box((1.0, 1.0, 1.0)), inner), 0.0).volume == pytest.approx(1.0)


def test_body_in_the_notch_of_another_is_not_inside_it():
    block, notch = trimesh.creation.box((1.0, 1.0, 1.0)), trimesh.creation.box((1.0, 1.0, 2.0))
    angle = trimesh.boolean.difference([block, notch.apply_translation((0.2, 0.2, 0.0))], engine="manifold")
    for place in ((0.2, 0.2, 0.0), (-0.2, -0.2, 0.4), (0.4, 0.4, -0.4)):
        mesh = joined(angle, ball(0.05).apply_translation(place))
        assert keep_bodies(mesh, 0.0) is mesh


def test_coordinates_far_from_the_origin_do_not_matter():
    mesh = joined(ball(0.003), ball(0.1, 0.4), ball(0.05, 0.4, inverted=True))
    mesh.apply_translation([1000.0, -2000.0, 500.0])
    kept = keep_bodies(mesh, 0.05)
    assert kept.volume == pytest.approx(ball(0.1).volume, rel=1e-6)
    np.testing.assert_allclose(kept.bounds.mean(axis=0), [1000.4, -2000.0, 500.0], atol=1e-6)


def test_mesh_without_a_body_is_refused():
    with pytest.raises(SurfaceError, match=r"no positive volume: its pieces have \[-"):
        keep_bodies(ball(0.2, inverted=True), 0.1)


def test_a_mesh_of_several_inverted_pieces_is_refused_with_their_volumes():
    mesh = joined(ball(0.2, inverted=True), ball(0.1, 0.6, inverted=True))
    with pytest.raises(SurfaceError, match=r"no positive volume: its pieces have \[-0\.03\d*, -0\.00\d*\] m\^3"):
        keep_bodies(mesh, 0.1)


def test_a_separate_body_that_no_seed_is_near_is_dropped_however_large():
    near, far = ball(0.1), ball(0.3)
    far.apply_translation((2.0, 0.0, 0.0))
    mesh = trimesh.util.concatenate([near, far])
    seeds = near.vertices[:10]
    assert keep_bodies(mesh, 0.05, seeds, reach=0.05).volume == pytest.approx(near.volume)
    assert keep_bodies(mesh, 0.0, [*seeds, far.vertices[0]], reach=0.05) is mesh


def test_bodies_stay_where_no_seed_is_near_any_of_them():
    far = ball(0.3)
    far.apply_translation((2.0, 0.0, 0.0))
    mesh = trimesh.util.concatenate([ball(0.3), far])
    assert keep_bodies(mesh, 0.0, [(0.0, 5.0, 0.0)], reach=0.05) is mesh
    assert keep_bodies(mesh, 0.0, np.zeros((0, 3)), reach=0.05) is mesh
