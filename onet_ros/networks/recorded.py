"""A function of tensors recorded once as a CUDA graph and replayed: one launch instead of hundreds.

An encoder is some three hundred small kernels, which a GPU runs faster than the host can launch them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from onet_ros.networks.observation import AnyObservation

MOST_GRAPHS = 8  # shapes of input that are kept recorded; others are run as they come
WARM_UP = 3  # runs before recording, in which libraries choose their algorithms and allocate

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Recording:
    graph: Any
    inputs: AnyObservation
    output: Any


class RecordedEncoder:
    """An encoder of observations; on a CUDA device replayed from a graph for each shape of observation.

    Args:
        encode: without side effects, and without anything that makes the host wait for the device.
    """

    def __init__(self, encode: Callable[[Any], Any]) -> None:
        self._encode = encode
        self._recordings: dict[tuple[torch.Size, ...], _Recording | None] = {}

    def __call__(self, observation: AnyObservation) -> Any:
        """What `encode` gives; results are the caller's own."""
        tensors = _tensors(observation)
        if not tensors[0].is_cuda:
            return self._encode(observation)
        shape = tuple(tensor.shape for tensor in tensors)
        if shape not in self._recordings and len(self._recordings) < MOST_GRAPHS:
            self._recordings[shape] = self._recorded(observation)
        recording = self._recordings.get(shape)
        if recording is None:
            return self._encode(observation)
        for place, tensor in zip(_tensors(recording.inputs), tensors, strict=True):
            place.copy_(tensor)
        recording.graph.replay()
        return _cloned(recording.output)

    def _recorded(self, observation: AnyObservation) -> _Recording | None:
        inputs: AnyObservation = _cloned(observation)
        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    self._encode(inputs)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = self._encode(inputs)
        except RuntimeError as error:  # a device or a release that cannot record this
            _logger.warning("the encoder is run kernel by kernel, since it could not be recorded: %s", error)
            return None
        return _Recording(graph, inputs, output)


def _tensors(observation: AnyObservation) -> list[Tensor]:
    return [getattr(observation, field.name) for field in fields(observation)]


def _cloned(value: Any) -> Any:
    """The same with copies of all tensors in it."""
    if isinstance(value, Tensor):
        return value.clone()
    if is_dataclass(value) and not isinstance(value, type):
        kind: Any = type(value)
        return kind(**{field.name: _cloned(getattr(value, field.name)) for field in fields(value)})
    return value
