"""Training as processes: a run that is killed, and a run shared by two."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from test_trainer import TINY, weights

import onet_ros
from onet_ros.learning.trainer import Trainer

SOURCES = os.pathsep.join([str(Path(onet_ros.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": SOURCES}


def write_config(path, settings):
    path.write_text(yaml.safe_dump(json.loads(json.dumps(dataclasses.asdict(settings)))))


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    settings = dataclasses.replace(TINY, steps=400, cooldown=0.0, validate_every=400, checkpoint_every=3, workers=1)
    write_config(tmp_path / "run.yaml", settings)
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "onet_ros.cli", "train", "--config", tmp_path / "run.yaml", "--out", folder]
    run = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60.0
        while not (folder / "last.pt").exists():
            assert run.poll() is None, "the run ended before its first checkpoint"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    reached = torch.load(folder / "last.pt", weights_only=True)["step"]
    assert 0 < reached < settings.steps

    last = dataclasses.replace(settings, steps=reached + 4, workers=0)
    Trainer(last, folder).run()
    # Without a descent the learning rate does not depend on the last step.
    straight = Trainer(dataclasses.replace(last, checkpoint_every=10**6), tmp_path / "straight")
    straight.run()
    killed, whole = weights(folder), weights(tmp_path / "straight")
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


TWO_PROCESSES = """
import os, sys
import torch
from onet_ros.learning.trainer import Trainer
from onet_ros.learning.training_settings import load_training_settings

config, folder = sys.argv[1:]
trainer = Trainer(load_training_settings(config), folder)
best = trainer.run()
own = {"weights": trainer.network.state_dict(), "best": best, "written": trainer.history}
torch.save(own, f"{folder}-rank-{os.environ['RANK']}.pt")
"""


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path):
    settings = dataclasses.replace(TINY, steps=4, validate_every=2, checkpoint_every=2, learning_rate=5e-3)
    write_config(tmp_path / "run.yaml", settings)
    (tmp_path / "train.py").write_text(TWO_PROCESSES)
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(tmp_path / "train.py"), str(tmp_path / "run.yaml"), str(folder)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

    first, second = (torch.load(f"{folder}-rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    parameters = dict(Trainer(settings, tmp_path / "unused").network.named_parameters())
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in parameters)
    assert not all(torch.equal(first["weights"][name], value) for name, value in parameters.items())  # it learned
    # Only the first process validates and writes.
    assert second["best"] == {}
    assert second["written"] == []
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert torch.load(folder / "last.pt", weights_only=True)["step"] == 4


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="batch_size 4 cannot be shared out to 3 processes"):
        Trainer(TINY, tmp_path)
