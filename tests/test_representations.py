"""The page about representations: its forms are what they say, its memory is that of the thing, its figures its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from onet_ros.benchmark.forms import CompletedGrid, Form, fitted_template, score_form
from onet_ros.benchmark.memory import DENSE, FIELD, DenseDecoder, dense_peak, memory_uses
from onet_ros.benchmark.representations import _handle_box, page, save_memory_plot, soundness
from onet_ros.learning.observed_cases import whole_grid
from onet_ros.learning.publish import BEGIN
from onet_ros.networks import load_checkpoint
from onet_ros.resources import model_path
from onet_ros.scene import SupportPlane, VoxelGrid
from onet_ros.simulation import demo_objects

GROUND = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0)


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(model_path("voxels"))


@pytest.fixture(scope="module")
def ball():
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.05)
    return mesh.apply_translation((0.0, 0.0, 0.05))


@pytest.fixture(scope="module")
def answer(checkpoint, ball):
    return CompletedGrid(checkpoint, whole_grid(ball, GROUND)[0])


class TestForms:
    def test_all_forms_hold_the_same_ball(self, answer):
        volume = 4.0 / 3.0 * np.pi * 0.05**3
        for form in (answer.voxels(32), answer.voxels(64), answer.template(), answer.field()):
            assert form.mesh.volume == pytest.approx(volume, rel=0.15), form.name
        radius = np.linalg.norm(answer.cloud().points - answer.grid.origin - answer.grid.edge / 2.0, axis=1)
        assert radius.mean() == pytest.approx(0.05, rel=0.05)

    def test_their_sizes_are_what_they_store(self, answer):
        assert answer.voxels(64).size == 64**3 // 8
        assert answer.cloud().size == 2048 * 3 * 4
        assert answer.template().size == 2562 * 3 * 4
        assert answer.field().size == 32**3 // 8

    def test_a_box_of_its_own_shows_the_same_surface(self, answer, ball):
        centre = answer.grid.origin + answer.grid.edge / 2.0
        part = answer.detail(centre, centre + answer.grid.edge / 2.0, 16)
        inner = part.vertices[((part.vertices > centre + 1e-4) & (part.vertices < centre + 0.049)).all(axis=1)]
        assert len(inner) > 20
        assert np.abs(np.linalg.norm(inner - centre, axis=1) - 0.05).max() < 0.006

    def test_a_template_stays_a_sphere_whatever_it_is_drawn_over(self):
        ring = trimesh.creation.torus(0.05, 0.02)
        template = fitted_template(ring)
        assert template.is_watertight
        assert (template.euler_number, ring.euler_number) == (2, 0)
        centre = fitted_template(trimesh.creation.icosphere(subdivisions=3, radius=0.05))
        np.testing.assert_allclose(np.linalg.norm(centre.vertices, axis=1), 0.05, atol=0.002)

    def test_points_are_scored_by_their_distances_alone(self, ball):
        points = trimesh.sample.sample_surface(ball, 5000, seed=0)[0]
        scores = score_form(Form("points", None, points, 0), ball, 5000)
        assert scores.iou is None
        assert not scores.closed
        assert 0.0 < scores.chamfer_l1 < 0.001

    def test_the_box_about_the_handle_holds_some_of_it(self):
        mug = demo_objects()["mug"]
        lower, upper = _handle_box(mug)
        inside = ((mug.vertices > lower) & (mug.vertices < upper)).all(axis=1)
        assert 0.02 < inside.mean() < 0.8


class TestMemory:
    def test_a_dense_decoder_fills_its_grid_and_grows_with_it(self):
        small, large = DenseDecoder(8, 4, 16), DenseDecoder(8, 4, 32)
        assert large(torch.zeros(2, 8)).shape == (2, 32, 32, 32)
        count = [sum(p.numel() for p in decoder.parameters()) for decoder in (small, large)]
        assert count[1] - count[0] == 4 * 4 * 4**3 + 4

    def test_its_memory_is_that_of_its_last_layer(self):
        assert dense_peak(64, 512) == 4 * 64 * (512**3 + 256**3)

    @pytest.mark.slow
    def test_both_are_measured_in_processes_of_their_own(self):
        uses = {(use.kind, use.resolution): use for use in memory_uses(model_path("voxels"), (32, 64, 128), 64)}
        assert uses[FIELD, 32].parameters == uses[FIELD, 128].parameters
        # On top of what goes in and comes out, oneDNN keeps two copies in its own layout where there is no AVX-512.
        assert 0.9 * dense_peak(64, 64) < uses[DENSE, 64].peak < 4.0 * dense_peak(64, 64)
        assert not uses[DENSE, 128].measured
        assert uses[FIELD, 128].peak < uses[DENSE, 128].peak / 5

    @pytest.mark.slow
    def test_the_surface_at_512_cells_stays_within_its_memory(self):
        (use, _) = memory_uses(model_path("voxels"), (512,), 0)
        assert use.peak < 1.5e9


@pytest.mark.slow
def test_the_page_states_what_was_measured(checkpoint, answer, ball, tmp_path):
    forms = [answer.voxels(32), answer.cloud(), answer.field()]
    scores = {"ball": [(form, score_form(form, ball, 2000), 2) for form in forms]}
    sound = soundness(checkpoint, 1)
    uses = memory_uses(model_path("voxels"), (32,), 0)
    save_memory_plot(tmp_path / "images" / "memory.png", uses)
    text = page("the command", scores, sound, uses)
    assert "`the command` on" in text
    assert f"| voxels, 32³ | 4,096 | {scores['ball'][0][1].iou:.3f} |" in text
    assert "| no surface | - |" in text
    assert "(calculated)" in text
    assert f"Grids of 1 procedural objects of seeds that no training used: {sound.closed} surfaces" in text


def test_cards_of_the_models_have_figures():
    for kind in ("image", "voxels"):
        card = (model_path(kind) / "README.md").read_text()
        assert BEGIN in card
        assert "`onet eval " in card


def test_grids_of_the_page_are_those_that_the_network_takes(answer):
    assert isinstance(answer.grid, VoxelGrid)
    assert answer.grid.values.shape == (32, 32, 32)
