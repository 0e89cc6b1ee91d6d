"""`onet bench`: measures everything and writes the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from onet_ros.benchmark.measurement import machine
from onet_ros.benchmark.report import Results, write_report
from onet_ros.benchmark.sections import (
    TEXTBOOK_START,
    asked_values,
    completion_case,
    node_latencies,
    paper_contest,
    publisher,
    scene_timing,
    textbook_case,
)
from onet_ros.benchmark.table_scene import TableScene
from onet_ros.benchmark.thin_parts import losses
from onet_ros.networks import load_checkpoint

PARTS = ("scene", "completion", "textbook", "paper", "thin-parts", "node")


@dataclass(frozen=True)
class BenchSettings:
    """What to measure.

    Attributes:
        model: checkpoint folder; `model_name` is what the page calls it.
        device: of the networks.
        objects, resolutions: all pairs of them are measured; resolutions are 16 or more, and powers of two times 16.
        seconds: for each measurement, about; slow ones are run once.
        parts: of PARTS.
        command: quoted on the page.
    """

    model: Path
    model_name: str
    device: str
    objects: Sequence[int]
    resolutions: Sequence[int]
    seconds: float
    parts: Sequence[str]
    command: str


def run_bench(settings: BenchSettings, out: Path) -> Results:
    """Measure, and write the page to `out`.

    Raises:
        ValueError: settings that mean nothing; quotes them.
    """
    _check(settings)
    checkpoint = load_checkpoint(settings.model, settings.device)
    results = Results(settings.model_name, machine(settings.device), settings.command)
    scene = TableScene.simulated()
    cases = [(count, resolution) for resolution in settings.resolutions for count in settings.objects]
    plain = [resolution for resolution in settings.resolutions if resolution >= TEXTBOOK_START]
    parts = {name: name in settings.parts for name in PARTS}
    total = parts["scene"] + parts["completion"] * len(cases) + parts["textbook"] * 2 * len(plain) + parts["paper"] * 7
    total += parts["thin-parts"] + 2 * parts["node"]
    with tqdm(total=total, desc="bench") as bar, publisher() as publish:

        def step(name: str) -> None:
            bar.update()
            bar.set_postfix_str(name)

        if parts["scene"]:
            step("scene")
            results.scene = scene_timing(scene, settings.seconds)
        for count, resolution in cases if parts["completion"] else []:
            step(f"{count} objects, {resolution} cells")
            results.cases.append(completion_case(checkpoint, scene, count, resolution, settings.seconds, publish))
        for resolution in plain if parts["textbook"] else []:
            step(f"the paper's way, {resolution} cells")
            results.textbook.append(textbook_case(checkpoint, scene, resolution, settings.seconds))
            step(f"values asked, {resolution} cells")
            results.asked.append(asked_values(checkpoint, scene, resolution))
        if parts["paper"]:
            results.contest += paper_contest(settings.seconds, step)
        if parts["thin-parts"]:
            step("thin parts")
            results.losses = losses()
        if parts["node"]:
            results.node += node_latencies(settings.seconds, step)
    write_report(results, out)
    return results


def _check(settings: BenchSettings) -> None:
    for resolution in settings.resolutions:
        if resolution < 16 or resolution & (resolution - 1):
            raise ValueError(f"resolutions must be powers of two from 16 on, got {resolution}")
    if not settings.objects or min(settings.objects) < 1:
        raise ValueError(f"numbers of objects must be 1 or more, got {list(settings.objects)}")
    unknown = set(settings.parts) - set(PARTS)
    if unknown:
        raise ValueError(f"unknown parts {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
