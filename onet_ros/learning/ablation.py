"""What each part of the simulated world buys: the same small network, trained without it.

    python -m onet_ros.learning.ablation --data DIR --out DIR --steps N

Rows are trained one after the other with the same budget, seeds and validation samples, and evaluated on objects that
the generator did not make. A run that was stopped goes on where it was; rows that are done are not done again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onet_ros.learning.evaluation import evaluate
from onet_ros.learning.evaluation_data import EvaluationData
from onet_ros.learning.evaluation_report import data_digest, summarise
from onet_ros.learning.families import FAMILIES
from onet_ros.learning.methods import make_method
from onet_ros.learning.run_folder import write_whole
from onet_ros.learning.source import AnySamples
from onet_ros.learning.trainer import Trainer
from onet_ros.learning.training_settings import NetworkSettings, TrainingSettings, changed_settings, parse_override
from onet_ros.learning.world import WorldSettings

TASKS = ("views", "scenes", "scenes-own", "real")
BASE = "base"
RESULT_FILE = "result.json"
# Making a sample costs as much as a step with it, so each is used about twice.
CHUNK, STEPS_PER_CHUNK = 64, 8


@dataclass(frozen=True)
class Row:
    """A line of the table: what is different, in words, and as dotted settings."""

    title: str
    changes: Mapping[str, Any]


def ablation_rows() -> dict[str, Row]:
    """All rows by name; those of the unchanged world come first and share its samples."""
    half = sorted(FAMILIES)[::2]
    return {
        BASE: Row("everything, 256 to 1024 points", {}),
        "camera_frame": Row("camera frame instead of the unit frame", {"network.frame": "camera"}),
        "points_300": Row("300 points", {"points": [300, 300]}),
        "points_1000": Row("1000 points", {"points": [1000, 1000]}),
        "points_3000": Row("3000 points", {"points": [3000, 3000]}),
        "no_noise": Row("no sensor noise or faults", {"world.sensor": 0.0}),
        "half_families": Row(f"half the families ({len(half)} of {len(FAMILIES)})", {"world.families": half}),
        "alone": Row("no neighbours, no mask errors", {"world.neighbours": 0.0, "world.mask_errors": 0.0}),
    }


def base_settings(steps: int, seed: int = 0) -> TrainingSettings:
    """A small network and a short budget: the paper's, narrow, `steps` of 16 samples."""
    return TrainingSettings(
        steps=steps,
        batch_size=16,
        queries=1024,
        points=(256, 1024),
        learning_rate=1e-3,
        warmup=min(100, max(1, steps // 10)),
        cooldown=0.4,
        ema=0.99,
        chunk_size=CHUNK,
        chunks_kept=16,
        steps_per_chunk=STEPS_PER_CHUNK,
        workers=0,
        threads=1,
        validate_every=steps,
        checkpoint_every=100,
        validation_samples=128,
        seed=seed,
        network=NetworkSettings(
            encoder={"hidden_size": 128, "code_size": 256}, decoder={"code_size": 256, "hidden_size": 128}
        ),
    )


def run_ablation(
    base: TrainingSettings,
    data: EvaluationData,
    folder: Path,
    rows: Mapping[str, Row],
    samples: int,
    tasks: Sequence[str] = TASKS,
) -> list[dict[str, Any]]:
    """Train and evaluate every row that is not done; the results of all of them, in their order."""
    results = []
    digest = data_digest(data.folder)
    world: WorldSettings | None = None
    kept: dict[int, AnySamples] = {}
    for name, row in rows.items():
        settings = changed_settings(base, row.changes)
        key = {
            "settings": json.loads(json.dumps(dataclasses.asdict(settings))),
            "data": digest,
            "samples": samples,
            "tasks": list(tasks),
        }
        if settings.world != world:
            world, kept = settings.world, {}
        result = _done(folder / name / RESULT_FILE, key)
        if result is None:
            print(f"{name}: {row.title}", file=sys.stderr)
            measured = _measured(settings, data, folder / name, samples, tasks, kept)
            result = {"row": name, "title": row.title, **key, **measured}
            write_whole(folder / name / RESULT_FILE, json.dumps(result, indent=1) + "\n")
        results.append(result)
    return results


def _done(path: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row's result if there is one, had with the same settings, data and samples."""
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text())
    return result if all(result.get(name) == value for name, value in key.items()) else None


def _measured(
    settings: TrainingSettings,
    data: EvaluationData,
    folder: Path,
    samples: int,
    tasks: Sequence[str],
    kept: dict[int, AnySamples],
) -> dict[str, Any]:
    best = Trainer(settings, folder, kept).run()
    scores = evaluate({"row": make_method(str(folder / "final"))}, data, tasks, samples)
    return {"validation": best, "scores": summarise(scores)}


def ablation_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a line for each row, for each task IoU / Chamfer-L1 in mm / F-score at 5 mm."""
    tasks = results[0]["tasks"]
    lines = [
        "| trained with | own validation | " + " | ".join(tasks) + " |",
        "|---|---|" + "---|" * len(tasks),
    ]
    for result in results:
        figures = []
        for task in tasks:
            (row,) = [row for row in result["scores"] if row["task"] == task and row["objects"] == "all"]
            failed = f" ({row['failed']} failed)" if row["failed"] else ""
            figures.append(f"{row['iou']:.3f} / {1000.0 * row['chamfer_l1']:.2f} / {row['f_score']:.3f}{failed}")
        lines.append(f"| {result['title']} | {result['validation']['iou']:.3f} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def write_ablation(folder: Path, results: Sequence[Mapping[str, Any]], command: str) -> None:
    """`ablation.md` and `ablation.json`."""
    first = results[0]
    settings = first["settings"]
    objects = {row["task"]: row["n"] for row in first["scores"] if row["objects"] == "all"}
    text = [
        "# Ablation",
        f"`{command}`",
        f"Each row: {settings['steps']} steps of {settings['batch_size']} samples from nothing, seed "
        f"{settings['seed']}, the same network ({settings['network']['architecture']}). Per task IoU / Chamfer-L1 in "
        f"mm / F-score at 5 mm, means over {', '.join(f'{n} objects of {task}' for task, n in objects.items())}, "
        f"{first['samples']} samples a score; failures count as 0. Own validation: IoU on procedural objects of the "
        "row's own world, so not for comparison across rows.",
        ablation_table(results),
    ]
    write_whole(folder / "ablation.md", "\n\n".join(text) + "\n")
    write_whole(folder / "ablation.json", json.dumps({"command": command, "rows": list(results)}, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    rows = ablation_rows()
    parser = argparse.ArgumentParser(
        prog="python -m onet_ros.learning.ablation",
        description="Trains a small network with and without parts of the simulated world, with equal budgets, and "
        "evaluates each on real and scanned objects. Rows that are done in OUT are not done again.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with views.npz, scenes/, real/, meshes/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs, ablation.md and ablation.json")
    parser.add_argument("--steps", type=int, default=300, help="of each row (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=10_000, help="points per score (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of every row (default: %(default)s)")
    parser.add_argument("--row", action="append", choices=rows, help="only this one; repeatable (default: all)")
    parser.add_argument("--task", action="append", help=f"repeatable (default: {', '.join(TASKS)})")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of all rows; repeatable"
    )
    options = parser.parse_args(arguments)
    base = base_settings(options.steps, options.seed)
    try:
        base = changed_settings(base, dict(parse_override(change) for change in options.set))
        data = EvaluationData(options.data)
        chosen = {name: rows[name] for name in options.row or rows}
        results = run_ablation(base, data, options.out, chosen, options.samples, options.task or TASKS)
    except (ValueError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    words = sys.argv[1:] if arguments is None else list(arguments)
    write_ablation(options.out, results, f"{parser.prog} {shlex.join(words)}")
    print(ablation_table(results))


if __name__ == "__main__":
    main()
