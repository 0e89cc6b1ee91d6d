"""The ablation, end to end with a budget that teaches nothing."""

from __future__ import annotations

import json

import pytest
from evaluation_folder import write_evaluation_folder

from onet_ros.learning import ablation
from onet_ros.learning.ablation import ablation_rows, base_settings, main
from onet_ros.learning.training_settings import changed_settings
from onet_ros.networks import load_checkpoint

TINY = [
    "network.encoder={hidden_size: 8, code_size: 8}",
    "network.decoder={code_size: 8, hidden_size: 8}",
    "world.grid=20",
    "world.queries=64",
    "world.seen_points=64",
    "chunk_size=8",
    "chunks_kept=2",
    "validation_samples=4",
    "precision=float32",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    write_evaluation_folder(folder)
    return folder


def command(data, out, *rows):
    words = ["--data", str(data), "--out", str(out), "--steps", "2", "--samples", "200", "--task", "views"]
    for row in rows:
        words += ["--row", row]
    for setting in TINY:
        words += ["--set", setting]
    return words


def test_each_row_differs_from_the_base_in_what_it_says_and_in_nothing_else():
    base = base_settings(100)
    for name, row in ablation_rows().items():
        settings = changed_settings(base, row.changes)
        assert (settings == base) == (name == ablation.BASE)
        undone = {change: getattr(base, change) for change in row.changes if "." not in change}
        for change in row.changes:
            group, _, last = change.rpartition(".")
            if group:
                undone[change] = getattr(getattr(base, group), last)
        assert changed_settings(settings, undone) == base
        assert (settings.seed, settings.steps) == (base.seed, base.steps)


@pytest.mark.slow
def test_rows_that_are_done_are_not_done_again(data, tmp_path, capsys, monkeypatch):
    main(command(data, tmp_path, "base"))
    main(command(data, tmp_path, "base", "camera_frame", "no_noise"))
    table = capsys.readouterr().out
    assert table.count("| everything, 256 to 1024 points |") == 2
    assert load_checkpoint(tmp_path / "camera_frame" / "final").network.frame == "camera"
    rows = json.loads((tmp_path / "ablation.json").read_text())["rows"]
    assert [row["row"] for row in rows] == ["base", "camera_frame", "no_noise"]
    assert all(row["scores"][0]["n"] == 2 for row in rows)
    assert "| no sensor noise or faults |" in (tmp_path / "ablation.md").read_text()

    def refuse(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(ablation, "Trainer", refuse)
    main(command(data, tmp_path, "base", "camera_frame", "no_noise"))
    assert json.loads((tmp_path / "ablation.json").read_text())["rows"] == rows


@pytest.mark.slow
def test_rows_of_one_world_share_its_samples(data, tmp_path, monkeypatch):
    kept = []
    real = ablation.Trainer

    def noting(settings, folder, chunks):
        kept.append(chunks)
        return real(settings, folder, chunks)

    monkeypatch.setattr(ablation, "Trainer", noting)
    main(command(data, tmp_path, "base", "points_300", "no_noise"))
    assert kept[0] is kept[1]
    assert kept[2] is not kept[0]
    assert list(kept[0]) == [0]


def test_wrong_settings_end_in_a_sentence(data, tmp_path):
    with pytest.raises(SystemExit, match="unknown settings stepps"):
        main(["--data", str(data), "--out", str(tmp_path), "--set", "stepps=3"])
    with pytest.raises(SystemExit, match="holds no evaluation data"):
        main(["--data", str(tmp_path), "--out", str(tmp_path)])
