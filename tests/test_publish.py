"""A run becomes a model that comes with the package: half the size, and a card whose figures are an evaluation's."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from onet_ros.learning.publish import BEGIN, END, main, with_figures
from onet_ros.networks import Checkpoint, OccupancyNetwork, load_checkpoint, save_checkpoint

SIZES = ({"hidden_size": 8, "code_size": 4}, {"code_size": 4, "hidden_size": 8})


def test_weights_are_stored_in_half_precision_and_load(tmp_path):
    save_checkpoint(tmp_path / "run" / "best", Checkpoint(OccupancyNetwork("pointnet_cbn", *SIZES), 64, 0.35))
    main(["--run", str(tmp_path / "run"), "--model", str(tmp_path / "model")])
    weights = load_file(tmp_path / "model" / "weights.safetensors")
    assert all(tensor.dtype != torch.float32 for tensor in weights.values())
    assert load_checkpoint(tmp_path / "model").threshold == 0.35


def test_figures_of_an_evaluation_come_into_the_card(tmp_path, capsys):
    row = {
        "task": "views", "objects": "all", "method": "m", "n": 3, "failed": 0, "iou": 0.5, "chamfer_l1": 0.002,
        "chamfer_l1_normalised": 0.01, "normal_consistency": 0.9, "f_score": 0.8,
    }  # fmt: skip
    command = "onet eval --data ../data --task views --out out/views"
    report = {
        "command": command,
        "data": {"folder": "../data"},
        "summary": [row, {**row, "objects": "solid", "iou": 0.9}],
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    (tmp_path / "README.md").write_text(f"# Card\n\n{BEGIN}\nold\n{END}\n\nEnd.\n")
    main(["--model", str(tmp_path), "--report", str(tmp_path / "report.json")])
    card = (tmp_path / "README.md").read_text()
    assert "old" not in card
    assert "| views | m | 3 | 0 | 0.500 | 2.00 | 0.0100 | 0.900 | 0.800 |" in card
    assert "`onet eval --data DIR --task views`" in card
    assert card.startswith("# Card")
    assert card.endswith("End.\n")
    assert "0.900 | 2.00" not in card  # solid objects apart are not for the card
    main(["--model", str(tmp_path), "--report", str(tmp_path / "report.json")])
    assert (tmp_path / "README.md").read_text() == card


@pytest.mark.parametrize("card", ["no marks", f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}"])
def test_a_card_without_marks_is_refused(card):
    with pytest.raises(ValueError, match="needs the marks"):
        with_figures(card, "text")
