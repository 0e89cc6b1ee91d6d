"""Self-describing checkpoints: a folder with `weights.safetensors` and a readable `config.json`.

Nothing is unpickled, and no data set is needed to load one. The configuration names the architecture and its sizes, how
an observation is made (number of points), the threshold of the surface, and where the weights came from.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from onet_ros.networks.occupancy_network import OccupancyNetwork

FORMAT = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Checkpoint:
    """A network and what its user must know of it.

    Attributes:
        network: in evaluation mode.
        observation_points: how many seen points the encoder was trained with; 0 for networks that observe no points.
        threshold: probability above which a point counts as inside.
        training: free-form record of how the weights came to be (data, budget, figures).
        folder: where it was loaded from, None where it was not.
    """

    network: OccupancyNetwork
    observation_points: int
    threshold: float
    training: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None


def save_checkpoint(folder: str | Path, checkpoint: Checkpoint, dtype: torch.dtype | None = None) -> None:
    """Write a checkpoint folder; a write that is cut short leaves the previous checkpoint whole.

    Args:
        folder: made if missing.
        checkpoint: what to write.
        dtype: store floating-point weights in this type (torch.float16 halves the file); None keeps theirs.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.network.state_dict().items()}
    if dtype is not None:
        state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state.items()}
    config = {
        "format": FORMAT,
        "network": checkpoint.network.config,
        "observation_points": checkpoint.observation_points,
        "threshold": checkpoint.threshold,
        "training": checkpoint.training,
    }
    text = json.dumps(config, indent=2) + "\n"
    # The weights carry the configuration too: should a crash fall between the two renames, load_checkpoint notices.
    weights_new, config_new = folder / (WEIGHTS_FILE + ".new"), folder / (CONFIG_FILE + ".new")
    try:
        save_file(state, weights_new, metadata={"network": json.dumps(config["network"], sort_keys=True)})
        config_new.write_text(text)
        shutil.copymode(config_new, weights_new)  # safetensors leaves its files readable by their owner only
    except (OSError, SafetensorError):
        weights_new.unlink(missing_ok=True)
        config_new.unlink(missing_ok=True)
        raise
    os.replace(weights_new, folder / WEIGHTS_FILE)
    os.replace(config_new, folder / CONFIG_FILE)


def load_checkpoint(folder: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint folder.

    Raises:
        CheckpointError: missing, truncated or corrupt files, an unknown format or architecture, weights that do not
            fit the architecture or are not finite.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG_FILE)
    try:
        network = OccupancyNetwork(**config["network"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG_FILE}: {error}") from error
    state = _read_weights(folder / WEIGHTS_FILE)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{folder / WEIGHTS_FILE} does not fit {config['network']}: {error}") from error
    points = config["observation_points"]
    if (points > 0) != (network.observes == "points"):
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: 'observation_points' must be {'0' if points else 'positive'} for a network that "
            f"observes {network.observes}, found {points}"
        )
    network.to(device).eval().requires_grad_(False)
    return Checkpoint(
        network=network,
        observation_points=points,
        threshold=config["threshold"],
        training=config["training"],
        folder=folder,
    )


def with_training(checkpoint: Checkpoint, **entries: Any) -> Checkpoint:
    """The same checkpoint with entries added to its training record."""
    return dataclasses.replace(checkpoint, training={**checkpoint.training, **entries})


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except OSError as error:
        raise CheckpointError(f"no checkpoint: cannot read {path} ({error.strerror})") from error
    except ValueError as error:  # JSON and Unicode errors
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(f"{path}: expected checkpoint format {FORMAT}, found {found!r}")
    expected = {"network": dict, "observation_points": int, "threshold": float, "training": dict}
    for key, kind in expected.items():
        if not isinstance(config.get(key), kind):
            raise CheckpointError(f"{path}: {key!r} must be {kind.__name__}, found {config.get(key)!r}")
    if config["observation_points"] < 0:
        raise CheckpointError(
            f"{path}: 'observation_points' must not be negative, found {config['observation_points']}"
        )
    if not 0.0 < config["threshold"] < 1.0:
        raise CheckpointError(f"{path}: 'threshold' must lie between 0 and 1, found {config['threshold']}")
    return config


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = load_file(path)
    except OSError as error:
        raise CheckpointError(f"no checkpoint: cannot read {path} ({error.strerror or error})") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} is corrupt ({path.stat().st_size} bytes): {error}") from error
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: weight {name!r} holds values that are not finite")
    return {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
