"""Are the probabilities true? Of the places a network gives 30 per cent, 30 per cent should be inside.

    python -m onet_ros.learning.calibration --model DIR [--fit]

Measured on procedural objects that neither training nor validation nor the fitting of the temperature has seen. A
temperature T divides all logits (C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open
from scipy.optimize import minimize_scalar
from torch import Tensor

from onet_ros.learning.pool import FITTING_STREAM, HELD_OUT_STREAM, held_out_batches
from onet_ros.learning.source import Batch
from onet_ros.learning.sources import default_source
from onet_ros.learning.trainer import validate
from onet_ros.networks import Checkpoint, OccupancyNetwork, load_checkpoint, save_checkpoint
from onet_ros.networks.checkpoint import WEIGHTS_FILE, with_training
from onet_ros.pictures import save_reliability_diagram

BINS = 15
LARGEST_TEMPERATURE = 20.0


@dataclass(frozen=True)
class Reliability:
    """What came true of predicted probabilities, in bins of equal width from 0 to 1.

    Attributes:
        count: (bins,) how many predictions fell into each.
        predicted: (bins,) their mean probability, NaN where there are none.
        observed: (bins,) the share of them that are inside, NaN where there are none.
    """

    count: NDArray[np.int64]
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]

    @property
    def expected_error(self) -> float:
        """Expected calibration error (Guo et al., eq. 3, for the probability of being inside): mean over the
        predictions of |observed - predicted| of their bins."""
        gaps = np.nan_to_num(np.abs(self.observed - self.predicted))
        return float((gaps * self.count).sum() / self.count.sum())


def reliability(logits: Tensor, labels: Tensor, bins: int = BINS) -> Reliability:
    """Of logits and labels 0 or 1 of the same shape.

    Raises:
        ValueError: there are none, or their shapes differ.
    """
    if logits.shape != labels.shape or logits.numel() == 0:
        raise ValueError(f"expected as many labels as logits, got {tuple(labels.shape)} and {tuple(logits.shape)}")
    probability = torch.sigmoid(logits.double()).flatten().cpu().numpy()
    inside = labels.double().flatten().cpu().numpy()
    which = np.minimum((probability * bins).astype(np.int64), bins - 1)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(which, probability, bins) / count
        observed = np.bincount(which, inside, bins) / count
    return Reliability(count, predicted, observed)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that makes the labels most likely, 1 / LARGEST_TEMPERATURE to LARGEST_TEMPERATURE."""
    logits, labels = logits.double().flatten(), labels.double().flatten()

    def loss(log_temperature: float) -> float:
        return float(F.binary_cross_entropy_with_logits(logits * np.exp(-log_temperature), labels))

    bound = float(np.log(LARGEST_TEMPERATURE))
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))


@torch.no_grad()
def predictions(network: OccupancyNetwork, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """Logits and labels of all queries of all batches, each (N,)."""
    network.eval()
    logits = [network(batch.observation, batch.queries).float().flatten() for batch in batches]
    return torch.cat(logits), torch.cat([batch.labels.flatten() for batch in batches])


def calibrate(checkpoint: Checkpoint, batches: Sequence[Batch]) -> tuple[Checkpoint, float]:
    """The checkpoint with a temperature fitted to the batches, and the temperature.

    It is worked into the last layer of the network, which is changed in place, so that whoever loads the checkpoint
    uses it. The threshold of the surface is chosen anew with it.
    """
    network = checkpoint.network
    temperature = fit_temperature(*predictions(network, batches))
    network.scale_logits(1.0 / temperature)
    threshold = validate(network, list(batches), "float32")["threshold"]
    network.eval()
    return Checkpoint(network, checkpoint.observation_points, threshold, checkpoint.training), temperature


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m onet_ros.learning.calibration",
        description="Compares a model's probabilities with what is inside, on procedural objects that it has never "
        "seen; can make them fit better.",
    )
    parser.add_argument("--model", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--samples", type=int, default=256, help="objects to measure on (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of these objects (default: %(default)s)")
    parser.add_argument("--diagram", type=Path, help="PNG of the reliability diagram to write")
    parser.add_argument("--fit", action="store_true", help="fit a temperature on as many other objects")
    parser.add_argument("--out", type=Path, help="where the fitted checkpoint goes (default: --model itself)")
    parser.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        _measure(options)
    except (ValueError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")


def _measure(options: argparse.Namespace) -> None:
    checkpoint = load_checkpoint(options.model, options.device)
    points, source = checkpoint.observation_points, default_source(checkpoint.network)

    def batches(stream: int) -> list[Batch]:
        return held_out_batches(options.seed, stream, options.samples, points, source, options.device)

    held_out = batches(HELD_OUT_STREAM)
    before = reliability(*predictions(checkpoint.network, held_out))
    curves = {"as trained": before}
    print(f"expected calibration error {before.expected_error:.4f} on {options.samples} held-out objects, {BINS} bins")
    if options.fit:
        stored = stored_type(options.model)
        checkpoint, temperature = calibrate(checkpoint, batches(FITTING_STREAM))
        after = reliability(*predictions(checkpoint.network, held_out))
        curves[f"temperature {temperature:.2f}"] = after
        record = {
            "temperature": temperature,
            "samples": options.samples,
            "seed": options.seed,
            "expected_error_before": before.expected_error,
            "expected_error": after.expected_error,
        }
        save_checkpoint(options.out or options.model, with_training(checkpoint, calibration=record), stored)
        print(
            f"temperature {temperature:.3f}: {after.expected_error:.4f}; threshold now {checkpoint.threshold:.2f}; "
            f"written to {options.out or options.model}"
        )
    if options.diagram:
        shown = {f"{name}: ECE {one.expected_error:.3f}": one for name, one in curves.items()}
        figures = {name: (one.predicted, one.observed, one.count) for name, one in shown.items()}
        print(save_reliability_diagram(options.diagram, figures))


def stored_type(folder: Path) -> torch.dtype:
    """The type in which the weights of the checkpoint in a folder are stored."""
    with safe_open(folder / WEIGHTS_FILE, "pt") as weights:
        dtype: torch.dtype = weights.get_tensor("decoder.fc_out.weight").dtype
    return dtype


if __name__ == "__main__":
    main()
