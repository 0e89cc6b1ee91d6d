"""Networks by ONNX Runtime: exported once, run wherever it has a provider for (CUDA and TensorRT on a Jetson).

    onet export --model models/default

writes `encoder.onnx` and `decoder.onnx` into the checkpoint's folder. Batch and numbers of points are free. Both carry
the digest of the weights that they were made from, so that weights and graphs cannot drift apart.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onet_ros.networks.checkpoint import WEIGHTS_FILE, Checkpoint, CheckpointError
from onet_ros.networks.observation import AnyObservation, ImageObservation, Observation, VoxelObservation
from onet_ros.networks.occupancy_network import OccupancyNetwork, check_kind
from onet_ros.networks.onnx_graphs import EncoderGraph, graphs_of
from onet_ros.runs import side_by_side

ENCODER_FILE, DECODER_FILE = "encoder.onnx", "decoder.onnx"
DIGEST = "weights_sha256"
PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
MOST_POINTS = 65_536  # of all objects together in one run of the decoder
BATCH, COUNT = 5, 7  # of the example that the graphs are traced with; sizes that nothing else has


def export_onnx(checkpoint: Checkpoint, folder: Path) -> list[Path]:
    """Write the graphs of a checkpoint into a folder, and say which files these are.

    Raises:
        ValueError: an architecture that cannot be exported, or a checkpoint that was not loaded from a folder.
        ImportError: the package onnxscript, which torch exports with, is not installed.
    """
    if checkpoint.folder is None:
        raise ValueError("only a checkpoint that lies in a folder can be exported: its weights' digest goes along")
    network = checkpoint.network.cpu()
    encoder, decoder = graphs_of(network)
    digest = weights_digest(checkpoint.folder)
    example = _example(network)
    with torch.no_grad():
        codes = encoder(*example)
    codes = codes if isinstance(codes, tuple) else (codes,)
    points = torch.zeros(BATCH, COUNT, 3)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / ENCODER_FILE, folder / DECODER_FILE]
    _export(encoder, encoder.inputs, example, encoder.outputs, paths[0], digest)
    _export(decoder, cast(Sequence[str], decoder.inputs), (points, *codes), ["logits"], paths[1], digest)
    return paths


class OnnxNetwork:
    """The functions of an `InferenceNetwork`, by ONNX Runtime; observations, points and logits on the host.

    Args:
        checkpoint: loaded from a folder that holds its graphs.
        threads: of the CPU; 0 leaves the choice to ONNX Runtime.

    Raises:
        CheckpointError: no graphs, or graphs of other weights; says what to do.
        ImportError: the package onnxruntime is not installed.
    """

    precision = "float32"
    device = torch.device("cpu")

    def __init__(self, checkpoint: Checkpoint, threads: int = 0) -> None:
        if checkpoint.folder is None:
            raise CheckpointError("engine onnxruntime needs a checkpoint that lies in a folder")
        self.network = checkpoint.network
        digest = weights_digest(checkpoint.folder)
        self._encoder = _session(checkpoint.folder / ENCODER_FILE, digest, threads)
        self._decoder = _session(checkpoint.folder / DECODER_FILE, digest, threads)
        self.providers: list[str] = self._encoder.get_providers()

    def encode(self, observation: AnyObservation) -> dict[str, NDArray[np.float32]]:
        """The code of B objects: what the decoder takes beside the points, by name."""
        check_kind(self.network, observation)
        inputs = {field.name: getattr(observation, field.name).cpu().numpy() for field in fields(observation)}
        names = [output.name for output in self._encoder.get_outputs()]
        return dict(zip(names, self._encoder.run(None, inputs), strict=True))

    def field(self, code: dict[str, NDArray[np.float32]]) -> OnnxField:
        """The field of the B objects of a code."""
        return OnnxField(self._decoder, code)


class OnnxField:
    """Logits of B objects, an `OccupancyField`; records no gradients."""

    def __init__(self, session: Any, code: dict[str, NDArray[np.float32]]) -> None:
        self._session, self._code = session, code
        self._objects = len(next(iter(code.values())))

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, unit frame, objects: (N,) int64 -> logits (N,) float32."""
        if not len(points):
            return points.new_empty(0)
        table, places = side_by_side(points.detach(), objects, self._objects)
        logits = []
        for part in table.split(max(1, MOST_POINTS // self._objects), dim=1):
            (values,) = self._session.run(None, {"points": part.contiguous().numpy(), **self._code})
            logits.append(torch.from_numpy(values))
        return torch.cat(logits, dim=1).flatten()[places]


def weights_digest(folder: Path) -> str:
    """SHA-256 of the weights in a checkpoint's folder, in hexadecimal digits."""
    return hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()


def _session(path: Path, digest: str, threads: int) -> Any:
    import onnxruntime

    if not path.is_file():
        raise CheckpointError(f"{path} is missing, which engine onnxruntime needs: onet export --model {path.parent}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3  # errors
    available = onnxruntime.get_available_providers()
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=[provider for provider in PROVIDERS if provider in available]
        )
    except Exception as error:  # its exceptions have no base class of their own
        raise CheckpointError(f"{path} is no graph that ONNX Runtime can run: {error}") from error
    found = session.get_modelmeta().custom_metadata_map.get(DIGEST, "none")
    if found != digest:
        raise CheckpointError(
            f"{path} was made from other weights (sha256 {found[:12]}) than those beside it ({digest[:12]}): "
            f"onet export --model {path.parent}"
        )
    return session


def _export(
    graph: nn.Module, inputs: Sequence[str], example: Sequence[Tensor], outputs: Sequence[str], path: Path, digest: str
) -> None:
    dimension = torch.export.Dim.DYNAMIC
    counted = {"points", "background"}  # their second dimension is free as well
    shapes: Any = tuple({0: dimension, 1: dimension} if name in counted else {0: dimension} for name in inputs)
    if isinstance(graph, EncoderGraph):  # which takes them as *tensors
        shapes = (shapes,)
    with _quietly(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            tuple(example),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
        )
    assert program is not None
    program.model.metadata_props[DIGEST] = digest
    new = path.with_name(path.name + ".new")
    program.save(new)
    new.replace(path)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's chatter."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _example(network: OccupancyNetwork) -> tuple[Tensor, ...]:
    """The tensors of an observation of BATCH objects, of the kind that a network is for."""
    generator = torch.Generator().manual_seed(0)
    viewpoint = torch.tensor([4.0, 0.0, 3.0]).repeat(BATCH, 1)
    if network.observes == "points":
        points, background = (torch.rand(BATCH, count, 3, generator=generator) for count in (COUNT, COUNT + 4))
        observation: AnyObservation = Observation(points, background, viewpoint, torch.full((BATCH,), 0.1))
    elif network.observes == "image":
        size = network.config["encoder"].get("image_size", 224)
        observation = ImageObservation(torch.rand(BATCH, 4, size, size, generator=generator), viewpoint)
    else:
        size = network.config["encoder"].get("resolution", 32)
        observation = VoxelObservation(torch.rand(BATCH, size, size, size, generator=generator))
    return tuple(getattr(observation, field.name) for field in fields(observation))
