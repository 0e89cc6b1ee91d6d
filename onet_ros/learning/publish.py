"""From a training run to a model that comes with the package: weights in half precision, and figures in its card.

    python -m onet_ros.learning.publish --run runs/voxels --model models/voxels
    python -m onet_ros.learning.publish --model models/voxels --report out/eval/report.json --report ...

The card is `README.md` in the model's folder. What stands in it between the two marks is made here, everything else is
written by people.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from onet_ros.learning.run_folder import write_whole
from onet_ros.networks import load_checkpoint, save_checkpoint

CARD_FILE = "README.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
COLUMNS = {
    "iou": ("IoU", 1.0, ".3f"),
    "chamfer_l1": ("Chamfer-L1 (mm)", 1000.0, ".2f"),
    "chamfer_l1_normalised": ("Chamfer-L1 / edge", 1.0, ".4f"),
    "normal_consistency": ("normals", 1.0, ".3f"),
    "f_score": ("F-score at 5 mm", 1.0, ".3f"),
}


def publish_weights(run: Path, model: Path) -> Path:
    """Write the best checkpoint of a run into a model's folder, in float16; returns the weights' path."""
    save_checkpoint(model, load_checkpoint(run / "best"), torch.float16)
    return model / "weights.safetensors"


def figures(reports: Sequence[dict[str, Any]]) -> str:
    """Markdown of what `report.json` files of `onet eval` say: for each its command, DIR for the data, and a table."""
    parts: list[str] = []
    for report in reports:
        command = re.sub(r" --out \S+", "", report["command"].replace(report["data"]["folder"], "DIR"))
        parts.append(f"`{command}`")
        head = ["task", "method", "n", "failed", *(title for title, _, _ in COLUMNS.values())]
        lines = [head, ["---"] * len(head)]
        for row in report["summary"]:
            if row["objects"] == "all":
                scores = [format(row[name] * factor, form) for name, (_, factor, form) in COLUMNS.items()]
                lines.append([row["task"], row["method"], str(row["n"]), str(row["failed"]), *scores])
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts)


def with_figures(card: str, text: str) -> str:
    """A card with the text between its marks.

    Raises:
        ValueError: the marks are not there, once each and in order.
    """
    if card.count(BEGIN) != 1 or card.count(END) != 1 or card.index(BEGIN) > card.index(END):
        raise ValueError(f"a card needs the marks {BEGIN} and {END}, once each")
    before, after = card.partition(BEGIN)[0], card.partition(END)[2]
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m onet_ros.learning.publish",
        description="Puts the best checkpoint of a run into a model's folder, and the figures of evaluations into its "
        "card.",
    )
    parser.add_argument("--model", type=Path, required=True, help="the model's folder, models/NAME")
    parser.add_argument("--run", type=Path, help="run folder of `onet train`")
    parser.add_argument(
        "--report", type=Path, action="append", default=[], help="report.json of `onet eval`; repeatable"
    )
    options = parser.parse_args(arguments)
    try:
        if options.run:
            path = publish_weights(options.run, options.model)
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
        if options.report:
            card = options.model / CARD_FILE
            reports = [json.loads(path.read_text()) for path in options.report]
            write_whole(card, with_figures(card.read_text(), figures(reports)))
            print(card)
    except (ValueError, OSError, KeyError) as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
