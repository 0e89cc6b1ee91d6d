"""Checkpoints: they carry all that is needed, load without pickle, and refuse what is broken with its name."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from onet_ros.networks import (
    Checkpoint,
    CheckpointError,
    Observation,
    OccupancyNetwork,
    load_checkpoint,
    save_checkpoint,
)
from onet_ros.networks.checkpoint import CONFIG_FILE, WEIGHTS_FILE

SIZES = ({"hidden_size": 8, "code_size": 4}, {"code_size": 4, "hidden_size": 8})


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    network = OccupancyNetwork("pointnet_cbn", *SIZES)
    save_checkpoint(tmp_path / "model", Checkpoint(network, 64, 0.35, {"data": "none"}))
    return tmp_path / "model"


def logits(network):
    seen = Observation(torch.ones(1, 9, 3), torch.zeros(1, 0, 3), torch.ones(1, 3), torch.ones(1))
    return network.eval()(seen, torch.linspace(0, 1, 15).view(1, 5, 3))


def test_a_saved_network_comes_back_with_its_configuration(folder):
    loaded = load_checkpoint(folder)
    torch.manual_seed(0)
    torch.testing.assert_close(logits(loaded.network), logits(OccupancyNetwork("pointnet_cbn", *SIZES)))
    assert (loaded.observation_points, loaded.threshold, loaded.training) == (64, 0.35, {"data": "none"})
    assert not loaded.network.training


def test_half_precision_weights_come_back_as_float32(folder):
    loaded = load_checkpoint(folder)
    save_checkpoint(folder, loaded, dtype=torch.float16)
    again = load_checkpoint(folder)
    assert all(p.dtype == torch.float32 for p in again.network.parameters())
    torch.testing.assert_close(logits(again.network), logits(loaded.network), atol=1e-2, rtol=1e-2)


def test_a_checkpoint_from_before_there_were_frames_is_one_of_the_unit_frame(folder):
    config = json.loads((folder / CONFIG_FILE).read_text())
    del config["network"]["frame"]
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    assert load_checkpoint(folder).network.frame == "unit"


def test_the_frame_of_a_network_comes_back(tmp_path):
    network = OccupancyNetwork("pointnet_cbn", *SIZES, frame="camera")
    save_checkpoint(tmp_path, Checkpoint(network, 64, 0.35))
    assert load_checkpoint(tmp_path).network.frame == "camera"


def test_the_configuration_is_readable_json(folder):
    assert json.loads((folder / CONFIG_FILE).read_text())["network"]["architecture"] == "pointnet_cbn"


def edit(path, **changes):
    config = json.loads(path.read_text())
    config.update(changes)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "99"),
        ({"threshold": 1.5}, "1.5"),
        ({"threshold": "high"}, "'high'"),
        ({"observation_points": 0}, "must be positive for a network that observes points, found 0"),
        ({"observation_points": -3}, "-3"),
        ({"network": {"architecture": "gan", "encoder": {}, "decoder": {}}}, "'gan'"),
        ({"network": {"architecture": "pointnet_cbn"}}, "encoder"),
    ],
)
def test_a_wrong_configuration_is_refused_with_what_is_wrong(folder, change, message):
    edit(folder / CONFIG_FILE, **change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere")


def test_missing_weights_are_named(folder):
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(CheckpointError, match=WEIGHTS_FILE):
        load_checkpoint(folder)


def test_configuration_that_is_no_json_is_refused(folder):
    (folder / CONFIG_FILE).write_bytes(b"\xff{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        load_checkpoint(folder)


@pytest.mark.parametrize("keep", [0, 5, 200])
def test_truncated_weights_are_refused(folder, keep):
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="corrupt"):
        load_checkpoint(folder)


def test_a_pickle_in_place_of_the_weights_is_not_executed(folder, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    torch.save(Bomb(), folder / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match="corrupt"):
        load_checkpoint(folder)
    assert not (tmp_path / "executed").exists()


def test_weights_of_another_architecture_are_refused(folder):
    edit(folder / CONFIG_FILE, network={"architecture": "pointnet_cbn", "encoder": {}, "decoder": {}})
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(folder)


def test_weights_that_are_not_numbers_are_refused(folder):
    state = load_file(folder / WEIGHTS_FILE)
    state["encoder.fc_pos.bias"][0] = float("nan")
    save_file(state, folder / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match=r"encoder\.fc_pos\.bias"):
        load_checkpoint(folder)


def test_a_save_that_fails_leaves_the_last_good_checkpoint(folder, monkeypatch):
    before = logits(load_checkpoint(folder).network)

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onet_ros.networks.checkpoint.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(folder, Checkpoint(OccupancyNetwork("pointnet_cbn", *SIZES), 32, 0.5))
    torch.testing.assert_close(logits(load_checkpoint(folder).network), before)
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
