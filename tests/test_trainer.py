"""The trainer, end to end on a tiny world: learns, keeps, stops and goes on exactly."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
import sys

import pytest
import torch

from onet_ros.learning import trainer as trainer_module
from onet_ros.learning.pool import SamplePool
from onet_ros.learning.run_folder import RunError
from onet_ros.learning.source import PointSource
from onet_ros.learning.trainer import Trainer, learning_rate_at
from onet_ros.learning.training_settings import NetworkSettings, TrainingSettings, load_training_settings
from onet_ros.learning.training_speed import measure_speed
from onet_ros.learning.world import WorldSettings
from onet_ros.networks import load_checkpoint

WORLD = WorldSettings(grid=20, queries=128, seen_points=64, background_points=16, families=["soap", "carton"])
TINY = TrainingSettings(
    steps=6,
    batch_size=4,
    queries=64,
    points=(16, 32),
    warmup=2,
    chunk_size=8,
    chunks_kept=2,
    steps_per_chunk=2,
    workers=0,
    validate_every=3,
    checkpoint_every=2,
    validation_samples=8,
    precision="float32",
    threads=1,
    network=NetworkSettings(encoder={"hidden_size": 8, "code_size": 8}, decoder={"code_size": 8, "hidden_size": 8}),
    world=WORLD,
)


def weights(folder):
    return load_checkpoint(folder / "final").network.state_dict()


def test_a_short_run_leaves_usable_checkpoints_and_its_curve(tmp_path):
    best = Trainer(TINY, tmp_path).run()
    assert 0.0 <= best["iou"] <= 1.0
    for name in ("best", "final"):
        checkpoint = load_checkpoint(tmp_path / name)
        assert checkpoint.observation_points == 32
        assert checkpoint.training["settings"]["steps"] == 6
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6]
    assert json.loads((tmp_path / "config.json").read_text())["world"]["grid"] == 20


def test_the_same_seed_gives_the_same_weights(tmp_path):
    for name in ("a", "b"):
        Trainer(TINY, tmp_path / name).run()
    Trainer(dataclasses.replace(TINY, seed=1), tmp_path / "c").run()
    a, b, c = (weights(tmp_path / name) for name in ("a", "b", "c"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


def test_a_run_that_was_cut_off_goes_on_exactly(tmp_path):
    Trainer(TINY, tmp_path / "whole").run()
    cut = Trainer(TINY, tmp_path / "cut")
    train_step, calls = cut.train_step, []

    def dies(batch):
        if len(calls) == 5:  # after the checkpoint of step 4
            raise KeyboardInterrupt
        calls.append(1)
        return train_step(batch)

    cut.train_step = dies
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    resumed = Trainer(TINY, tmp_path / "cut")
    resumed.run()
    assert resumed.step == 6
    whole, again = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_a_run_that_is_done_says_how_it_went_without_making_samples(begun, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("samples made")

    monkeypatch.setattr(trainer_module, "SamplePool", refuse)
    monkeypatch.setattr(trainer_module, "validation_batches", refuse)
    assert Trainer(dataclasses.replace(TINY, steps=2), begun).run()["step"] == 2


def test_a_run_ends_when_its_time_is_up(tmp_path):
    settings = dataclasses.replace(TINY, steps=10**6, time_limit=2.0, validate_every=10**6, checkpoint_every=10**6)
    trainer = Trainer(settings, tmp_path)
    trainer.run()
    assert 2.0 <= trainer.seconds < 30.0
    assert 0 < trainer.step < 10**6
    assert trainer.optimizer.param_groups[0]["lr"] < settings.learning_rate  # on its way down
    assert load_checkpoint(tmp_path / "final").training["validation"]["step"] == trainer.step


def test_training_lowers_the_loss(tmp_path):
    settings = dataclasses.replace(
        TINY, steps=60, learning_rate=5e-3, validate_every=30, batch_size=8, steps_per_chunk=30, ema=0.9
    )
    trainer = Trainer(settings, tmp_path)
    trainer.run()
    assert trainer.history[1]["loss"] < trainer.history[0]["loss"] < 0.69  # ln 2 is what knowing nothing costs


def test_a_write_that_finds_no_room_leaves_the_last_good_state(tmp_path):
    trainer = Trainer(dataclasses.replace(TINY, steps=2), tmp_path)
    trainer.run()
    before = (tmp_path / "last.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*last\.pt\.new, perhaps for want of space"):
            trainer._save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not (tmp_path / "last.pt.new").exists()


def test_a_run_can_begin_with_the_weights_of_another(begun, tmp_path):
    settings = dataclasses.replace(TINY, start_from=str(begun / "final"), steps=1, learning_rate=0.0)
    Trainer(settings, tmp_path / "next").run()
    before, after = weights(begun), weights(tmp_path / "next")
    learned = [name for name in before if "running" not in name and "num_batches" not in name]
    assert learned
    assert all(torch.equal(before[name], after[name]) for name in learned)


def test_a_run_cannot_begin_with_another_architecture(begun, tmp_path):
    other = NetworkSettings("pointnet_cbn", {"hidden_size": 16, "code_size": 8}, TINY.network.decoder)
    with pytest.raises(RunError, match=r"cannot start from .*final: it holds .*'hidden_size': 8.*'hidden_size': 16"):
        Trainer(dataclasses.replace(TINY, network=other, start_from=str(begun / "final")), tmp_path / "next")


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run folder with two steps done."""
    folder = tmp_path_factory.mktemp("begun")
    Trainer(dataclasses.replace(TINY, steps=2), folder).run()
    return folder


