"""`onet reconstruct`: recordings to meshes, the same way as the node takes, without ROS."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from tqdm import tqdm

from onet_ros.grasping import GraspSettings
from onet_ros.live_scene import LiveObject, LiveScene, SceneUpdate
from onet_ros.object_files import FORMATS, ObjectFileSettings, save_objects
from onet_ros.object_grasps import ObjectGrasps, grasp_record
from onet_ros.pictures import confidence_colours, reconstruction_picture, save_picture
from onet_ros.reconstructor import Reconstructor
from onet_ros.recordings import RecordedFrame, Recording
from onet_ros.recordings.transforms import TransformError
from onet_ros.scene import CloudError, PointCloud, StampOrder

UP = (0.0, 0.0, 1.0)  # of a fixed frame, REP 103
SCENE_FILE, PICTURE_FILE, REPORT_FILE = "scene.glb", "picture.png", "report.json"


@dataclass
class ReconstructedRecording:
    """What came of a recording.

    Attributes:
        frame_id: of the objects.
        objects: every object that was ever completed, as it was known last; by number.
        present: numbers of those that are known at the end.
        timeline: for each frame that was worked on its stamp, the objects known after it and those completed anew.
        dropped: frames that came to nothing, by reason.
        failures: sentences on objects that could not be completed, the last ones.
        last: the last frame that was worked on, its cloud and what was known then; None where there was none.
        seconds: spent by stage, in all.
    """

    frame_id: str = ""
    objects: dict[int, LiveObject] = field(default_factory=dict)
    present: list[int] = field(default_factory=list)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    last: tuple[RecordedFrame, PointCloud, SceneUpdate] | None = None
    seconds: Counter[str] = field(default_factory=Counter)


def reconstruct_recording(
    reconstructor: Reconstructor, recording: Recording, every: int = 1, name: str = ""
) -> ReconstructedRecording:
    """Run a recording through, with a progress bar.

    Args:
        reconstructor: that completes the objects.
        recording: to be read once.
        every: work on every n-th frame only.
        name: for the progress bar.
    """
    found, live, order = ReconstructedRecording(), LiveScene(reconstructor), StampOrder()
    with tqdm(total=len(recording), desc=name, unit="frame", disable=None) as progress:
        for number, frame in enumerate(recording.frames()):
            progress.update()
            if number % every:
                continue
            try:
                _take_in(found, live, order, frame, recording)
            except (CloudError, TransformError) as error:
                _drop(found, progress, str(error))
            progress.set_postfix(objects=len(found.present), refresh=False)
    return found


def _take_in(
    found: ReconstructedRecording, live: LiveScene, order: StampOrder, frame: RecordedFrame, recording: Recording
) -> None:
    """One frame more. Raises CloudError or TransformError where it comes to nothing."""
    jumped, in_order = order.check(frame.stamp)
    if jumped or frame.frame_id != (found.frame_id or frame.frame_id):
        live.clear()
    if not in_order:
        raise CloudError("a cloud came after one that was taken later")
    found.frame_id = frame.frame_id
    cloud = frame.cloud()
    update = live.update(
        cloud,
        frame.stamp,
        viewpoint=frame.viewpoint(),
        up=UP if recording.fixed_frame else None,
        fixed_frame=recording.fixed_frame,
        everything=len(recording) == 1,
    )
    found.seconds.update(update.timings)
    if update.plane is None:
        raise CloudError("; ".join(update.failures))
    found.objects.update({item.number: item for item in update.objects})
    found.present = [item.number for item in update.objects]
    found.failures = [*found.failures, *update.failures][-20:]
    found.timeline.append(
        {"stamp": frame.stamp, "objects": found.present, "completed": update.completed, "waiting": update.waiting}
    )
    found.last = (frame, cloud, update)


def _drop(found: ReconstructedRecording, progress: Any, reason: str) -> None:
    if reason not in found.dropped:
        progress.write(f"frame left out: {reason}")
    found.dropped[reason] += 1


def write_results(
    folder: Path,
    found: ReconstructedRecording,
    file_format: str = "ply",
    models: ObjectFileSettings | None = None,
    picture: bool = True,
    gripper: GraspSettings | None = None,
) -> dict[str, Any]:
    """Write what came of a recording: meshes where they stood, all of them as one scene, a picture, and a report.

    Args:
        folder: made where it does not exist; object files of an earlier run are removed from it.
        found: what came of it.
        file_format: of the meshes, one of `object_files.FORMATS`.
        models: to write the objects in their own frames as well, to `folder`/models.
        picture: whether to draw one.
        gripper: to look for grasps on the objects that are there at the end, for the report.

    Returns:
        The report, as it is in report.json.
    """
    if file_format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {file_format!r}")
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("object_*"):
        leftover.unlink()
    records: list[dict[str, Any]] = []
    for number, item in found.objects.items():
        path = folder / f"object_{number}.{file_format}"
        coloured_mesh(item).export(path)
        records.append(_record(item, path, number in found.present))
    if gripper is not None:
        _add_grasps(records, found, gripper)
    if found.present:
        scene = trimesh.Scene()
        for number in found.present:
            scene.add_geometry(coloured_mesh(found.objects[number]), geom_name=f"object_{number}")
        scene.export(folder / SCENE_FILE)
    if models is not None and found.objects:
        shapes = {number: item.shape for number, item in found.objects.items()}
        stamp = max(item.last_seen for item in found.objects.values())
        save_objects(folder / "models", shapes, found.frame_id, stamp, models)
    drawn = _picture(found) if picture else None
    if drawn is not None:
        save_picture(folder / PICTURE_FILE, drawn)
    report = {
        "frame_id": found.frame_id,
        "objects": records,
        "frames": len(found.timeline),
        "dropped": dict(found.dropped),
        "not_completed": found.failures,
        "seconds": {stage: round(seconds, 4) for stage, seconds in found.seconds.items()},
        "timeline": found.timeline,
    }
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def coloured_mesh(item: LiveObject) -> trimesh.Trimesh:
    """An object's mesh where it stands, in the colours of what was seen and what was guessed."""
    colours = np.rint(255 * confidence_colours(item.shape.confidence)).astype(np.uint8)
    mesh = trimesh.Trimesh(item.shape.mesh.vertices, item.shape.mesh.faces, process=False)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colours)
    return mesh


