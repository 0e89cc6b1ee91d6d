"""Trust in meshes: kept out of free space and of each other, errors in the right order, views that help."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from onet_ros.learning.metrics import points_inside
from onet_ros.learning.trust_scores import sparsification_gain
from onet_ros.scene import FreeSpace, UnitFrame, depth_to_points
from onet_ros.surface import ExtractionSettings, SurfaceError, covering_grids, extract_surfaces, sample_grids_mise
from onet_ros.surface.coarse import raised
from onet_ros.trust import (
    CarvedField,
    ErrorModel,
    ExclusiveField,
    NextView,
    ObjectEvidence,
    Subject,
    Trust,
    VertexEvidence,
    assess,
    check_consistency,
    suggest_view,
)
from onet_ros.trust.errors import OBJECT_FEATURES, VERTEX_FEATURES

K = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]])
UPRIGHT = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # optical frame: x to the camera, z up
FRAME = UnitFrame(UPRIGHT, np.array([0.0, 0.05, 0.65]), 0.1)
LOWER, UPPER = np.array([-0.55, -0.55, 0.0]), np.array([0.55, 0.55, 1.1])


def ball(centre=(0.0, 0.0, 0.5), radius=0.5, sharpness=40.0):
    """Logits of a ball in unit coordinates."""

    def field(points: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
        return sharpness * (radius - (points - torch.tensor(centre)).norm(dim=1))

    return field


def seen_ball(radius=0.035) -> FreeSpace:
    """What a camera saw of a ball of 35 mm about (0, 0, 0.65) before a wall."""
    v, u = np.mgrid[:480, :640]
    rays = np.stack([(u - 320) / 600.0, (v - 240) / 600.0, np.ones_like(u)], axis=-1).astype(float)
    a, b, c = (rays**2).sum(-1), 0.65 * rays[..., 2], 0.65**2 - radius**2
    root = b**2 - a * c
    depth = np.where(root >= 0.0, (b - np.sqrt(np.maximum(root, 0.0))) / a, 1.0)
    points = depth_to_points(depth.astype(np.float32), K).reshape(-1, 3)
    own = points[:, 2] < 0.8
    around = points[~own]
    around = around[(np.abs(around[:, :2] / around[:, 2:]) < 0.15).all(axis=1)]
    space = FreeSpace.about(points[own], around, (0, 0, 0))
    assert space is not None
    return space


def extracted(field, count=1, **settings):
    boxes = np.tile(LOWER, (count, 1)), np.tile(UPPER, (count, 1))
    found = extract_surfaces(field, *boxes, 0.0, ExtractionSettings(), **settings)
    for one in found:
        assert not isinstance(one, SurfaceError)
    return found


class TestCarving:
    def test_a_mesh_too_large_is_cut_back_to_what_was_seen_and_stays_closed(self):
        field = CarvedField(ball(), [[seen_ball()]], [FRAME], 0.0, torch.device("cpu"))
        (carved,), (plain,) = extracted(field), extracted(ball())
        mesh = trimesh.Trimesh(FRAME.from_unit(carved.mesh.vertices), carved.mesh.faces, process=False)
        assert mesh.is_watertight
        assert mesh.volume > 0.0
        before = trimesh.Trimesh(FRAME.from_unit(plain.mesh.vertices), plain.mesh.faces, process=False)
        seen = np.array([[0.0, 0.0, 0.615]])
        assert check_consistency(before, seen, [seen_ball()]).free_fraction > 0.2
        assert check_consistency(mesh, seen, [seen_ball()]).free_fraction < 0.01
        assert mesh.bounds[0, 2] == pytest.approx(0.615, abs=0.002)  # the side that the camera saw
        assert mesh.bounds[1, 2] == pytest.approx(0.70, abs=0.002)  # the far side is the field's: nobody saw it

    def test_a_mesh_within_what_was_seen_stays_what_it_is(self):
        small = ball(radius=0.33)
        field = CarvedField(small, [[seen_ball()]], [FRAME], 0.0, torch.device("cpu"))
        (carved,), (plain,) = extracted(field), extracted(small)
        np.testing.assert_allclose(carved.mesh.vertices, plain.mesh.vertices, atol=1e-6)

    def test_it_says_the_same_as_the_free_space_itself(self):
        space, rng = seen_ball(), np.random.default_rng(0)
        points = rng.uniform(LOWER, UPPER, (2000, 3)).astype(np.float32)
        field = CarvedField(lambda p, _: torch.full((len(p),), 5.0), [[space]], [FRAME], 0.0, torch.device("cpu"))
        logits = field(torch.from_numpy(points), torch.zeros(2000, dtype=torch.int64)).numpy()
        limits = 1000.0 * space.margin(FRAME.from_unit(points))
        expected = np.where(limits < -6.0, -12.0, np.minimum(5.0, limits))
        clear = np.abs(limits + 6.0) > 0.05
        np.testing.assert_allclose(logits[clear], expected[clear], atol=0.05)
        assert 0.1 < (logits < 0.0).mean() < 0.9

    def test_the_network_is_not_asked_where_nothing_can_be(self):
        space, asked = seen_ball(), []

        def network(points, objects):
            asked.append(points)
            return torch.full((len(points),), 5.0)

        field = CarvedField(network, [[space]], [FRAME], 0.0, torch.device("cpu"))
        points = np.random.default_rng(0).uniform(LOWER, UPPER, (2000, 3)).astype(np.float32)
        logits = field(torch.from_numpy(points), torch.zeros(2000, dtype=torch.int64)).numpy()
        depth = space.margin(FRAME.from_unit(torch.cat(asked).numpy()))
        assert depth.min() > -0.0061
        assert 0.2 < (logits == -12.0).mean() < 0.9
        assert len(depth) == (logits != -12.0).sum()

    def test_a_network_that_is_asked_nothing_is_not_called_and_gradients_are_there_all_the_same(self):
        space = seen_ball()

        def network(points, objects):
            assert len(points)
            return 5.0 - points.norm(dim=1)

        field = CarvedField(network, [[space]], [FRAME], 0.0, torch.device("cpu"))
        before = torch.from_numpy(FRAME.to_unit([[0.0, 0.0, 0.5], [0.0, 0.01, 0.55]]).astype(np.float32))
        objects = torch.zeros(2, dtype=torch.int64)
        assert field(before, objects).tolist() == [-12.0, -12.0]
        (gradient,) = torch.autograd.grad(field(before.requires_grad_(), objects).sum(), before)
        assert (gradient == 0.0).all()

    def test_objects_of_which_nothing_is_known_are_left_alone(self):
        field = CarvedField(ball(), [[], [seen_ball()]], [FRAME, FRAME], 0.0, torch.device("cpu"))
        first, second = extracted(field, 2)
        assert first.mesh.volume == pytest.approx(4 / 3 * np.pi * 0.125, rel=0.02)
        assert second.mesh.volume < 0.8 * first.mesh.volume

    def test_every_view_counts(self):
        space = seen_ball()
        turned = np.diag([-1.0, 1.0, -1.0])  # the same ball seen from behind
        behind = FreeSpace(
            turned @ (space.eye - [0, 0, 0.65]) + [0, 0, 0.65],
            space.axes @ turned.T,
            space.low,
            space.edge,
            space.depth,
        )
        field = CarvedField(ball(), [[space, behind]], [FRAME], 0.0, torch.device("cpu"))
        (carved,) = extracted(field)
        depth = FRAME.from_unit(carved.mesh.vertices)[:, 2]
        assert depth.min() == pytest.approx(0.615, abs=0.002)
        assert depth.max() == pytest.approx(0.685, abs=0.002)


class TestNeighbours:
    def test_two_objects_do_not_share_a_place_and_the_surer_one_keeps_it(self):
        frames = [FRAME, UnitFrame(UPRIGHT, FRAME.origin + [0.07, 0.0, 0.0], 0.1)]  # balls of 50 mm, 70 mm apart

        def field(points, objects):
            return torch.where(objects == 0, 1.0, 3.0) * 40.0 * (0.5 - (points - torch.tensor([0, 0, 0.5])).norm(dim=1))

        apart = ExclusiveField(field, frames, LOWER, UPPER, 0.0, torch.device("cpu"))
        meshes = [
            trimesh.Trimesh(frame.from_unit(one.mesh.vertices), one.mesh.faces, process=False)
            for frame, one in zip(frames, extracted(apart, 2), strict=True)
        ]
        assert all(mesh.is_watertight for mesh in meshes)
        places = np.random.default_rng(0).uniform(meshes[0].bounds[0], meshes[1].bounds[1], (20_000, 3))
        first, second = (points_inside(mesh, places) for mesh in meshes)
        assert (first & second).sum() <= 5
        assert first.any()
        assert second.any()
        assert meshes[0].volume < meshes[1].volume < 4 / 3 * np.pi * 0.05**3

    def test_those_far_apart_are_what_they_are(self):
        frames = [FRAME, UnitFrame(UPRIGHT, FRAME.origin + [0.5, 0.0, 0.0], 0.1)]
        apart = ExclusiveField(ball(), frames, LOWER, UPPER, 0.0, torch.device("cpu"))
        for one, plain in zip(extracted(apart, 2), extracted(ball(), 2), strict=True):
            np.testing.assert_array_equal(one.mesh.vertices, plain.mesh.vertices)

    def test_with_a_gradient_and_without_the_logits_are_the_same(self):
        frames = [UnitFrame(UPRIGHT, FRAME.origin + [0.05 * number, 0.02 * number, 0.0], 0.1) for number in range(4)]

        def field(points, objects):
            return 10.0 * (0.5 + 0.05 * objects - (points - torch.tensor([0, 0, 0.5])).norm(dim=1))

        apart = ExclusiveField(field, frames, LOWER, UPPER, 0.2, torch.device("cpu"))
        points = torch.from_numpy(np.random.default_rng(0).uniform(LOWER, UPPER, (4000, 3)).astype(np.float32))
        objects = torch.arange(4).repeat_interleave(1000)
        told, alone = apart(points, objects), field(points, objects)
        assert 100 < (told != alone).sum() < 4000
        torch.testing.assert_close(told, apart(points.clone().requires_grad_(), objects).detach(), rtol=1e-5, atol=1e-5)

    def test_only_what_lies_in_the_other_ones_box_is_shared(self):
        frames = [FRAME, UnitFrame(UPRIGHT, FRAME.origin + [0.08, 0.0, 0.0], 0.1)]

        def field(points, objects):  # inside everywhere, also where no object is looked for
            return torch.where(objects == 0, 1.0, 3.0)

        apart = ExclusiveField(field, frames, LOWER, UPPER, 0.0, torch.device("cpu"))
        places = FRAME.to_unit(frames[1].from_unit([[LOWER[0] + 0.01, 0.0, 0.5], [LOWER[0] - 0.01, 0.0, 0.5]]))
        logits = apart(torch.from_numpy(places.astype(np.float32)), torch.zeros(2, dtype=torch.int64))
        assert logits.tolist() == [-1.0, 1.0]  # half of the difference; and its own


class TestConservativeSurface:
    def test_it_contains_the_share_of_the_expected_volume_asked_for(self):
        soft = ball(radius=0.3, sharpness=15.0)
        grids = sample_grids_mise(soft, LOWER[None], UPPER[None], 0.0, ExtractionSettings())
        points = np.random.default_rng(0).uniform(LOWER, UPPER, (200_000, 3)).astype(np.float32)
        probability = torch.sigmoid(soft(torch.from_numpy(points), torch.zeros(len(points)))).numpy()
        radius = np.linalg.norm(points - [0, 0, 0.5], axis=1)
        for share in (0.8, 0.9, 0.95):
            _, raised_by = covering_grids(grids, soft, share)
            raised_field = raised(soft, raised_by)
            inside = raised_field(torch.from_numpy(points), torch.zeros(len(points), dtype=torch.int64)).numpy() > 0.0
            assert probability[inside].sum() / probability.sum() == pytest.approx(share, abs=0.03)
            assert radius[inside].max() < radius[~inside].max()

    def test_it_is_closed_and_grows_with_the_share(self):
        volumes = []
        for share in (0.7, 0.9, 0.97):
            (found,) = extracted(ball(radius=0.3, sharpness=15.0), coverage=share)
            assert found.conservative_mesh is not None
            assert found.conservative_mesh.is_watertight
            volumes.append(found.conservative_mesh.volume)
        (tight,) = extracted(ball(radius=0.3, sharpness=15.0))
        assert tight.conservative_mesh is None
        assert tight.mesh.volume * 0.97 < volumes[0] < volumes[1] < volumes[2]

    def test_of_a_sharp_field_it_is_the_surface(self):
        (found,) = extracted(ball(radius=0.3, sharpness=2000.0), coverage=0.95)
        assert found.conservative_mesh is not None
        assert found.conservative_mesh.volume == pytest.approx(found.mesh.volume, rel=0.03)


MODEL = ErrorModel(
    vertex=[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    vertex_factor=1.0,
    object=[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    doubt=[0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    bad=0.008,
    limit=0.6,
    coverage=[[0.8, 0.7], [0.9, 0.85], [0.99, 0.97]],
)


class TestExpectedErrors:
    def test_they_follow_the_weights(self):
        distance = np.array([0.0, 0.01, 0.03, 5.0])
        flat = np.full(4, 0.001)
        errors = MODEL.vertex_errors(VertexEvidence(distance, flat, flat, flat, 0.1))
        np.testing.assert_allclose(errors[:3], distance[:3] + 0.001 - 0.0003, rtol=1e-5)
        assert errors[3] == pytest.approx(0.1)  # no more than the object is large

    def test_what_is_known_of_a_vertex_is_what_the_weights_are_for(self):
        evidence = VertexEvidence(*np.array([[0.004, 5.0], [0.002, 0.0], [0.003, 0.2], [-0.5, 1.0]]), 0.2)
        distance, outward, inward = np.log([0.005, 0.101]), np.log([0.002, 1e-5]), np.log([0.003, 0.05])
        expected = [
            np.ones(2), distance, distance**2, outward, inward, outward * distance, [-0.5, 1.0], np.log([0.2, 0.2])
        ]  # fmt: skip
        np.testing.assert_allclose(evidence.features(), np.transpose(expected))
        flat = replace(MODEL, vertex=[np.log(0.004), *[0.0] * 7], vertex_factor=1.5)
        np.testing.assert_allclose(flat.vertex_errors(evidence), [0.0057, 0.0057], rtol=1e-6)

    def test_what_is_known_of_an_object_is_what_the_weights_are_for(self):
        evidence = ObjectEvidence(0.002, 0.5, 0.001, 0.1, 0.2, 500, 0.02, 0.001)
        logarithms = np.exp(evidence.features())
        np.testing.assert_allclose(logarithms, [np.e, 0.0023, 0.52, 0.001, 0.12, 0.2, 500.0, 0.02, 0.0013])
        odd = ObjectEvidence(0.0, 0.0, 0.3, -0.1, 0.2, 1, 0.0, 0.0)
        np.testing.assert_allclose(np.exp(odd.features()), [np.e, 0.0003, 0.02, 0.05, 0.02, 0.2, 1.0, 1e-4, 0.0003])
        assert MODEL.object_error(evidence) == pytest.approx(0.0023)
        assert MODEL.object_error(replace(evidence, error=3.0)) == 0.2  # no more than the object is large

    def test_coverage_is_asked_for_as_it_was_achieved(self):
        assert MODEL.asked_for(0.85) == pytest.approx(0.9)
        assert MODEL.asked_for(0.91) == pytest.approx(0.945)

    def test_an_object_is_doubted_by_the_chance_that_it_is_bad(self):
        evidence = ObjectEvidence(0.002, 0.5, 0.001, 0.1, 0.2, 500, 0.02, 0.001)
        odds = 1.0 / (0.5 + 0.02)  # the logarithm of what was seen, with weight -1
        assert MODEL.chance_of_bad(evidence) == pytest.approx(odds / (1.0 + odds))
        assert MODEL.chance_of_bad(replace(evidence, seen_fraction=0.1)) > 0.85

    def test_a_record_comes_back(self):
        assert ErrorModel.from_record(MODEL.record()) == MODEL
        assert len(MODEL.vertex) == len(VERTEX_FEATURES)
        assert len(MODEL.object) == len(MODEL.doubt) == len(OBJECT_FEATURES)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"vertex": [1.0]}, r"has \(1, 9, 9\) weights"),
            ({"limit": float("nan")}, "finite: False"),
            ({"coverage": [[0.9, 0.8], [0.8, 0.9]]}, "ascending"),
            ({"strange": 1.0}, "strange"),
            ({"vertex": "wrong"}, "wrong"),
        ],
    )
    def test_a_damaged_record_is_refused(self, change, said):
        with pytest.raises(ValueError, match=said):
            ErrorModel.from_record({**MODEL.record(), **change})

    def test_the_order_of_errors_is_scored_between_chance_and_the_best(self):
        true = np.random.default_rng(0).exponential(size=5000)
        assert sparsification_gain(true, 3.0 * true) == pytest.approx(1.0)
        assert sparsification_gain(true, np.random.default_rng(1).random(5000)) == pytest.approx(0.0, abs=0.05)
        assert sparsification_gain(true, -true) < -0.5


def plate_subject(softness=0.001, hidden=0.2) -> Subject:
    """A plate of 60 x 40 x 8 mm, seen from above; its conservative mesh is half as large again."""
    mesh = trimesh.creation.box((0.06, 0.04, 0.008)).subdivide().subdivide()
    wide = mesh.copy()
    wide.apply_scale([1.5, 1.0, 1.0])
    above = mesh.vertices[:, 2] > 0.0039
    flat = np.full(len(mesh.vertices), softness)
    distance = np.where(above, 0.0, 0.008)
    return Subject(
        mesh=mesh,
        coarse_mesh=mesh,
        conservative_mesh=wide,
        seen=mesh.vertices[above] + [0.0, 0.0, 0.001],
        free=[],
        frame=UnitFrame(np.eye(3), np.zeros(3), 0.1),
        vertices=VertexEvidence(distance, flat, flat, flat, 0.1),
        confidence=np.where(above, 1.0, hidden).astype(np.float32),
    )


class TestAccount:
    def test_the_object_is_described_by_its_surface(self):
        subject = plate_subject()
        faces, areas = subject.mesh.faces, subject.mesh.area_faces
        error = np.where(subject.mesh.vertices[:, 0] > 0.0, 0.004, 0.001)
        evidence = subject.evidence(error, 0.0012)
        assert evidence.error == pytest.approx(np.average(error[faces].mean(axis=1), weights=areas))
        top = (subject.mesh.triangles_center[:, 2] > 0.0) & (subject.confidence[faces].mean(axis=1) > 0.5)
        assert evidence.seen_fraction == subject.seen_fraction == pytest.approx(areas[top].sum() / areas.sum())
        assert (evidence.softness, evidence.scale, evidence.fit) == (0.001, 0.1, 0.0012)
        assert evidence.spread == pytest.approx(0.5)
        assert evidence.points == len(subject.seen)
        assert evidence.thickness == pytest.approx(2.0 * 0.06 * 0.04 * 0.008 / (2 * (2400 + 480 + 320) * 1e-6))

    def test_an_object_that_may_be_bad_is_doubted_in_so_many_words(self):
        doubting = replace(MODEL, doubt=[np.log(0.25), *[0.0] * 8], limit=0.15)  # odds of 1 to 4
        _, trust = assess(plate_subject(), doubting, 0.95)
        assert not trust.reliable
        assert trust.reason == "its error is over 8 mm with a chance of 20.0 %, which is above 15.0 %"
        _, trust = assess(plate_subject(), replace(doubting, limit=0.25), 0.95)
        assert (trust.reliable, trust.reason) == (True, "")

    def test_what_is_unusual_about_it_is_said_of_a_doubted_object_only(self):
        subject = plate_subject(softness=0.006, hidden=0.0)
        thin = replace(
            subject, mesh=subject.mesh.copy().apply_scale([1.0, 1.0, 0.5]), confidence=0.2 * subject.confidence
        )
        _, trust = assess(thin, replace(MODEL, limit=-1.0), 0.95)
        assert trust.reason.endswith(
            "above -100.0 %: 0 % of its surface was seen, its walls are 3.4 mm thin, "
            "the network is not sure where it ends (to 6.0 mm)"
        )
        _, trust = assess(thin, replace(MODEL, limit=2.0), 0.95)
        assert (trust.reliable, trust.reason) == (True, "")

    def test_a_limit_of_its_own_goes_by_the_expected_error(self):
        constant = replace(MODEL, object=[np.log(0.003), *[0.0] * 8], limit=-1.0)
        error, trust = assess(plate_subject(), constant, 0.9, limit=0.0025)
        assert (trust.reliable, trust.reason) == (False, "expected error 3.0 mm is above 2.5 mm")
        assert (trust.expected_error, trust.coverage) == (pytest.approx(0.003), 0.9)
        assert trust.seen_distance == pytest.approx(0.001, abs=1e-6)
        np.testing.assert_allclose(np.unique(error), [0.001 - 0.0003, 0.009 - 0.0003], rtol=1e-5)
        _, trust = assess(plate_subject(), constant, 0.9, limit=0.0035)
        assert (trust.reliable, trust.reason) == (True, "")

    def test_without_measured_errors_nothing_is_expected_and_the_next_view_goes_by_what_was_not_seen(self):
        subject = plate_subject()
        sideways = np.maximum(subject.mesh.vertices[:, 1], 0.0)
        subject = replace(subject, vertices=replace(subject.vertices, distance=sideways))
        error, trust = assess(subject, None, 0.95)
        assert np.isnan(error).all()
        assert np.isnan(trust.expected_error)
        assert (trust.reliable, trust.reason) == (True, "nobody measured this network's errors")
        assert trust.next_view[1] > 0.2

    def test_of_an_object_that_nobody_measured_only_a_doubt_is_known(self):
        view = NextView(np.array([0.0, 0.0, 1.0]), 0.4)
        trust = Trust.unknown(0.95, view)
        assert (trust.reliable, trust.reason) == (True, "nobody measured this network's errors")
        assert (trust.free_fraction, trust.coverage, trust.next_view_gain) == (0.0, 0.95, 0.4)
        trust = Trust.unknown(0.95, view, "too large")
        assert (trust.reliable, trust.reason) == (False, "too large")


class TestNextView:
    def test_it_looks_at_the_side_that_is_uncertain(self):
        mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.05)
        for axis in ([1.0, 0.0, 0.0], [0.0, -1.0, 0.0]):
            error = np.maximum(mesh.vertices @ axis, 0.0)
            view = suggest_view(mesh, error, np.eye(3))
            assert view.direction @ axis > 0.85
            assert view.gain > 0.8

    def test_what_hides_itself_does_not_count(self):
        floor = trimesh.creation.box((0.1, 0.1, 0.01))
        wall = trimesh.creation.box((0.01, 0.1, 0.2))
        wall.apply_translation([0.045, 0.0, 0.1])
        mesh = trimesh.util.concatenate([floor, wall]).subdivide().subdivide().subdivide()
        # Only what faces the wall from the inner side is uncertain: it cannot be seen from behind the wall.
        error = (np.abs(mesh.vertices[:, 0] - 0.04) < 1e-6).astype(float)
        view = suggest_view(mesh, error, np.eye(3))
        assert view.direction[0] < -0.2

    def test_it_is_in_the_frame_of_the_mesh(self):
        turn = trimesh.transformations.rotation_matrix(2.0, [1.0, 2.0, 3.0])[:3, :3]
        mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.05)
        error = np.maximum(mesh.vertices @ [1.0, 0.0, 0.0], 0.0)
        mesh.vertices = mesh.vertices @ turn.T
        view = suggest_view(mesh, error, turn.T)
        assert view.direction @ turn[:, 0] > 0.85

    def test_the_gain_is_the_share_of_the_error_that_can_be_seen(self):
        box = trimesh.creation.box((0.06, 0.06, 0.06)).subdivide().subdivide().subdivide()
        back = (box.vertices[:, 0] < -0.0299).astype(float)
        assert 0.8 < suggest_view(box, back, np.eye(3)).gain <= 1.0  # all but what the rims share with other sides
        both = (np.abs(box.vertices[:, 0]) > 0.0299).astype(float)
        assert suggest_view(box, both, np.eye(3)).gain == pytest.approx(0.5, abs=0.12)

    def test_without_doubt_there_is_nothing_to_gain(self):
        mesh = trimesh.creation.icosphere(subdivisions=2)
        assert suggest_view(mesh, np.zeros(len(mesh.vertices)), np.eye(3)).gain == 0.0