class TestRunFolder:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"learning_rate": 1.0}, "learning_rate was 0.0005, now 1.0"),
            ({"world": dataclasses.replace(WORLD, grid=24)}, "world.grid was 20, now 24"),
            (
                {"network": dataclasses.replace(TINY.network, encoder={"hidden_size": 16, "code_size": 8})},
                "network.encoder.hidden_size was 8, now 16",
            ),
            (
                {"network": NetworkSettings("local_planes", {"channels": 4}, {"channels": 4})},
                "network.architecture was 'pointnet_cbn', now 'local_planes'",
            ),
        ],
    )
    def test_other_settings_are_refused_and_named(self, begun, change, message):
        before = (begun / "last.pt").read_bytes()
        with pytest.raises(RunError, match=message):
            Trainer(dataclasses.replace(TINY, **change), begun)
        assert (begun / "last.pt").read_bytes() == before

    def test_a_run_of_before_goes_on_whose_record_names_settings_that_did_nothing(self, begun, tmp_path):
        shutil.copytree(begun, tmp_path / "run")
        record = tmp_path / "run" / "config.json"
        config = json.loads(record.read_text())
        config["world"]["unit_frame"] = True
        del config["network"]["frame"]
        record.write_text(json.dumps(config))
        trainer = Trainer(TINY, tmp_path / "run")
        trainer.run()
        assert trainer.step == TINY.steps

    def test_a_state_of_another_architecture_is_refused(self, begun, tmp_path):
        shutil.copy(begun / "last.pt", tmp_path / "last.pt")  # without the settings it was made with
        wide = NetworkSettings(encoder={"hidden_size": 16, "code_size": 8}, decoder={"code_size": 8, "hidden_size": 8})
        with pytest.raises(RunError, match=r"last\.pt is no state that .*'hidden_size': 16.* can go on from"):
            Trainer(dataclasses.replace(TINY, network=wide), tmp_path).run()

    def test_a_damaged_state_is_refused(self, begun, tmp_path):
        (tmp_path / "last.pt").write_bytes((begun / "last.pt").read_bytes()[:5000])
        with pytest.raises(RunError, match=r"last\.pt is no state"):
            Trainer(TINY, tmp_path).run()

    def test_more_steps_may_be_asked_for(self, begun, tmp_path, capsys):
        folder = tmp_path / "run"
        shutil.copytree(begun, folder)
        Trainer(dataclasses.replace(TINY, steps=4), folder).run()
        assert "steps was 2, now 4" in capsys.readouterr().err
        assert load_checkpoint(folder / "final").training["validation"]["step"] == 4

    def test_what_was_noted_after_the_last_checkpoint_is_not_noted_twice(self, begun, tmp_path):
        folder = tmp_path / "run"
        shutil.copytree(begun, folder)
        with (folder / "history.jsonl").open("a") as log:
            log.write('{"step": 3.0, "iou": 0.9}\n')
        Trainer(dataclasses.replace(TINY, steps=4, validate_every=1), folder).run()
        rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [2, 3, 4]


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    trainer = Trainer(TINY, tmp_path)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(torch.nan)
    with pytest.raises(RunError, match="the loss is nan at step 0"):
        trainer.run()


