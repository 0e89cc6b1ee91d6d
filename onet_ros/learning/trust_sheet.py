"""A picture of what is said of meshes: python -m onet_ros.learning.trust_sheet --out docs/images/trust.png

The demo's simulated table, seen once: what was seen and what is guessed, the errors expected, the conservative shells
with the next views, convex pieces, grasps.
"""

from __future__ import annotations

import argparse
import colorsys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.collision import convex_pieces
from onet_ros.grasping import GraspScene, GraspSettings, Gripper, sample_grasps
from onet_ros.pictures import (
    CLAY,
    GUESSED,
    SEEN,
    Image,
    Stage,
    colour_legend,
    confidence_colours,
    contact_sheet,
    error_colours,
    error_legend,
    render_mesh,
    save_picture,
)
from onet_ros.reconstructor import Reconstruction, Reconstructor
from onet_ros.simulation import DepthCamera, SimulatedTable, demo_objects

SIDE = np.radians(75.0)  # azimuth of the pictures: half of what is seen there was hidden from the camera
SIZE = (760, 560)
LARGEST_ERROR = 0.008  # metres, of the scale
SHELL, ARROW, GRIPPER = (0.55, 0.55, 0.62), (0.25, 0.6, 0.3), (0.2, 0.2, 0.24)
SHELL_OPACITY = 0.45
GRASPS = 1  # of each object
COLOURS = 256  # of the file
PALM = 0.01  # metres deep and wide: what is drawn of it
WORTH_A_LOOK = 0.3  # as the node's markers


def trust_sheet(result: Reconstruction) -> Image:
    """The sheet (H, W, 3) uint8 of the objects of one cloud."""
    assert result.plane is not None
    objects = result.objects
    meshes, plane = [item.mesh for item in objects], np.asarray(result.plane.coefficients)
    stage = Stage.around([item.conservative_mesh for item in objects], plane)
    view = stage.view(SIDE, SIZE)

    def panel(shown: Sequence[trimesh.Trimesh], colours: Sequence[object]) -> Image:
        return render_mesh(shown, view, colours, plane)

    plain = panel(meshes, [CLAY] * len(meshes))
    shells = render_mesh(
        [item.conservative_mesh for item in objects],
        view,
        [SHELL] * len(objects),
        background=plain,
        opacity=SHELL_OPACITY,
    )
    arrows = [_arrow(item.mesh, item.trust.next_view) for item in objects if item.trust.next_view_gain >= WORTH_A_LOOK]
    if arrows:
        shells = render_mesh(arrows, view, [ARROW] * len(arrows), background=shells)
    pieces = [one for item in objects for one in convex_pieces(item.collision_mesh).pieces]
    grippers = _grippers(result)
    rows = [
        [
            panel(meshes, [confidence_colours(item.confidence) for item in objects]),
            panel(meshes, [error_colours(item.error, LARGEST_ERROR) for item in objects]),
        ],
        [shells, panel([*meshes, *grippers], [*[CLAY] * len(meshes), *[GRIPPER] * len(grippers)])],
        [panel(pieces, [_hue(number) for number in range(len(pieces))])],
    ]
    captions = [
        ["Seen and guessed", "Expected error of each vertex"],
        ["Conservative shells, and from where to look next", "The best grasp of each object"],
        ["Convex pieces"],
    ]
    legends = [colour_legend({"seen": SEEN, "guessed": GUESSED}), error_legend(LARGEST_ERROR)]
    return contact_sheet(rows, cell_captions=captions, legends=legends)


def _hue(number: int) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb((0.618 * number) % 1.0, 0.5, 0.85)


def _arrow(mesh: trimesh.Trimesh, direction: NDArray[np.float64]) -> trimesh.Trimesh:
    """Towards an object, from the direction (3,) in which the camera is to stand."""
    radius = float(np.linalg.norm(mesh.extents)) / 2.0
    shaft = trimesh.creation.cylinder(radius=0.003, height=0.05, sections=16)
    shaft.apply_translation([0.0, 0.0, 0.045])
    head = trimesh.creation.cone(radius=0.008, height=0.02, sections=24)
    head.apply_transform(trimesh.transformations.rotation_matrix(np.pi, [1, 0, 0], [0, 0, 0.01]))
    arrow = trimesh.util.concatenate([shaft, head])
    arrow.apply_transform(trimesh.geometry.align_vectors([0.0, 0.0, 1.0], direction))
    return arrow.apply_translation(mesh.bounds.mean(axis=0) + (radius + 0.005) * direction)


def _grippers(result: Reconstruction) -> list[trimesh.Trimesh]:
    """The fingers at the best grasps, and a bar for the palm, which would hide what it holds."""
    assert result.plane is not None
    settings = GraspSettings(candidates=GRASPS)
    drawn = replace(settings, palm_depth=PALM, palm_width=PALM)
    table = np.array([*result.plane.normal, result.plane.offset])
    boxes = []
    for item in result.objects:
        others = [other.collision_mesh for other in result.objects if other is not item]
        for grasp in sample_grasps(GraspScene(item.mesh, item.confidence, item.error, table, others), settings):
            lower, upper = Gripper(drawn).boxes(np.array([grasp.width + 2.0 * settings.clearance]))
            for low, high in zip(lower[0], upper[0], strict=True):
                box = trimesh.creation.box(high - low)
                box.apply_translation((low + high) / 2.0)
                boxes.append(box.apply_transform(grasp.T_source_gripper))
    return boxes


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m onet_ros.learning.trust_sheet", description="Draws what is said of the meshes of a table."
    )
    parser.add_argument("--model", type=Path, default=Path("models/default"), help="checkpoint (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated table (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/trust.png"), help="PNG to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    table = SimulatedTable.arrange(demo_objects(), seed=options.seed)
    camera = DepthCamera(table.meshes, table.camera_pose(), table.surroundings(), seed=options.seed)
    result = Reconstructor.load(options.model).reconstruct(camera.capture(0).points)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    print(save_picture(options.out, trust_sheet(result), COLOURS))


if __name__ == "__main__":
    main()
