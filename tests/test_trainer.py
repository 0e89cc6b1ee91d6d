"""The trainer, end to end on a tiny world: learns, keeps, stops and goes on exactly."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from onet_ros.learning.pool import SamplePool
from onet_ros.learning.trainer import Trainer, learning_rate_at
from onet_ros.learning.training_settings import NetworkSettings, TrainingSettings, load_training_settings
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
    train_step, calls = cut._train_step, []

    def dies(batch):
        if len(calls) == 5:  # after the checkpoint of step 4
            raise KeyboardInterrupt
        calls.append(1)
        return train_step(batch)

    cut._train_step = dies
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    resumed = Trainer(TINY, tmp_path / "cut")
    resumed.run()
    assert resumed.step == 6
    whole, again = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_training_lowers_the_loss(tmp_path):
    settings = dataclasses.replace(
        TINY, steps=60, learning_rate=5e-3, validate_every=30, batch_size=8, steps_per_chunk=30, ema=0.9
    )
    trainer = Trainer(settings, tmp_path)
    trainer.run()
    assert trainer.history[1]["loss"] < trainer.history[0]["loss"] < 0.69  # ln 2 is what knowing nothing costs


def test_a_full_disk_leaves_the_last_good_state(tmp_path, monkeypatch):
    trainer = Trainer(dataclasses.replace(TINY, steps=2), tmp_path)
    trainer.run()
    before = (tmp_path / "last.pt").read_bytes()

    def full_disk(_, path):
        path.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        trainer._save()
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not (tmp_path / "last.pt.new").exists()


def test_the_pool_goes_on_where_it_was():
    def pool(first):
        return SamplePool(0, WORLD, chunk_size=6, chunks_kept=2, steps_per_chunk=2, first_step=first)

    straight = pool(0)
    for step in range(7):
        expected = straight.batch(step, 4, (8, 16), 10)
    resumed = pool(6).batch(6, 4, (8, 16), 10)
    assert torch.equal(expected.queries, resumed.queries)
    assert torch.equal(expected.observation.points, resumed.observation.points)


def test_chunks_made_by_worker_processes_are_the_same():
    def first_batch(workers):
        pool = SamplePool(0, WORLD, chunk_size=6, chunks_kept=2, steps_per_chunk=2, last_step=4, workers=workers)
        return pool.batch(0, 4, (8, 16), 10)

    assert torch.equal(first_batch(0).queries, first_batch(1).queries)


def test_the_learning_rate_rises_holds_and_falls():
    settings = dataclasses.replace(TINY, steps=100, warmup=10, cooldown=0.3, learning_rate=1.0)
    rates = [learning_rate_at(step, settings) for step in range(100)]
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
