"""`docs/representations.md`: what a field is worth beside voxels, points and a template, measured on the same inputs.

python -m onet_ros.benchmark.representations --out docs/representations.md
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from onet_ros.benchmark.forms import CompletedGrid, Form, FormScore, score_form
from onet_ros.benchmark.measurement import machine
from onet_ros.benchmark.memory import DENSE, FIELD, MemoryUse, memory_uses
from onet_ros.learning.observed_cases import whole_grid
from onet_ros.learning.procedural_data import ProceduralData
from onet_ros.networks import Checkpoint, load_checkpoint
from onet_ros.pictures import CLAY, SEEN, TRUTH, View, contact_sheet, render_mesh, render_points, save_picture
from onet_ros.pictures.rendering import Image
from onet_ros.resources import model_path
from onet_ros.scene import SupportPlane
from onet_ros.simulation import demo_objects

SHOWN = ("mug", "tape_roll", "teapot", "bowl")  # two with a hole, one with a hole and a spout, one hollow
RESOLUTIONS = (32, 64, 128, 256, 512)
SAMPLES = 50_000
GROUND = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0)
TILE = (230, 200)
DIRECTION = (0.65, -1.0, 0.75)
HANDLE = 0.3  # of the mug's longest edge: the box about the outermost part of its handle
ZOOM_CELLS = 64


@dataclass(frozen=True)
class Soundness:
    """Of the surfaces of `count` procedural objects: how many are closed, in one piece, with the true Euler number, and
    how many of the truths are in one piece."""

    count: int
    closed: int
    connected: int
    same_euler: int


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m onet_ros.benchmark.representations",
        description="Measures a field beside voxels, points and a template mesh; writes the page with its pictures.",
    )
    parser.add_argument("--out", type=Path, default=Path("docs/representations.md"), help="page (default: %(default)s)")
    parser.add_argument(
        "--model", type=Path, help="checkpoint that observes voxels (default: the one that comes along)"
    )
    parser.add_argument("--objects", type=int, default=40, help="procedural ones for topology (default: %(default)s)")
    parser.add_argument(
        "--largest-dense", type=int, default=128, help="cells up to which dense grids are made (default: %(default)s)"
    )
    parser.add_argument(
        "--resolutions", type=int, nargs="+", default=list(RESOLUTIONS), help="of the memory (default: 32 ... 512)"
    )
    options = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else list(arguments)
    model = options.model or model_path("voxels")
    try:
        checkpoint = load_checkpoint(model)
        images = options.out.parent / "images"
        scores, sheet = compare_forms(checkpoint)
        save_picture(images / "representations.png", sheet, colours=128)
        save_picture(images / "representations_detail.png", detail_picture(checkpoint), colours=128)
        sound = soundness(checkpoint, options.objects)
        uses = memory_uses(model, options.resolutions, options.largest_dense)
        save_memory_plot(images / "representations_memory.png", uses)
        text = page(f"{parser.prog} {shlex.join(words)}".strip(), scores, sound, uses)
        options.out.write_text(text)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print(options.out)


def compare_forms(checkpoint: Checkpoint) -> tuple[dict[str, list[tuple[Form, FormScore, int]]], Image]:
    """For each object its forms, their scores and the true Euler number; and a sheet of some of them."""
    results: dict[str, list[tuple[Form, FormScore, int]]] = {}
    rows: dict[str, list[Image | None]] = {}
    for name, mesh in tqdm(demo_objects().items(), desc="forms"):
        truth = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        grid, T_world_grid = whole_grid(truth, GROUND)
        truth.apply_transform(np.linalg.inv(T_world_grid))
        answer = CompletedGrid(checkpoint, grid)
        given = Form("input grid, 32³", grid.boxes(), None, grid.values.size // 8)
        forms = [
            given,
            *(answer.voxels(cells) for cells in (32, 64, 128)),
            answer.cloud(),
            answer.template(),
            answer.field(),
        ]
        results[name] = [(form, score_form(form, truth, SAMPLES), int(truth.euler_number)) for form in forms]
        if name in SHOWN:
            shown = (forms[0], forms[1], forms[4], forms[5], forms[6])
            rows[name] = [_picture(form, truth) for form in (*shown, Form("truth", truth, None, 0))]
    columns = ("Input grid", "Voxels, 32³", "Point cloud", "Template mesh", "Implicit field", "Truth")
    return results, contact_sheet(
        list(rows.values()), column_titles=columns, row_captions=[name.replace("_", " ") for name in rows], text_size=15
    )


def _picture(form: Form, truth: trimesh.Trimesh) -> Image:
    view = View.around(truth.vertices, DIRECTION, size=TILE, margin=1.25)
    if form.points is not None:
        return render_points(form.points, view, SEEN, point_size=0.002)
    assert form.mesh is not None
    plane = (0.0, 0.0, 1.0, -float(truth.bounds[0, 2]))
    colour = {"truth": TRUTH}.get(form.name, SEEN if form.name.startswith("implicit") else CLAY)
    return render_mesh(form.mesh, view, colour, plane)


def detail_picture(checkpoint: Checkpoint) -> Image:
    """A mug, and its handle extracted again in a box of its own, with the same number of cells."""
    truth = demo_objects()["mug"]
    grid, T_world_grid = whole_grid(truth, GROUND)
    answer = CompletedGrid(checkpoint, grid)
    lower, upper = _handle_box(truth.copy().apply_transform(np.linalg.inv(T_world_grid)))
    detail = answer.detail(lower, upper, ZOOM_CELLS)
    coarse = answer.detail(grid.origin, grid.origin + grid.edge, ZOOM_CELLS)
    region = trimesh.creation.box(bounds=[lower, upper])
    near = View.around(region.vertices, DIRECTION, size=(360, 300), margin=1.05)
    far = View.around(answer.surface.vertices, DIRECTION, size=(360, 300), margin=1.2)
    edge = 1000.0 * grid.edge
    captions = [
        f"{ZOOM_CELLS} cells of {edge / ZOOM_CELLS:.1f} mm",
        "the same, its handle from near",
        f"the handle alone, {ZOOM_CELLS} cells of {1000.0 * (upper - lower).max() / ZOOM_CELLS:.2f} mm",
    ]
    tiles = [render_mesh(coarse, far, SEEN), render_mesh(coarse, near, SEEN), render_mesh(detail, near, SEEN)]
    return contact_sheet([tiles], cell_captions=[captions], text_size=15)


def _handle_box(mug: trimesh.Trimesh) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A cube about the place farthest from the mug's axis."""
    middle = mug.bounds.mean(axis=0)
    # The body is round: its axis goes through the middle of the rim, the highest vertices.
    rim = mug.vertices[mug.vertices[:, 2] > mug.bounds[1, 2] - 0.002, :2].mean(axis=0)
    farthest = mug.vertices[np.argmax(np.linalg.norm(mug.vertices[:, :2] - rim, axis=1))]
    inward = np.append(rim - farthest[:2], 0.0)
    half = HANDLE * mug.extents.max() / 2.0
    centre = np.append(farthest[:2], middle[2]) + inward / np.linalg.norm(inward) * half * 0.6
    return centre - half, centre + half


