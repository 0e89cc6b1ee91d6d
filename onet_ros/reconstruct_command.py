"""The command `onet reconstruct`: its arguments, explained without loading torch, and its run."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import zipfile
from pathlib import Path

from onet_ros.resources import default_model_path

ABOUT = "complete the objects of recordings: clouds, bags (ROS 2 folders, .mcap, .db3, .bag), pictures, voxel files"
MODES = ("points", "image", "voxels")
RESOLUTIONS = (32, 64, 128, 256, 512)
START_RESOLUTION = 32
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def add_reconstruct_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that `run_reconstruct` takes, but for the model and its device."""
    parser.description = (
        f"{ABOUT}. Takes the way of the node, without ROS; objects keep their numbers over a recording. Writes a mesh "
        "for each object where it stood, scene.glb, picture.png and report.json. Clouds: .npz, .ply, .pcd. Pictures "
        "with --intrinsics and --mask, or an .npz with rgb. Voxels: .binvox, or .npz with voxels, origin and edge."
    )
    parser.epilog = "example: onet reconstruct run.mcap --topic /camera/depth/color/points --target-frame base_link"
    parser.add_argument("recordings", type=Path, nargs="+", metavar="FILE", help="captures and bags")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/reconstruct"),
        help="folder to write to; one below it for each of several recordings (default: %(default)s)",
    )
    parser.add_argument(
        "--topic", default="", help="of a bag: its clouds, or depth images with camera_info beside them"
    )
    parser.add_argument(
        "--target-frame", default="", metavar="FRAME", help="of a bag with /tf: the fixed frame, z up, of the results"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="work on every N-th cloud of a bag")
    parser.add_argument("--format", choices=("ply", "stl", "obj", "glb"), default="ply", help="of the meshes")
    parser.add_argument(
        "--models", action="store_true", help="write each object in its own frame as well, with a URDF, to OUT/models"
    )
    parser.add_argument(
        "--grasps",
        action="store_true",
        help="put grasps of the objects, by a parallel gripper, into report.json; --set grasps.NAME=VALUE",
    )
    parser.add_argument("--no-picture", action="store_true", help="draw no picture.png, which takes some seconds")
    parser.add_argument("--params", type=Path, metavar="YAML", help="parameters of the node, such as config/onet.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one such parameter; repeatable"
    )
    parser.add_argument("--mode", choices=MODES, help="what to reconstruct from (default: by what the file holds)")
    parser.add_argument(
        "--resolution", type=int, choices=RESOLUTIONS, help="cells along an edge of an object's box (default: 64)"
    )
    picture = parser.add_argument_group("pictures", "an .npz capture with rgb brings all of these along, where it can")
    picture.add_argument("--intrinsics", metavar="FX,FY,CX,CY", help="of the camera, pixels; undistorted")
    picture.add_argument("--mask", type=Path, help="picture of the same size: 0 nothing, every other value an object")
    picture.add_argument("--plane", metavar="NX,NY,NZ,D", help="the table in the camera's optical frame, metres")
    picture.add_argument(
        "--depth", type=Path, help="16-bit picture in millimetres, or .npy in metres: gives the scale without a plane"
    )
    parser.add_argument("--up", choices=("y", "z"), default="y", help="what is up in a .binvox (default: %(default)s)")


def run_reconstruct(arguments: argparse.Namespace) -> int:
    """Reconstruct each recording; the exit status: 0, or 1 where one of them gave no object."""
    from onet_ros.file_reconstruction import reconstruct_recording, write_results
    from onet_ros.object_files import ObjectFileSettings
    from onet_ros.reconstructor import Reconstructor
    from onet_ros.recordings import open_recording
    from onet_ros.ros.node_settings import settings_from

    if arguments.every < 1:
        raise ValueError(f"--every must be at least 1, got {arguments.every}")
    node, settings = settings_from(arguments.params, arguments.set)
    if arguments.resolution:
        doublings = (arguments.resolution // START_RESOLUTION).bit_length() - 1
        grid = {"start_resolution": START_RESOLUTION, "doublings": doublings, "voxel_size": 0.0}
        settings = dataclasses.replace(settings, extraction=dataclasses.replace(settings.extraction, **grid))
    modes = {path: arguments.mode or mode_of(path) for path in arguments.recordings}
    shapes = [path for path, mode in modes.items() if mode != "points"]
    if shapes:
        from onet_ros.shape_files import reconstruct_shape_file

        if len(modes) > 1:
            raise ValueError(f"pictures and voxel files are taken one at a time, got {len(modes)} files")
        if arguments.grasps:
            raise ValueError(f"--grasps needs clouds, {shapes[0]} is reconstructed from {modes[shapes[0]]}")
        return reconstruct_shape_file(arguments, shapes[0], modes[shapes[0]], settings)
    model = Reconstructor.load(arguments.model or default_model_path(), settings, arguments.device)
    models = ObjectFileSettings(density=node.files.density) if arguments.models else None
    complete = True
    for path in arguments.recordings:
        recording = open_recording(path, arguments.topic, arguments.target_frame, node.max_points)
        found = reconstruct_recording(model, recording, arguments.every, path.name)
        folder = arguments.out / path.stem if len(arguments.recordings) > 1 else arguments.out
        gripper = node.grasps if arguments.grasps else None
        report = write_results(folder, found, arguments.format, models, not arguments.no_picture, gripper)
        for sentence in (*report["not_completed"], *(f"{n} frames: {why}" for why, n in report["dropped"].items())):
            print(f"not completed: {sentence}", file=sys.stderr)
        for record in report["objects"]:
            size = " x ".join(str(edge) for edge in record["size_mm"])
            views = f", {record['views']} views" if record["views"] > 1 else ""
            gone = "" if record["present_at_the_end"] else ", gone in the end"
            held = f", {len(record['grasps'])} grasps" if "grasps" in record else ""
            print(f"{folder / record['file']}: {size} mm, {record['seen']:.0%} seen{views}{gone}{held}")
        complete = complete and bool(report["objects"])
    return 0 if complete else 1


def mode_of(path: Path) -> str:
    """What a file's name, and for an .npz its content, says it is."""
    if path.suffix.lower() in PICTURES:
        return "image"
    if path.suffix.lower() == ".binvox":
        return "voxels"
    if path.suffix.lower() == ".npz" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "voxels" if "voxels.npy" in archive.namelist() else "points"
    return "points"
