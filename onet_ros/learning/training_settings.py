"""A training run's settings, typed, and read from YAML: a file holds what differs from the defaults."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from onet_ros.learning.image_world import ImageWorldSettings
from onet_ros.learning.voxel_world import VoxelWorldSettings
from onet_ros.learning.world import WorldSettings

S = TypeVar("S")


@dataclass(frozen=True)
class NetworkSettings:
    """Architecture and sizes; what the sizes mean is the architecture's own.

    The defaults are the point-cloud network of Occupancy Networks (CVPR 2019). `frame` "camera" takes the alignment
    with gravity away, for comparison (see `OccupancyNetwork`).
    """

    architecture: str = "pointnet_cbn"
    encoder: dict[str, Any] = field(default_factory=lambda: {"hidden_size": 512, "code_size": 512})
    decoder: dict[str, Any] = field(default_factory=lambda: {"code_size": 512, "hidden_size": 256})
    frame: str = "unit"


@dataclass(frozen=True)
class TrainingSettings:
    """One training run.

    Attributes:
        steps: optimiser steps.
        time_limit: seconds, over all sittings, after which the run ends however many steps are done; the learning rate
            follows the time then, and two runs are no longer the same. 0 sets no limit.
        batch_size: samples per step (over all processes).
        queries: labelled points per sample and step.
        points: fewest and most seen points given to the encoder; the checkpoint's observation_points is the most.
        learning_rate: peak; warmed up over `warmup` steps, held, and let down to zero over the last `cooldown` share.
        weight_decay, clip: of AdamW, and of the gradient's norm.
        ema: decay of the running average of the weights that is validated and kept.
        precision: "float32" or "bfloat16" (autocast).
        chunk_size, chunks_kept, steps_per_chunk: the sample pool, see `SamplePool`.
        workers: processes that make samples; 0 makes them on the training device.
        validate_every, checkpoint_every: steps.
        start_from: folder of a checkpoint whose weights a new run begins with, empty for random ones.
        own_objects: folder of prepared objects (`onet data add`), empty for none.
        own_share: share of the samples that are views of them.
        validation_samples: procedural samples, from seeds that training never uses.
        seed: the same seed gives the same run on one device.
        threads: CPU threads of the training process, 0 for torch's choice.
        network: what is trained; what it observes says which of the following three the samples come from.
        world, pictures, grids: of points, of images, of voxel grids.
    """

    steps: int = 20_000
    time_limit: float = 0.0
    batch_size: int = 32
    queries: int = 1024
    points: tuple[int, int] = (300, 1024)
    learning_rate: float = 5e-4
    warmup: int = 500
    cooldown: float = 0.3
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    precision: str = "bfloat16"
    chunk_size: int = 128
    chunks_kept: int = 32
    steps_per_chunk: int = 12
    workers: int = 1
    validate_every: int = 500
    checkpoint_every: int = 500
    start_from: str = ""
    own_objects: str = ""
    own_share: float = 0.25
    validation_samples: int = 256
    seed: int = 0
    device: str = "cpu"
    threads: int = 0
    network: NetworkSettings = field(default_factory=NetworkSettings)
    world: WorldSettings = field(default_factory=WorldSettings)
    pictures: ImageWorldSettings = field(default_factory=ImageWorldSettings)
    grids: VoxelWorldSettings = field(default_factory=VoxelWorldSettings)

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, got {self.precision!r}")
        for name in ("steps", "batch_size", "queries", "chunk_size", "chunks_kept", "steps_per_chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.own_share <= 1.0:
            raise ValueError(f"own_share must be in [0, 1], got {self.own_share}")
        if not 1 <= self.points[0] <= self.points[1]:
            raise ValueError(f"points must be (fewest, most) with 1 <= fewest <= most, got {self.points}")


def load_training_settings(path: str | Path | None, overrides: Sequence[str] = ()) -> TrainingSettings:
    """Settings from a YAML file and `name=value` overrides (dotted names reach into groups: world.sensor=0.5).

    Raises:
        ValueError: unknown names, values of another type, text that is no YAML; the message quotes them.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(Path(path).read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not valid YAML: {error}") from error
        if not isinstance(loaded, dict):
            raise ValueError(f"{path} must hold names and values, found {type(loaded).__name__}")
        values = loaded
    for override in overrides:
        _put(values, *parse_override(override))
    return from_mapping(TrainingSettings, values)


def parse_override(override: str) -> tuple[str, Any]:
    """The dotted name and the plain value of a text name=value, the value in YAML.

    Raises:
        ValueError: there is no "=" in it.
    """
    name, separator, text = override.partition("=")
    if not separator:
        raise ValueError(f"expected name=value, got {override!r}")
    return name, yaml.safe_load(text)


def changed_settings(settings: TrainingSettings, changes: Mapping[str, Any]) -> TrainingSettings:
    """The settings with some of them, by dotted names, replaced by plain values.

    Raises:
        ValueError: unknown names, values of another type; the message quotes them.
    """
    values = json.loads(json.dumps(dataclasses.asdict(settings)))
    for name, value in changes.items():
        _put(values, name, value)
    return from_mapping(TrainingSettings, values)


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    *groups, last = name.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    values[last] = value


def from_mapping(kind: type[S], values: dict[str, Any], where: str = "") -> S:
    """A settings dataclass from plain values; nested dataclasses from nested mappings."""
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = [where + name for name in values if name not in known]
    if unknown:
        raise ValueError(f"unknown settings {', '.join(unknown)}; known are {', '.join(where + n for n in known)}")
    defaults = kind()
    return kind(**{name: _converted(value, getattr(defaults, name), where + name) for name, value in values.items()})


def _converted(value: Any, default: Any, name: str) -> Any:
    """A YAML value as the type of its default."""
    if dataclasses.is_dataclass(default):
        if not isinstance(value, dict):
            raise ValueError(f"{name} must be a group of settings, got {value!r}")
        return from_mapping(type(default), value, name + ".")
    if isinstance(default, tuple):
        if not isinstance(value, (list, tuple)) or len(value) != len(default):
            raise ValueError(f"{name} must be {len(default)} values, got {value!r}")
        return tuple(_converted(v, d, name) for v, d in zip(value, default, strict=True))
    if isinstance(default, float) and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as text
        except ValueError as error:
            raise ValueError(f"{name} must be a number, got {value!r}") from error
    if default is None:
        return value
    if type(value) is not type(default):
        raise ValueError(f"{name} must be {type(default).__name__}, got {value!r}")
    return value
