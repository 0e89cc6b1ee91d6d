"""A user's own objects, from mesh files to training: what is prepared, said and refused, and how runs mix them in."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import trimesh
from test_trainer import TINY, WORLD, weights

from onet_ros.cli import main
from onet_ros.learning.object_intake import IntakeSettings, add_objects
from onet_ros.learning.own_objects import Manifest, OwnObjects
from onet_ros.learning.pool import SamplePool
from onet_ros.learning.run_folder import RunError
from onet_ros.learning.source import PointSource
from onet_ros.learning.trainer import Trainer

SETTINGS = IntakeSettings(views=3, world=dataclasses.replace(WORLD, families=None))
BOX = trimesh.creation.box((0.1, 0.06, 0.04))
BALL = trimesh.creation.icosphere(subdivisions=3, radius=0.04)


def add(source, out, settings=SETTINGS, **changes):
    said = []
    report = add_objects(source, out, dataclasses.replace(settings, **changes), tell=said.append, progress=False)
    return report, said


@pytest.fixture(scope="module")
def mixed_folder(tmp_path_factory):
    """Good and bad files together."""
    folder = tmp_path_factory.mktemp("meshes")
    (folder / "more").mkdir()
    BOX.export(folder / "thing.stl")
    millimetres = BALL.copy()
    millimetres.apply_scale(2500.0)
    millimetres.export(folder / "more" / "thing.ply")  # the same name, another object
    BOX.export(folder / "again.stl")  # the same object, another name
    lidless = BOX.copy()
    lidless.update_faces(lidless.face_normals[:, 2] < 0.9)
    lidless.export(folder / "open.ply")
    point = BOX.copy()
    point.apply_scale(0.0)
    point.export(folder / "zero.obj")
    (folder / "corrupt.glb").write_bytes(b"glTF and then nothing of the kind")
    return folder


@pytest.fixture(scope="module")
def prepared(mixed_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("own")
    report, said = add(mixed_folder, out)
    return out, report, said


def test_every_file_is_an_object_a_repetition_or_refused_with_the_reason(prepared, mixed_folder):
    out, report, said = prepared
    assert [entry.name for entry in report.added] == ["again", "thing"]
    assert report.already_there == ["thing.stl"]
    assert set(report.refused) == {"open.ply", "zero.obj", "corrupt.glb"}
    assert "open: 1 hole, the widest 117 mm across" in report.refused["open.ply"]
    assert "no size" in report.refused["zero.obj"]
    assert "cannot be read as GLB" in report.refused["corrupt.glb"]
    assert len(said) == 6
    refused = Manifest.read(out).refused
    assert refused[str(mixed_folder / "open.ply")] == report.refused["open.ply"]


def test_millimetres_are_noticed_converted_and_said(prepared):
    out, report, said = prepared
    ball = report.added[1]
    assert (ball.unit, ball.metres_per_unit) == ("mm", 0.001)
    np.testing.assert_allclose(ball.size_mm, 200.0, rtol=0.01)
    line = next(text for text in said if text.startswith("more/thing.ply"))
    assert "200 x 200 x 200, taken as millimetres: as metres it would be 200 m long" in line
    assert trimesh.load(ball.mesh_path(out), force="mesh").extents.max() == pytest.approx(0.2, rel=0.01)


def test_files_of_one_name_become_two_objects(tmp_path):
    for place, mesh in (("a", BOX), ("b", BALL)):
        (tmp_path / "in" / place).mkdir(parents=True)
        mesh.export(tmp_path / "in" / place / "my thing.stl")
    report, _ = add(tmp_path / "in", tmp_path / "out", views=1)
    assert [entry.name for entry in report.added] == ["my_thing", "my_thing-2"]
    assert {path.name for path in (tmp_path / "out" / "samples").iterdir()} == {
        "my_thing.safetensors",
        "my_thing-2.safetensors",
    }


def test_the_manifest_says_what_was_done(prepared, mixed_folder):
    out, _, _ = prepared
    manifest = json.loads((out / "manifest.json").read_text())
    entry = manifest["objects"][0]
    assert entry["source"] == str(mixed_folder / "again.stl")
    assert entry["repairs"] == []
    assert (entry["triangles_in_file"], entry["views"], entry["resting_poses"]) == (12, 3, 3)
    assert entry["licence"] == ""


def test_nothing_is_done_twice_and_nothing_old_is_kept(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    BOX.export(source / "thing.stl")
    add(source, out)
    samples = out / "samples" / "thing.safetensors"
    first = samples.read_bytes()

    report, _ = add(source, out, licence="CC0")
    assert (report.added, report.already_there, report.total) == ([], ["thing.stl"], 1)
    assert Manifest.read(out).objects[0].licence == "CC0"

    report, _ = add(source, out, seed=1)  # other views
    assert [entry.name for entry in report.added] == ["thing"]
    assert samples.read_bytes() != first
    add(source, out)
    assert samples.read_bytes() == first

    BALL.export(source / "thing.stl")  # another shape under the same path
    report, _ = add(source, out)
    assert report.total == 1
    assert len(list((out / "samples").iterdir())) == 1


def test_a_folder_of_the_same_names_elsewhere_adds_to_what_is_there(tmp_path):
    for place, mesh in (("a", BOX), ("b", BALL)):
        (tmp_path / place).mkdir()
        mesh.export(tmp_path / place / "thing.stl")
        add(tmp_path / place, tmp_path / "out", views=1)
    assert [entry.name for entry in Manifest.read(tmp_path / "out").objects] == ["thing", "thing-2"]


class TestDrawing:
    def test_samples_come_in_the_shape_of_the_run(self, prepared):
        own = OwnObjects(prepared[0])
        for world in (WORLD, dataclasses.replace(WORLD, queries=200, seen_points=100, background_points=8)):
            samples = own.draw(5, torch.Generator().manual_seed(0), world)
            assert samples.points.shape == (5, world.seen_points, 3)
            assert samples.background.shape == (5, world.background_points, 3)
            assert samples.queries.shape == (5, world.queries, 3)
            assert samples.inside.shape == (5, world.queries)
            assert set(samples.families) <= {"own:again", "own:thing"}

    def test_labels_stay_with_their_queries(self, prepared):
        """The ball is an object whose labels can be checked: inside points lie around one centre."""
        own = OwnObjects(prepared[0])
        samples = own.draw(20, torch.Generator().manual_seed(0), WORLD)
        rows = [i for i, family in enumerate(samples.families) if family == "own:thing"]
        for row in rows:
            inside = samples.queries[row][samples.inside[row]] * samples.scale[row]
            middle = (inside.amin(dim=0) + inside.amax(dim=0)) / 2.0
            outside = samples.queries[row][~samples.inside[row]] * samples.scale[row]
            assert (inside - middle).norm(dim=1).max() < 0.125
            assert (outside - middle).norm(dim=1).min() > 0.075

    def test_each_object_is_as_likely(self, prepared):
        families = OwnObjects(prepared[0]).draw(400, torch.Generator().manual_seed(0), WORLD).families
        assert families.count("own:thing") == pytest.approx(200, abs=40)


class TestTrouble:
    def test_a_folder_that_holds_nothing_prepared(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"holds no prepared objects.*onet data add"):
            OwnObjects(tmp_path)

    def test_a_manifest_of_another_kind(self, tmp_path):
        for text, message in (("{", "not valid JSON"), ('{"format": 9}', "found 9"), ('{"format": 1}', "damaged")):
            (tmp_path / "manifest.json").write_text(text)
            with pytest.raises(ValueError, match=message):
                OwnObjects(tmp_path)

    def test_samples_that_are_gone_or_cut_short(self, tmp_path):
        (tmp_path / "in").mkdir()
        BOX.export(tmp_path / "in" / "thing.stl")
        add(tmp_path / "in", tmp_path / "out", views=1)
        samples = tmp_path / "out" / "samples" / "thing.safetensors"
        samples.write_bytes(samples.read_bytes()[:1000])
        with pytest.raises(ValueError, match=r"thing\.safetensors cannot be read"):
            OwnObjects(tmp_path / "out").draw(1, torch.Generator(), WORLD)
        samples.unlink()
        with pytest.raises(FileNotFoundError, match="lacks the samples of thing"):
            OwnObjects(tmp_path / "out")


class TestCommand:
    def test_it_reports_and_succeeds_when_there_is_something_to_train_on(self, mixed_folder, tmp_path, capsys):
        assert main(["data", "add", str(mixed_folder), "--out", str(tmp_path), "--views", "1"]) == 0
        said = capsys.readouterr()
        assert "2 added, 1 already there, 3 refused; 2 objects in" in said.out
        assert "refused: zero.obj: has no size" in said.err

    @pytest.mark.parametrize("content", [None, "empty", "bad"])
    def test_it_fails_when_there_is_nothing(self, tmp_path, capsys, content):
        source = tmp_path / "in"
        if content is not None:
            source.mkdir()
        if content == "bad":
            (source / "bad.stl").write_bytes(b"")
        assert main(["data", "add", str(source), "--out", str(tmp_path / "out")]) == 1
        expected = {None: "no folder", "empty": "holds no mesh files", "bad": "holds no triangles"}[content]
        assert expected in capsys.readouterr().err


class TestTraining:
    def pool(self, folder, share, first=0):
        own = OwnObjects(folder)
        return SamplePool(0, PointSource(WORLD), 6, 2, 2, first_step=first, own=own, own_share=share)

    def test_the_share_holds_and_the_other_samples_stay_as_they_were(self, prepared):
        plain = SamplePool(0, PointSource(WORLD), 6, 2, 2).batch(0, 64, (16, 16), 32)
        mixed = self.pool(prepared[0], 0.5).batch(0, 64, (16, 16), 32)
        same = [torch.equal(a, b) for a, b in zip(plain.queries, mixed.queries, strict=True)]
        assert 20 < 64 - sum(same) < 44
        none = self.pool(prepared[0], 0.0).batch(0, 64, (16, 16), 32)
        assert torch.equal(none.queries, plain.queries)
        every = self.pool(prepared[0], 1.0).batch(0, 64, (16, 16), 32)
        assert not any(torch.equal(a, b) for a, b in zip(plain.queries, every.queries, strict=True))

    def test_a_run_goes_on_exactly(self, prepared, tmp_path):
        settings = dataclasses.replace(TINY, own_objects=str(prepared[0]), own_share=0.5, cooldown=0.0)
        Trainer(settings, tmp_path / "whole").run()
        Trainer(dataclasses.replace(settings, steps=4), tmp_path / "cut").run()
        Trainer(settings, tmp_path / "cut").run()
        whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
        assert all(torch.equal(whole[name], cut[name]) for name in whole)
        Trainer(dataclasses.replace(settings, own_objects=""), tmp_path / "without").run()
        without = weights(tmp_path / "without")
        assert not all(torch.equal(whole[name], without[name]) for name in whole)

    def test_a_run_does_not_go_on_with_other_objects(self, tmp_path):
        (tmp_path / "in").mkdir()
        BOX.export(tmp_path / "in" / "box.stl")
        add(tmp_path / "in", tmp_path / "own", views=1)
        settings = dataclasses.replace(TINY, own_objects=str(tmp_path / "own"), steps=2)
        Trainer(settings, tmp_path / "run").run()
        BALL.export(tmp_path / "in" / "ball.stl")
        add(tmp_path / "in", tmp_path / "own", views=1)
        with pytest.raises(RunError, match=r"the objects in .*own have changed"):
            Trainer(dataclasses.replace(settings, steps=4), tmp_path / "run").run()

    def test_a_share_out_of_range_is_quoted(self):
        with pytest.raises(ValueError, match=r"own_share must be in \[0, 1\], got 1.5"):
            dataclasses.replace(TINY, own_share=1.5)
