"""Calibration, on predictions whose miscalibration is known and on a network's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from onet_ros.learning.calibration import calibrate, fit_temperature, main, predictions, reliability
from onet_ros.learning.pool import FITTING_STREAM, HELD_OUT_STREAM, held_out_batches
from onet_ros.learning.source import PointSource
from onet_ros.learning.world import WorldSettings
from onet_ros.networks import Checkpoint, InferenceNetwork, OccupancyNetwork, load_checkpoint, save_checkpoint

WORLD = WorldSettings(grid=20, queries=512, seen_points=64, background_points=16, families=["soap", "carton"])


def truthful(count: int = 200_000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are right: labels drawn with the probabilities they say."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2.0 * torch.randn(count, generator=generator)
    return logits, (torch.rand(count, generator=generator) < torch.sigmoid(logits)).float()


def test_true_probabilities_have_no_calibration_error():
    assert reliability(*truthful()).expected_error < 0.005


def test_the_error_of_a_constant_prediction_is_its_distance_from_the_truth():
    labels = (torch.arange(1000) < 300).float()
    result = reliability(torch.full((1000,), float(np.log(0.9 / 0.1))), labels)
    assert result.expected_error == pytest.approx(0.6, abs=1e-6)
    assert result.count.sum() == result.count[13] == 1000  # 0.9 of 15 bins
    assert result.observed[13] == pytest.approx(0.3)


def test_two_bins_count_by_how_many_fall_into_them():
    logits = torch.cat([torch.full((300,), 40.0), torch.full((100,), -40.0)])
    labels = torch.cat([torch.ones(300), torch.ones(50), torch.zeros(50)])
    assert reliability(logits, labels).expected_error == pytest.approx(0.5 * 100 / 400)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_known_overconfidence_is_found_and_undone(temperature):
    logits, labels = truthful()
    wrong = logits * temperature
    found = fit_temperature(wrong, labels)
    assert found == pytest.approx(temperature, rel=0.02)
    assert reliability(wrong / found, labels).expected_error < 0.005
    if temperature != 1.0:
        assert reliability(wrong, labels).expected_error > 0.03


def test_nothing_cannot_be_calibrated():
    with pytest.raises(ValueError, match="expected as many labels"):
        reliability(torch.zeros(0), torch.zeros(0))


def small_network() -> OccupancyNetwork:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "code_size": 8}
    return OccupancyNetwork("pointnet_cbn", sizes, sizes).eval()


def test_what_is_fitted_is_what_every_user_of_the_checkpoint_gets(tmp_path):
    batches = held_out_batches(0, FITTING_STREAM, 8, 32, PointSource(WORLD))
    network = small_network()
    before, labels = predictions(copy.deepcopy(network), batches)
    calibrated, temperature = calibrate(Checkpoint(network, 32, 0.5), batches)
    after, _ = predictions(calibrated.network, batches)
    torch.testing.assert_close(after, before / temperature)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    assert loss(after, labels) <= loss(before, labels)
    save_checkpoint(tmp_path, calibrated)
    loaded = load_checkpoint(tmp_path)
    torch.testing.assert_close(predictions(loaded.network, batches)[0], after)
    folded = InferenceNetwork(loaded.network)
    field = folded.field(folded.encode(batches[0].observation))
    objects = torch.arange(len(batches[0].queries)).repeat_interleave(batches[0].queries.shape[1])
    torch.testing.assert_close(
        field(batches[0].queries.flatten(0, 1), objects), after[: len(objects)], atol=1e-4, rtol=1e-3
    )


def test_held_out_samples_are_those_of_no_other_stream():
    streams = [held_out_batches(0, stream, 4, 32, PointSource(WORLD))[0].observation.scale for stream in (2, 4, 5)]
    for i, scale in enumerate(streams):
        for other in streams[i + 1 :]:
            assert not set(scale.tolist()) & set(other.tolist())
    again = held_out_batches(0, HELD_OUT_STREAM, 4, 32, PointSource(WORLD))[0].observation.scale
    torch.testing.assert_close(again, streams[2], atol=0.0, rtol=0.0)


def test_the_command_writes_the_fitted_checkpoint_and_a_diagram(tmp_path, capsys):
    save_checkpoint(tmp_path / "model", Checkpoint(small_network(), 32, 0.5, {"data": "none"}), torch.float16)
    words = ["--model", str(tmp_path / "model"), "--samples", "4", "--diagram", str(tmp_path / "diagram.png")]
    main([*words, "--fit", "--out", str(tmp_path / "fitted")])
    assert "temperature" in capsys.readouterr().out
    fitted = load_checkpoint(tmp_path / "fitted")
    assert fitted.training["data"] == "none"
    assert fitted.training["calibration"]["expected_error"] <= 1.0
    assert (tmp_path / "diagram.png").stat().st_size > 5_000
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("model", "fitted")]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)  # as many bytes a weight
    with pytest.raises(SystemExit, match="no checkpoint"):
        main(["--model", str(tmp_path / "nowhere")])


def test_logits_are_scaled_by_positive_factors_only():
    with pytest.raises(ValueError, match="got 0"):
        small_network().scale_logits(0.0)