def soundness(checkpoint: Checkpoint, count: int) -> Soundness:
    """Of the surfaces of procedural objects, from their grids."""
    closed = connected = same = 0
    for frame in tqdm(ProceduralData(count).frames(), desc="topology", total=count):
        truth = frame.truths[0].mesh
        grid, _ = whole_grid(truth, frame.plane)
        surface = CompletedGrid(checkpoint, grid).surface
        closed += bool(surface.is_watertight and surface.is_winding_consistent)
        connected += surface.body_count == truth.body_count
        same += surface.euler_number == truth.euler_number
    return Soundness(count, closed, connected, same)


def save_memory_plot(path: Path, uses: Sequence[MemoryUse]) -> None:
    """Peak memory over resolution, both ways."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    axes = figure.subplots()
    for kind, label, colour in ((FIELD, "field, its surface followed", "C0"), (DENSE, "dense voxel decoder", "C1")):
        own = [use for use in uses if use.kind == kind]
        axes.plot([use.resolution for use in own], [use.peak / 1e6 for use in own], color=colour, label=label)
        for measured, marker, face in ((True, "o", colour), (False, "o", "white")):
            some = [use for use in own if use.measured == measured]
            axes.plot(
                [use.resolution for use in some], [use.peak / 1e6 for use in some], marker, color=colour, mfc=face
            )
    axes.set(xlabel="cells along an edge", ylabel="peak memory, MB", xscale="log", yscale="log")
    resolutions = sorted({use.resolution for use in uses})
    axes.set_xticks(resolutions, [str(resolution) for resolution in resolutions])
    axes.minorticks_off()
    axes.set_ylim(bottom=1.0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def page(
    command: str,
    scores: dict[str, list[tuple[Form, FormScore, int]]],
    sound: Soundness,
    uses: Sequence[MemoryUse],
) -> str:
    """The page's text."""
    parts = [
        "# A field beside voxels, points and a template",
        f"`{command}` on {machine('cpu')}.",
        "Occupancy Networks (Mescheder et al., CVPR 2019) say of their representation that it has any topology, that "
        "its memory does not grow with resolution, that what comes out is connected and closed, and that it is tied to "
        "no grid. Here is what this project measures of that.",
        "## The same answers in four forms",
        f"The {len(scores)} objects of the demo, which no training saw, are given as voxel grids of 32³ (a cell is "
        "occupied where the solid meets it). The network of `models/voxels` answers with a field. That one answer is "
        "then put into the forms in which other networks answer, and each is scored against the true shape. Bytes are "
        "what one shape takes, without what all share: of the field, the grid that it is made from; of the template "
        "(an icosphere pulled to the surface), its vertices. The Euler number tells holes and handles.",
        _forms_table(scores),
        "![Rows of objects: input grid, voxels, point cloud, template mesh, implicit field, truth]"
        "(images/representations.png)",
        "What the network does not know no form brings back: the distances of fine voxels and of the field are alike. "
        "What differs is the surface. Voxels point along the axes only, however fine they are, and can meet at an "
        "edge, where they are no closed surface. Points have no surface, and so no inside. A template stays a sphere: "
        "it covers holes and handles, or folds into them.",
        "## Topology, connectedness, closedness",
        f"Grids of {sound.count} procedural objects of seeds that no training used: {sound.closed} surfaces are closed "
        f"and wound consistently, {sound.connected} have as many pieces as the true object, {sound.same_euler} its "
        "Euler number.",
        "## No fixed domain",
        "A field can be asked anywhere. The handle of a mug, seen on the surface of the whole mug, and extracted in a "
        "box of its own with as many cells:",
        "![A mug, its handle from near, and its handle extracted on its own](images/representations_detail.png)",
        "## Memory over resolution",
        "Peak memory of one extraction beyond what the process held before, each in a process of its own: the surface "
        "of the field of a ball that fills the grid, with simplification to 20,000 triangles, and a decoder that fills "
        "a grid by transposed convolutions of the same width. The field's network is the same at every resolution; the "
        "dense decoder grows by a layer with each doubling. What is not measured is calculated: input and output of "
        "the last layer alone. What the field's extraction holds is no part of the network: a few bytes for each "
        "corner of the grid in which the surface is followed.",
        _memory_table(uses),
        "![Peak memory over resolution](images/representations_memory.png)",
    ]
    return "\n\n".join(parts) + "\n"