def _add_grasps(records: list[dict[str, Any]], found: ReconstructedRecording, gripper: GraspSettings) -> None:
    """To the records of the objects that are there at the end, why there can be none to `not_completed`."""
    plane = None if found.last is None else found.last[2].plane
    if plane is None:
        return
    grasps = ObjectGrasps(gripper)
    failures = grasps.update({number: found.objects[number].shape for number in found.present}, plane.coefficients)
    found.failures += [f"no grasps of object {number}: {failure}" for number, failure in failures.items() if failure]
    for record in records:
        if record["present_at_the_end"]:
            record["grasps"] = [grasp_record(grasp) for grasp in grasps.of(record["id"])]


def _record(item: LiveObject, path: Path, present: bool) -> dict[str, Any]:
    shape = item.shape
    return {
        "id": item.number,
        "file": path.name,
        "T_frame_object": shape.T_source_object.tolist(),
        "size_mm": [round(1000.0 * float(edge), 1) for edge in shape.size],
        "seen_points": len(shape.indices),
        "seen": round(shape.seen_fraction, 4),
        "views": item.views,
        "first_seen": item.first_seen,
        "last_seen": item.last_seen,
        "completed": item.completed,
        "present_at_the_end": present,
    }


def _picture(found: ReconstructedRecording) -> NDArray[np.uint8] | None:
    if found.last is None or not found.last[2].objects:
        return None
    frame, cloud, update = found.last
    plane = update.plane
    return reconstruction_picture(
        cloud.points,
        [item.shape.mesh for item in update.objects],
        [item.shape.confidence for item in update.objects],
        plane=None if plane is None else plane.coefficients,
        viewpoint=frame.viewpoint(),
        rgb=frame.rgb if frame.rgb is not None and frame.rgb.shape[0] > 1 else None,
    )
