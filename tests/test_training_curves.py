"""Pictures of training runs."""

import json

import pytest
from PIL import Image

from onet_ros.cli import main

ROWS = [{"step": 10.0, "seconds": 60.0, "iou": 0.3}, {"step": 20.0, "seconds": 120.0, "iou": 0.5}]


def write_run(folder, rows):
    folder.mkdir()
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_runs_are_drawn_side_by_side(tmp_path, capsys):
    one, two = write_run(tmp_path / "one", ROWS), write_run(tmp_path / "two", ROWS[:1])
    out = tmp_path / "pictures" / "curves.png"
    assert main(["curves", str(one), str(two), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    picture = Image.open(out).convert("RGB")
    # The two lines have colours of their own: matplotlib's first two.
    colours = {colour for _, colour in picture.getcolors(maxcolors=picture.width * picture.height)}
    assert {(31, 119, 180), (255, 127, 14)} <= colours


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no run: cannot read"),
        ("{broken", "is damaged"),
        ("", "nothing to draw: run has no validation yet"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path, capsys, text, message):
    folder = tmp_path / "run"
    folder.mkdir()
    if text is not None:
        (folder / "history.jsonl").write_text(text)
    assert main(["curves", str(folder), "--out", str(tmp_path / "curves.png")]) == 1
    assert message in capsys.readouterr().err
