"""Convex pieces: solid, within their budget, hollows free; in a process of their own that never holds anybody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh

from onet_ros.collision import CollisionSettings, PieceWorker, convex_pieces, solid_hull
from onet_ros.collision.pieces import deviations
from onet_ros.collision.worker import PiecesDone
from onet_ros.surface import SurfaceError, is_sound, simplify_mesh

pytest.importorskip("coacd", reason="CoACD is not installed")

DEV_MESHES = Path(__file__).resolve().parents[2] / "shared" / "data" / "dev" / "meshes"


def tube(inner: float = 0.03, outer: float = 0.034, height: float = 0.08) -> trimesh.Trimesh:
    """Open at both ends: closed as a mesh, hollow in the middle."""
    return trimesh.creation.annulus(inner, outer, height, sections=24)


def is_convex(mesh: trimesh.Trimesh) -> bool:
    """Every vertex lies on or behind every face."""
    heights = np.asarray(mesh.vertices) @ mesh.face_normals.T
    offsets = np.einsum("ij,ij->i", mesh.face_normals, mesh.triangles[:, 0])
    return bool((heights - offsets).max() < 1e-6)


def in_pieces(pieces: list[trimesh.Trimesh], points: np.ndarray) -> np.ndarray:
    inside = np.zeros(len(points), dtype=bool)
    for one in pieces:
        offsets = np.einsum("ij,ij->i", one.face_normals, one.triangles[:, 0])
        inside |= (points @ one.face_normals.T <= offsets + 1e-9).all(axis=1)
    return inside


class TestPieces:
    def test_a_tube_stays_hollow_and_its_wall_is_covered(self):
        found = convex_pieces(tube())
        assert 4 <= len(found.pieces) <= 32
        assert all(is_sound(one) and is_convex(one) and len(one.vertices) <= 64 for one in found.pieces)
        axis = np.column_stack([np.zeros((9, 2)), np.linspace(-0.04, 0.04, 9)])
        assert not in_pieces(found.pieces, axis).any()
        angle = np.linspace(0.0, 2.0 * np.pi, 60)
        wall = 0.032 * np.stack([np.cos(angle), np.sin(angle), np.zeros(60)], axis=1)
        assert in_pieces(found.pieces, wall).mean() > 0.95
        assert found.deviation < 0.008
        assert found.uncovered < 0.05
        assert found.seconds > 0.0

    def test_a_budget_of_one_piece_is_the_hull(self):
        found = convex_pieces(tube(), CollisionSettings(max_pieces=1))
        assert len(found.pieces) == 1
        assert found.pieces[0].volume == pytest.approx(tube().convex_hull.volume, rel=0.05)
        assert found.filled > 1.0
        assert found.deviation > 0.015  # as far as the middle of the hole is from its wall

    def test_a_convex_body_is_one_piece_that_deviates_little(self):
        found = convex_pieces(trimesh.creation.icosphere(subdivisions=2, radius=0.04))
        assert len(found.pieces) == 1
        assert found.deviation < 0.005  # a ball with 64 vertices
        assert found.filled < 0.02
        assert found.uncovered < 0.15

    def test_what_is_no_solid_is_refused(self):
        box = trimesh.creation.box()
        for faces in (box.faces[:-1], box.faces[:, ::-1]):  # open, and inside out
            with pytest.raises(SurfaceError, match="not a solid"):
                convex_pieces(trimesh.Trimesh(box.vertices, faces, process=False))

    @pytest.mark.skipif(not DEV_MESHES.is_dir(), reason="no evaluation data beside the repository")
    def test_a_true_mug_can_be_reached_into(self):
        mug = trimesh.load_mesh(DEV_MESHES / "dish_mug_2.ply", process=False)
        found = convex_pieces(simplify_mesh(mug, 1000))
        assert len(found.pieces) <= 32
        low, high = mug.bounds
        places = np.random.default_rng(0).uniform(low, high, (20_000, 3))
        in_hull = in_pieces([solid_hull(np.asarray(mug.vertices), 256)], places)
        assert in_pieces(found.pieces, places)[in_hull].mean() < 0.35  # the hull of a mug is mostly air

    @pytest.mark.slow
    @pytest.mark.skipif(not DEV_MESHES.is_dir(), reason="no evaluation data beside the repository")
    def test_every_true_object_has_solid_pieces_within_the_budget(self):
        for path in sorted(DEV_MESHES.glob("*.ply")):
            mesh = simplify_mesh(trimesh.load_mesh(path, process=False), 1000)
            found = convex_pieces(mesh)
            print(
                f"{path.stem:26} {len(found.pieces):2} pieces, deviation {1000 * found.deviation:5.2f} mm, "
                f"{100 * found.filled:5.1f} % filled, {100 * found.uncovered:4.2f} % uncovered, {found.seconds:4.1f} s"
            )
            assert len(found.pieces) <= 32
            assert all(is_sound(one) and is_convex(one) and len(one.vertices) <= 64 for one in found.pieces), path


class TestDeviations:
    def test_what_a_piece_leaves_out_is_uncovered_and_as_far_off_as_it_lies(self):
        cube = trimesh.creation.box((0.04, 0.04, 0.04))
        half = trimesh.creation.box((0.02, 0.04, 0.04)).apply_translation((-0.01, 0.0, 0.0))
        deviation, filled, uncovered = deviations(cube, [half])
        assert deviation == pytest.approx(0.02, abs=1e-4)
        assert filled == 0.0
        assert uncovered == pytest.approx(0.5, abs=0.05)

    def test_what_a_piece_adds_is_filled_and_as_far_off_as_it_stands_out(self):
        cube = trimesh.creation.box((0.04, 0.04, 0.04))
        long = trimesh.creation.box((0.06, 0.04, 0.04)).apply_translation((0.01, 0.0, 0.0))
        deviation, filled, uncovered = deviations(cube, [long])
        assert deviation == pytest.approx(0.02, abs=1e-4)
        assert filled == pytest.approx(0.5, abs=0.05)
        assert uncovered == 0.0

    def test_pieces_that_make_up_the_mesh_do_not_deviate(self):
        cube = trimesh.creation.box((0.04, 0.04, 0.04))
        halves = [trimesh.creation.box((0.02, 0.04, 0.04)).apply_translation((x, 0.0, 0.0)) for x in (-0.01, 0.01)]
        assert deviations(cube, halves) == pytest.approx((0.0, 0.0, 0.0), abs=1e-5)


class TestHull:
    def test_of_a_flat_sheet_it_is_thick_enough_to_be_a_solid(self):
        flat = np.column_stack([np.random.default_rng(0).uniform(-0.05, 0.05, (100, 2)), np.zeros(100)])
        hull = solid_hull(flat, 64)
        assert is_sound(hull)
        assert np.ptp(hull.vertices[:, 2]) == pytest.approx(0.0005, rel=0.01)

    def test_of_a_line_too(self):
        assert is_sound(solid_hull(np.linspace([0, 0, 0], [0.1, 0.0, 0.05], 7), 64))

    def test_it_keeps_to_its_vertices(self):
        ball = trimesh.creation.icosphere(subdivisions=4, radius=0.05)
        hull = solid_hull(ball.vertices, 32)
        assert len(hull.vertices) <= 32
        assert hull.volume > 0.75 * ball.volume

    def test_a_point_has_none(self):
        with pytest.raises(SurfaceError, match="make no solid"):
            solid_hull(np.zeros((5, 3)), 64)


class Answers:
    """What a worker says, to be waited for."""

    def __init__(self) -> None:
        self.done: list[PiecesDone] = []
        self._came = threading.Condition()

    def __call__(self, done: PiecesDone) -> None:
        with self._came:
            self.done.append(done)
            self._came.notify_all()

    def wait(self, count: int, timeout: float = 90.0) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.done) >= count, timeout), f"{len(self.done)} of {count} came"


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[PieceWorker, Answers]]:
    """One whose process has been started once for all tests that leave it alive."""
    answers = Answers()
    worker = PieceWorker(CollisionSettings(), answers)
    yield worker, answers
    worker.close()


class TestWorker:
    @pytest.fixture
    def shared(self, running) -> tuple[PieceWorker, Answers]:
        """The same, with nothing done yet."""
        running[1].done.clear()
        return running

    def test_pieces_come_from_another_process_and_are_the_same(self, shared):
        (worker, answers), mesh = shared, tube()
        began = time.monotonic()
        worker.submit("tube", mesh)
        assert time.monotonic() - began < 0.1
        answers.wait(1)
        (done,) = answers.done
        assert (done.name, done.mesh is mesh, done.reason) == ("tube", True, "")
        here = convex_pieces(mesh)
        assert done.pieces is not None
        assert len(done.pieces.pieces) == len(here.pieces)
        np.testing.assert_allclose(done.pieces.pieces[0].vertices, here.pieces[0].vertices, atol=1e-9)

    def test_only_the_newest_mesh_of_a_name_is_answered(self, shared):
        worker, answers = shared
        first, second, other = tube(), tube(height=0.05), trimesh.creation.box((0.03, 0.03, 0.03))
        worker.submit("a", first)
        worker.submit("a", second)
        worker.submit("forgotten", first)
        worker.submit("b", other)
        worker.forget("forgotten")
        answers.wait(2)
        assert [done.name for done in answers.done] == ["a", "b"]
        assert answers.done[0].mesh is second

    def test_what_takes_too_long_is_given_up_and_the_next_one_is_done(self, monkeypatch):
        monkeypatch.setattr("onet_ros.collision.worker.PATIENCE", 0.0)
        answers = Answers()
        worker = PieceWorker(CollisionSettings(time_limit=0.1), answers)
        worker.submit("slow", tube())
        answers.wait(1)
        assert answers.done[0].pieces is None
        assert "longer than 0.1 s" in answers.done[0].reason
        monkeypatch.setattr("onet_ros.collision.worker.PATIENCE", 60.0)
        worker.submit("again", tube())
        answers.wait(2)
        worker.close()
        assert answers.done[1].pieces is not None

    def test_a_mesh_that_is_no_solid_gets_a_reason(self, shared):
        worker, answers = shared
        worker.submit("open", trimesh.Trimesh(np.eye(3), [[0, 1, 2]], process=False))
        answers.wait(1)
        assert answers.done[0].pieces is None
        assert "not a solid" in answers.done[0].reason

    def test_it_stops_at_once_whatever_is_being_done(self):
        worker = PieceWorker(CollisionSettings(), Answers())
        worker.submit("tube", tube())
        time.sleep(0.3)
        began = time.monotonic()
        worker.close()
        assert time.monotonic() - began < 5.0

    def test_it_can_be_stopped_at_any_moment(self, monkeypatch):
        faults = []
        monkeypatch.setattr(threading, "excepthook", faults.append)
        for delay in (0.0, 0.0005, 0.002, 0.005, 0.02, 0.1):
            worker = PieceWorker(CollisionSettings(), Answers())
            worker.submit("tube", tube())
            time.sleep(delay)
            worker.close()
            assert not worker._thread.is_alive()
            assert worker._process is None
        assert not faults