def _forms_table(scores: dict[str, list[tuple[Form, FormScore, int]]]) -> str:
    """A row per form, means over the objects."""
    lines = [["form", "bytes", "IoU", "Chamfer-L1 (mm)", "normals", "closed", "true Euler number"]]
    lines.append(["---"] * len(lines[0]))
    for column in zip(*scores.values(), strict=True):
        forms, marks, truths = zip(*column, strict=True)
        euler = [mark.euler for mark in marks]
        right = sum(own == truth for own, truth in zip(euler, truths, strict=True))
        closed = sum(mark.closed for mark in marks)
        lines.append(
            [
                forms[0].name,
                f"{forms[0].size:,}",
                _mean([mark.iou for mark in marks], 1.0, ".3f"),
                _mean([mark.chamfer_l1 for mark in marks], 1000.0, ".2f"),
                _mean([mark.normal_consistency for mark in marks], 1.0, ".3f"),
                "no surface" if forms[0].mesh is None else f"{closed} of {len(marks)}",
                "-" if forms[0].mesh is None else f"{right} of {len(marks)}",
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _mean(values: Sequence[float | None], factor: float, form: str) -> str:
    known = [value for value in values if value is not None]
    return format(factor * float(np.mean(known)), form) if known else "-"


def _memory_table(uses: Sequence[MemoryUse]) -> str:
    lines = [["cells", "field: peak MB", "s", "parameters", "dense: peak MB", "s", "parameters"]]
    lines.append(["---"] * len(lines[0]))
    for resolution in sorted({use.resolution for use in uses}):
        line = [str(resolution)]
        for kind in (FIELD, DENSE):
            (use,) = [one for one in uses if one.kind == kind and one.resolution == resolution]
            peak = f"{use.peak / 1e6:,.0f}"
            line += [peak if use.measured else f"{peak} (calculated)"]
            line += [f"{use.seconds:.2f}" if use.measured else "-", f"{use.parameters:,}"]
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
