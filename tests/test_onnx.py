"""Exported graphs give what the network gives, for any number of objects and points, and only with its weights."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from test_inference import network, observation, queries

from onet_ros.cli import main
from onet_ros.networks import (
    Checkpoint,
    CheckpointError,
    InferenceNetwork,
    load_checkpoint,
    make_engine,
    save_checkpoint,
)
from onet_ros.networks.onnx_engine import DECODER_FILE, ENCODER_FILE, OnnxNetwork, export_onnx
from onet_ros.surface import ExtractionSettings, extract_surfaces

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed")


# An export takes the most part of ten seconds.
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("pointnet_cbn", "resnet_cbn")]


@pytest.fixture(scope="module", params=["local_planes", *SLOW])
def exported(request, tmp_path_factory):
    """Name, folder and checkpoint of a network with its graphs."""
    folder = tmp_path_factory.mktemp(request.param)
    points = 0 if request.param == "resnet_cbn" else 64
    save_checkpoint(folder, Checkpoint(network(request.param), points, 0.5))
    checkpoint = load_checkpoint(folder)
    assert [path.name for path in export_onnx(checkpoint, folder)] == [ENCODER_FILE, DECODER_FILE]
    return request.param, folder, checkpoint


def test_graphs_give_what_the_network_gives_for_any_number_of_objects_and_points(exported):
    name, _, checkpoint = exported
    engine, plain = OnnxNetwork(checkpoint), InferenceNetwork(checkpoint.network, "float32")
    for batch, background, count in ((1, 9, 1), (3, 40, 700), (2, 11, 40_000)):
        seen = observation(name, batch=batch, background=background)
        points, objects = queries(batch, count)
        order = torch.randperm(batch * count, generator=torch.Generator().manual_seed(1))
        points, objects = points.flatten(0, 1)[order], objects[order]
        logits = engine.field(engine.encode(seen))(points, objects)
        expected = plain.field(plain.encode(seen))(points, objects)
        scale = expected if len(expected) > 1 else torch.tensor([0.0, 1.0])
        assert (logits - expected).abs().max() < 1e-4 * scale.std()
    assert engine.field(engine.encode(seen))(points[:0], objects[:0]).shape == (0,)


def test_surfaces_are_the_same_by_either_engine(exported):
    name, _, checkpoint = exported
    seen = observation(name, batch=2)
    boxes = np.tile([-0.6, -0.5, 0.0], (2, 1)), np.tile([0.4, 0.5, 1.0], (2, 1))
    settings = ExtractionSettings(16, 1, min_body_fraction=0.0)
    engines = make_engine(checkpoint, "torch", "float32"), make_engine(checkpoint, "onnxruntime")
    fields = [engine.field(engine.encode(seen)) for engine in engines]
    middle = float(fields[0](torch.rand(500, 3) - 0.5, torch.zeros(500, dtype=torch.int64)).median())
    found = [extract_surfaces(field, *boxes, middle, settings) for field in fields]
    for torch_surface, onnx_surface in zip(*found, strict=True):
        assert torch_surface.mesh.volume == pytest.approx(onnx_surface.mesh.volume, rel=1e-3)


def test_graphs_of_other_weights_are_refused_and_the_mend_is_named(exported, tmp_path):
    _, folder, checkpoint = exported
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    with torch.no_grad():
        next(checkpoint.network.parameters()).add_(0.1)
        save_checkpoint(other, Checkpoint(checkpoint.network, checkpoint.observation_points, 0.5))
        next(checkpoint.network.parameters()).sub_(0.1)
    with pytest.raises(CheckpointError, match=r"made from other weights .*onet export --model"):
        OnnxNetwork(load_checkpoint(other))


def test_missing_and_damaged_graphs_are_named(exported, tmp_path):
    _, folder, _ = exported
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / DECODER_FILE).write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"decoder\.onnx is no graph"):
        OnnxNetwork(load_checkpoint(broken))
    (broken / ENCODER_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"encoder\.onnx is missing.*onet export"):
        OnnxNetwork(load_checkpoint(broken))


def test_the_command_exports_and_says_what_it_cannot(tmp_path, capsys):
    folder = tmp_path / "voxels"
    save_checkpoint(folder, Checkpoint(network("voxel_pyramid"), 0, 0.5))
    assert main(["export", "--model", str(folder)]) == 1
    assert "'voxel_pyramid' cannot be exported" in capsys.readouterr().err


def test_unknown_engines_are_refused():
    with pytest.raises(ValueError, match="torch, onnxruntime, got 'tflite'"):
        make_engine(Checkpoint(network("pointnet_cbn"), 64, 0.5), "tflite")
    with pytest.raises(CheckpointError, match="lies in a folder"):
        make_engine(Checkpoint(network("pointnet_cbn"), 64, 0.5), "onnxruntime")
