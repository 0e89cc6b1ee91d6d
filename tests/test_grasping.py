"""Grasps on shapes whose answer is known: across, from above, in hollows, clear of table and neighbours, or none."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from onet_ros.grasping import Grasp, GraspScene, GraspSettings, Gripper, sample_grasps
from onet_ros.grasping.room import touches
from onet_ros.grasping.sampler import PARTS
from onet_ros.learning.evaluation_data import Frame, Truth
from onet_ros.learning.grasp_scores import collides, fits, held, score, summary
from onet_ros.learning.trust_scores import Seen
from onet_ros.ray_casting import RayScene
from onet_ros.scene import PointCloud, SeenObject, SupportPlane

TABLE = np.array([0.0, 0.0, 1.0, 0.0])
SETTINGS = GraspSettings()


def on_table(mesh: trimesh.Trimesh, *at: float) -> trimesh.Trimesh:
    mesh.apply_translation([*(at or (0.0, 0.0)), -mesh.bounds[0, 2]])
    return mesh


def scene(mesh: trimesh.Trimesh, **others) -> GraspScene:
    known = {"confidence": np.ones(len(mesh.vertices)), "error": np.full(len(mesh.vertices), np.nan), "table": TABLE}
    return GraspScene(mesh, **{**known, **others})


def cylinder(radius: float, height: float) -> trimesh.Trimesh:
    return trimesh.creation.cylinder(radius=radius, height=height, sections=48)


def block() -> trimesh.Trimesh:
    """50 x 200 x 60 mm: only its short side fits between the fingers."""
    return on_table(trimesh.creation.box((0.05, 0.2, 0.06)).subdivide().subdivide().subdivide())


class TestGrasps:
    def test_a_block_is_taken_across_its_short_side(self):
        grasps = sample_grasps(scene(block()))
        assert len(grasps) >= 5
        for grasp in grasps:
            closing = grasp.T_source_gripper[:3, 0]
            assert abs(closing[0]) > np.cos(np.arctan(SETTINGS.friction))
            assert 0.05 <= grasp.width < 0.06
            np.testing.assert_allclose(np.sort(grasp.contacts[:, 0]), [-0.025, 0.025], atol=1e-5)
            np.testing.assert_allclose(np.abs(grasp.normals[:, 0]), 1.0, atol=1e-3)
            assert 0.0 < grasp.quality <= 1.0
        assert [grasp.quality for grasp in grasps] == sorted((grasp.quality for grasp in grasps), reverse=True)
        # The best hold of a long block is in its middle, and from above.
        assert abs(grasps[0].T_source_gripper[1, 3]) < 0.05

    def test_the_frame_is_the_one_that_is_told(self):
        for grasp in sample_grasps(scene(block())):
            rotation = grasp.T_source_gripper[:3, :3]
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(rotation) == pytest.approx(1.0)
            between = np.diff(grasp.contacts, axis=0)[0]
            assert abs(between @ rotation[:, 0]) == pytest.approx(grasp.width, rel=1e-6)
            tip = grasp.T_source_gripper[:3, 3] - grasp.contacts.mean(axis=0)
            beyond = tip @ rotation[:, 2]
            np.testing.assert_allclose(tip, beyond * rotation[:, 2], atol=1e-9)
            assert -1e-9 <= beyond <= SETTINGS.tip + 1e-9

    def test_fingertips_go_less_far_beyond_the_contacts_where_the_table_is_near(self):
        flat = on_table(trimesh.creation.box((0.05, 0.12, 0.014)).subdivide().subdivide().subdivide().subdivide())
        grasps = sample_grasps(scene(flat), GraspSettings(clearance=0.002))
        assert grasps
        lowest = [grasp.T_source_gripper[2, 3] for grasp in grasps if grasp.T_source_gripper[2, 2] < -0.999]
        assert lowest
        assert min(lowest) > 0.002
        assert min(lowest) < 0.007 - 1e-3  # still beyond contacts in the middle of the side

    def test_the_gripper_opens_as_far_as_there_is_room(self):
        alone = sample_grasps(scene(block()))
        assert max(grasp.opening for grasp in alone) == pytest.approx(SETTINGS.max_opening)
        post = cylinder(0.005, 0.05)  # an open finger would go around it, and meet it when it closes
        post.apply_translation((0.037, 0.0, 0.025))
        grasps = sample_grasps(scene(block(), obstacles=[post]))
        assert grasps
        beside = [grasp for grasp in grasps if abs(grasp.T_source_gripper[1, 3]) < 0.011]
        assert all(grasp.T_source_gripper[2, 2] > -0.9 or grasp.T_source_gripper[2, 3] > 0.05 for grasp in beside)

    def test_what_is_too_wide_has_none(self):
        assert sample_grasps(scene(on_table(trimesh.creation.box((0.2, 0.2, 0.2)).subdivide()))) == []

    def test_a_plate_that_lies_flat_has_none_because_of_the_table(self):
        assert sample_grasps(scene(on_table(trimesh.creation.box((0.3, 0.3, 0.004)).subdivide()))) == []

    def test_a_cup_too_wide_to_be_held_around_is_held_by_its_wall(self):
        cup = on_table(trimesh.creation.annulus(0.045, 0.05, 0.07, sections=48).subdivide())
        grasps = sample_grasps(scene(cup))
        assert grasps
        for grasp in grasps:
            assert grasp.width < 0.01
            assert grasp.T_source_gripper[:3, 2] @ [0, 0, 1] < 0.3  # one finger reaches in from above

    def test_nothing_touches_the_table_the_object_or_its_neighbours(self):
        wall = trimesh.creation.box((0.02, 0.3, 0.05))  # a finger fits between, and the hand stays over both
        wall.apply_translation([0.06, 0.0, 0.025])
        grasps = sample_grasps(scene(block(), obstacles=[wall]))
        assert grasps
        points = np.concatenate([trimesh.sample.sample_surface(m, 5000, seed=1)[0] for m in (block(), wall)])
        for grasp in grasps:
            assert grasp.width + 2.0 * SETTINGS.clearance <= grasp.opening + 1e-9
            assert grasp.opening <= SETTINGS.max_opening
            lower, upper = Gripper(SETTINGS).boxes(np.array([grasp.opening]))
            shrunk = 0.0015  # between the points that were looked at
            frame = grasp.T_source_gripper[None]
            assert not touches(points.astype(np.float32), frame, lower + shrunk, upper - shrunk)[0]
        higher = trimesh.creation.box((0.02, 0.3, 0.2))
        higher.apply_translation([0.06, 0.0, 0.1])
        assert sample_grasps(scene(block(), obstacles=[higher])) == []  # no hand fits beside that

    def test_contacts_that_were_seen_count_for_more(self):
        box = block()
        seen_front = (box.vertices[:, 1] > 0.0).astype(float)
        sure = sample_grasps(scene(box, confidence=seen_front))
        assert np.mean([grasp.contacts[:, 1].mean() for grasp in sure[:5]]) > 0.0
        assert sure[0].confidence.min() > 0.5
        by_error = sample_grasps(scene(box, error=np.where(box.vertices[:, 1] > 0.0, 0.01, 0.0005)))
        assert np.mean([grasp.contacts[:, 1].mean() for grasp in by_error[:5]]) < 0.0

    def test_a_ball_is_taken_through_its_middle(self):
        radius = 0.03
        ball = on_table(trimesh.creation.icosphere(subdivisions=4, radius=radius))
        grasps = sample_grasps(scene(ball))
        assert len(grasps) >= 5
        # Both normals are radial, and the line between the contacts leans by as much in both cones: it passes the
        # middle by r sin(atan(friction)) at most, and is a chord of that distance.
        farthest = radius * np.sin(np.arctan(SETTINGS.friction))
        for grasp in grasps:
            line = grasp.T_source_gripper[:3, 0]
            to_middle = np.array([0.0, 0.0, radius]) - grasp.contacts[0]
            off = np.linalg.norm(to_middle - (to_middle @ line) * line)
            assert off <= farthest + 1e-3
            assert grasp.width == pytest.approx(2.0 * np.sqrt(radius**2 - off**2), abs=1e-3)

    def test_a_standing_can_is_taken_across_or_by_its_ends_but_not_from_below(self):
        can = on_table(trimesh.creation.cylinder(radius=0.025, height=0.07, sections=64).subdivide().subdivide())
        grasps = sample_grasps(scene(can))
        assert len(grasps) >= 5
        for grasp in grasps:
            assert abs(grasp.T_source_gripper[2, 0]) < 0.5  # along its axis the lower finger would be in the table
            assert grasp.width == pytest.approx(0.05, rel=0.12)

    def test_a_mug_is_held_by_its_wall_or_its_handle(self):
        body = trimesh.creation.annulus(0.042, 0.046, 0.09, sections=48)
        handle = trimesh.creation.torus(0.025, 0.005, major_sections=32, minor_sections=12)
        handle.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2.0, (1, 0, 0)))
        handle.apply_translation((0.06, 0.0, 0.0))
        mug = trimesh.boolean.union([body, handle.difference(cylinder(0.0425, 0.2))], engine="manifold")
        mug = on_table(mug.subdivide_to_size(0.006))
        assert mug.is_watertight
        grasps = sample_grasps(scene(mug))
        assert grasps
        assert max(grasp.width for grasp in grasps) < 0.02  # 92 mm across do not go in

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"confidence": np.ones(3)}, r"confidence must have shape \(\d+,\), got \(3,\)"),
            ({"error": np.ones((2, 2))}, r"error must have shape \(\d+,\), got \(2, 2\)"),
            (
                {"table": np.array([0.0, 0.0, 2.0, 0.0])},
                r"table must be a unit normal and an offset, got \[0.0, 0.0, 2.0",
            ),
            ({"table": np.full(4, np.nan)}, r"table must be a unit normal and an offset, got \[nan"),
        ],
    )
    def test_what_does_not_fit_together_is_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            scene(block(), **changes)

    def test_bad_confidence_and_broken_meshes_are_refused(self):
        box = block()
        with pytest.raises(ValueError, match="confidence must lie between 0 and 1, got nan"):
            scene(box, confidence=np.full(len(box.vertices), np.nan))
        with pytest.raises(ValueError, match=r"between 0 and 1, got 2\.0 to 2\.0"):
            scene(box, confidence=np.full(len(box.vertices), 2.0))
        with pytest.raises(ValueError, match="got 0 faces"):
            scene(trimesh.Trimesh())
        vertices = np.array(box.vertices)
        vertices[7] = np.nan
        with pytest.raises(ValueError, match=r"1 of \d+ vertices that are not finite"):
            scene(trimesh.Trimesh(vertices, box.faces, process=False))

    def test_quality_is_the_product_of_its_parts_and_the_approach_can_be_chosen(self):
        tall = on_table(trimesh.creation.box((0.05, 0.05, 0.1)).subdivide().subdivide().subdivide())
        best = {}
        for approach in ("above", "side"):
            grasps = sample_grasps(scene(tall), GraspSettings(approach=approach))
            for grasp in grasps:
                assert set(grasp.parts) == set(PARTS)
                assert all(0.0 <= value <= 1.0 for value in grasp.parts.values())
                assert grasp.quality == pytest.approx(np.prod(list(grasp.parts.values())))
            best[approach] = -grasps[0].T_source_gripper[2, 2]  # 1 from above, 0 from the side
        assert best["above"] > 0.95
        assert best["side"] < 0.05
        with pytest.raises(ValueError, match="approach must be one of above, side, any, got 'below'"):
            GraspSettings(approach="below")

    @pytest.mark.parametrize("held_by", ["across", "wall"])
    def test_balance_goes_by_how_far_the_closing_line_passes_the_centre_of_mass(self, held_by):
        cup = trimesh.creation.annulus(0.045, 0.05, 0.07, sections=48).subdivide()  # lines between its walls are radial
        mesh = block() if held_by == "across" else on_table(cup)
        grasps = sample_grasps(scene(mesh))
        off = []
        for grasp in grasps:
            line, to_mass = grasp.T_source_gripper[:3, 0], mesh.center_mass - grasp.contacts[0]
            off.append(np.linalg.norm(to_mass - (to_mass @ line) * line))
        balance = np.array([grasp.parts["balance"] for grasp in grasps])
        assert len(grasps) >= 5
        assert (np.diff(balance[np.argsort(off)]) <= 1e-6).all()
        nearest = int(np.argmin(off))
        assert off[nearest] < 0.035
        assert balance[nearest] > 0.5  # half the longest extent off would be 0.37

    def test_friction_decides_how_far_sides_may_lean(self):
        # Its sides lean by 34 degrees.
        wedge = on_table(trimesh.creation.cone(radius=0.04, height=0.06, sections=64).subdivide())
        assert sample_grasps(scene(wedge), GraspSettings(friction=0.3, tip=0.001)) == []
        assert sample_grasps(scene(wedge), GraspSettings(friction=1.5, tip=0.001))

    def test_the_same_seed_gives_the_same(self):
        first, second = (sample_grasps(scene(block()), seed=3) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a.T_source_gripper, b.T_source_gripper)

    def test_candidates_are_not_all_the_same(self):
        frames = np.stack([grasp.T_source_gripper for grasp in sample_grasps(scene(block()))])
        gaps = np.linalg.norm(frames[:, None, :3, 3] - frames[None, :, :3, 3], axis=2)
        turned = np.abs(np.einsum("aij,bij->ab", frames[:, :3, [0]], frames[:, :3, [0]])) < 0.9
        turned |= np.einsum("aij,bij->ab", frames[:, :3, [2]], frames[:, :3, [2]]) < 0.9
        assert (turned | (gaps > 0.0099) | np.eye(len(frames), dtype=bool)).all()

    def test_a_bad_setting_is_refused(self):
        with pytest.raises(ValueError, match=r"max_opening must be .*got 3.0"):
            GraspSettings(max_opening=3.0)


class TestClosing:
    """The judges of the scores: closed on a true shape."""

    def grasp(self, *at: float, opening: float = SETTINGS.max_opening) -> Grasp:
        """From above, the contacts 8 mm above the fingertips."""
        frame = np.diag([1.0, -1.0, -1.0, 1.0])
        frame[:3, 3] = at
        contacts = np.array(at) + [[-0.025, 0.0, SETTINGS.tip], [0.025, 0.0, SETTINGS.tip]]
        return Grasp(frame, 0.05, opening, contacts, np.zeros((2, 3)), np.ones(2), 1.0, {})

    def held(self, truth: trimesh.Trimesh, *at: float) -> tuple[bool, bool]:
        """With fingertips, with whole pads."""
        tips, pads = held(RayScene([truth]), [self.grasp(*at)], SETTINGS)
        return bool(tips[0]), bool(pads[0])

    def test_flat_sides_across_each_other_hold_and_an_empty_place_does_not(self):
        assert self.held(block(), 0.0, 0.0, 0.04) == (True, True)
        assert self.held(block(), 0.0, 0.15, 0.04) == (False, False)
        assert self.held(block(), 0.0, 0.0, 0.1) == (False, False)
        assert self.held(block(), 0.06, 0.0, 0.04) == (False, False)  # one finger in the block, nothing between

    def test_a_slope_beyond_the_friction_cone_slips(self):
        ball = trimesh.creation.icosphere(subdivisions=4, radius=0.03)
        assert self.held(ball, 0.0, 0.0, -SETTINGS.tip) == (True, True)
        cone = trimesh.creation.cone(radius=0.04, height=0.06, sections=64)  # its sides lean by 34 degrees
        assert self.held(cone, 0.0, 0.0, 0.02) == (False, False)
        less = trimesh.creation.cone(radius=0.03, height=0.09, sections=64)  # by 18
        assert self.held(less, 0.0, 0.0, 0.02)[0]

    def test_whole_pads_touch_what_stands_out_beside_the_line(self):
        """Two knobs on opposite sides of a wall, at opposite ends of the pads: pads touch only these, and the wall
        turns; fingertips between them touch the wall."""
        wall = trimesh.creation.box((0.008, 0.2, 0.06))
        knobs = [trimesh.creation.icosphere(subdivisions=3, radius=0.005) for _ in range(2)]
        for knob, side in zip(knobs, (-1.0, 1.0), strict=True):
            knob.apply_translation((0.004 * side, 0.009 * side, 0.0))
        grasps = [self.grasp(0.0, 0.0, -SETTINGS.tip)]
        assert held(RayScene([wall]), grasps, SETTINGS)[1].all()
        assert held(RayScene([wall, knobs[0]]), grasps, SETTINGS)[1].all()  # the other pad is flat against the wall
        tips, pads = held(RayScene([wall, *knobs]), grasps, SETTINGS)
        assert tips.all()
        assert not pads.any()

    def test_fingers_in_the_object_and_under_the_table_are_collisions(self):
        points = trimesh.sample.sample_surface(block(), 4000, seed=0)[0].astype(np.float32)
        plane = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0)
        assert not collides(points, plane, self.grasp(0.0, 0.0, 0.03), SETTINGS)
        assert collides(points, plane, self.grasp(0.02, 0.0, 0.03), SETTINGS)
        assert collides(points, plane, self.grasp(0.0, 0.0, 0.03, opening=0.045), SETTINGS)
        assert collides(points, plane, self.grasp(0.0, 0.0, -0.001), SETTINGS)

    def test_what_is_wider_than_the_gripper_opens_does_not_fit(self):
        assert fits(block(), SETTINGS)
        assert not fits(trimesh.creation.box((0.08, 0.08, 0.08)), SETTINGS)

    def test_scores_and_their_table(self):
        points = np.array([[0.0, 0.0, 0.06], [0.02, 0.0, 0.06], [0.0, 0.05, 0.06]])
        plane = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0)
        truth = Truth("block", block(), False, np.arange(3))
        frame = Frame("views", "block", PointCloud.from_points(points.astype(np.float32)), plane, [truth])
        one = Seen("block", frame, SeenObject.on_plane(points, plane, (0, 0, 0.5), ()), block(), False)
        good, bad = self.grasp(0.0, 0.0, 0.03), self.grasp(0.0, 0.15, 0.03)
        scores = score(one, "completed mesh", True, [good, bad], SETTINGS)
        assert scores.tips.tolist() == scores.pads.tolist() == [True, False]
        assert not scores.colliding.any()
        text = summary([scores, score(one, "table hull", False, [], SETTINGS)])
        assert "| completed mesh | 1 | 0 | 2 | 50.0 % | 50.0 % | 100.0 % | 50.0 % | 0.0 % |" in text
        assert "| completed mesh, reliable objects | 1 | 0 | 2 |" in text
        assert "| table hull | 1 | 1 | 0 |" in text
        assert "| table hull, reliable objects | 0 | 0 | 0 |" in text

    def test_neighbours_in_the_true_image_are_collisions(self):
        beside = trimesh.creation.box((0.02, 0.3, 0.2))
        beside.apply_translation((0.045, 0.0, 0.1))
        points = np.array([[0.0, 0.0, 0.06], [0.02, 0.0, 0.06], [0.0, 0.05, 0.06]])
        plane = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0)
        truths = [Truth("block", block(), False, np.arange(3)), Truth("wall", beside, False, np.arange(0))]
        frame = Frame("scenes", "two", PointCloud.from_points(points.astype(np.float32)), plane, truths)
        one = Seen("block", frame, SeenObject.on_plane(points, plane, (0, 0, 0.5), ()), block(), False)
        scores = score(one, "completed mesh", True, [self.grasp(0.0, 0.0, 0.03)], SETTINGS)
        assert scores.tips.all()
        assert scores.colliding.all()