class TestCurves:
    def test_tensorboard_gets_loss_iou_rate_and_speed(self, tmp_path):
        events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        Trainer(TINY, tmp_path).run()
        found = events.EventAccumulator(str(tmp_path / "curves"))
        found.Reload()
        names = {"loss", "learning_rate", "samples_per_second", "waiting_for_samples", "validation/iou"}
        assert names <= set(found.Tags()["scalars"])
        assert [event.step for event in found.Scalars("validation/iou")] == [3, 6]

    def test_without_tensorboard_a_line_says_so_and_training_goes_on(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        assert Trainer(TINY, tmp_path).run()["step"] in (3, 6)
        assert capsys.readouterr().err.count("no TensorBoard curves") == 1

    def test_the_log_says_how_long_training_waited_for_samples(self, tmp_path):
        Trainer(TINY, tmp_path).run()
        rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
        assert all(0.0 < row["waiting_for_samples"] < 1.0 and row["samples_per_second"] > 0.0 for row in rows)


def test_speed_is_measured_without_leaving_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    speed = measure_speed(TINY, repeats=1)
    assert min(speed.chunk, speed.batch, speed.step) > 0.0
    assert speed.chunk_per_step == pytest.approx(speed.chunk / 2)
    assert f"{speed.chunk_per_step / speed.step:.0%} of the training step" in speed.text(TINY)
    assert not list(tmp_path.iterdir())


def test_the_pool_goes_on_where_it_was():
    def pool(first):
        return SamplePool(0, PointSource(WORLD), chunk_size=6, chunks_kept=2, steps_per_chunk=2, first_step=first)

    straight = pool(0)
    for step in range(7):
        expected = straight.batch(step, 4, (8, 16), 10)
    resumed = pool(6).batch(6, 4, (8, 16), 10)
    assert torch.equal(expected.queries, resumed.queries)
    assert torch.equal(expected.observation.points, resumed.observation.points)


def test_chunks_made_by_worker_processes_are_the_same():
    def first_batch(workers):
        pool = SamplePool(
            0, PointSource(WORLD), chunk_size=6, chunks_kept=2, steps_per_chunk=2, last_step=4, workers=workers
        )
        return pool.batch(0, 4, (8, 16), 10)

    assert torch.equal(first_batch(0).queries, first_batch(1).queries)


def test_the_learning_rate_rises_holds_and_falls():
    settings = dataclasses.replace(TINY, steps=100, warmup=10, cooldown=0.3, learning_rate=1.0)
    rates = [learning_rate_at(step, step / 100, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:70] == [1.0] * 60
    assert rates[99] == pytest.approx(1 / 30)


class TestSettingsFile:
    def test_a_file_holds_what_differs(self, tmp_path):
        path = tmp_path / "run.yaml"
        path.write_text("steps: 12\nlearning_rate: 1e-3\npoints: [64, 128]\nworld: {grid: 32}\n")
        settings = load_training_settings(path, ["batch_size=7", "world.sensor=0.5"])
        assert (settings.steps, settings.learning_rate, settings.points) == (12, 0.001, (64, 128))
        assert (settings.batch_size, settings.world.grid, settings.world.sensor) == (7, 32, 0.5)
        assert settings.queries == TrainingSettings().queries

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("stepps: 3", "stepps"),
            ("world: {gird: 3}", "world.gird"),
            ("steps: many", "steps must be int, got 'many'"),
            ("points: [1, 2, 3]", "points must be 2 values"),
            ("points: [9, 2]", r"\(9, 2\)"),
            ("precision: float8", "'float8'"),
            ("world: 3", "world must be a group"),
            ("[1, 2]", "found list"),
            ("a: b: c", "not valid YAML"),
        ],
    )
    def test_mistakes_are_quoted(self, tmp_path, text, message):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_training_settings(path)

    def test_the_files_in_config_are_valid(self):
        from onet_ros.resources import data_folder

        files = sorted((data_folder("config") / "training").glob("*.yaml"))
        assert files
        for path in files:
            load_training_settings(path)
