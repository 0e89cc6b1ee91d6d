"""The command `onet`: completes clouds, shows the whole chain, trains, evaluates and measures."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from onet_ros import __version__
from onet_ros.idle_threads import soon_idle
from onet_ros.reconstruct_command import ABOUT as ABOUT_RECONSTRUCT
from onet_ros.reconstruct_command import add_reconstruct_arguments, run_reconstruct
from onet_ros.resources import default_model_path
from onet_ros.ros.demo_arguments import add_demo_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 for a command that did not come to a result, 2 for wrong usage."""
    soon_idle()
    parser = _parser()
    parsed = parser.parse_args(arguments)
    parsed.command_line = shlex.join(["onet", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        status: int = parsed.run(parsed)
    except (ValueError, OSError) as error:
        print(f"onet {parsed.command}: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onet",
        description="Completed, watertight meshes of objects on a table from one depth cloud.",
        epilog="onet COMMAND --help explains a command.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_reconstruct(commands)
    _add_data(commands)
    _add_train(commands)
    _add_curves(commands)
    _add_eval(commands)
    _add_shapes(commands)
    _add_bench(commands)
    _add_export(commands)
    return parser


Commands = argparse._SubParsersAction  # the type that add_subparsers returns; argparse gives it no public name


def _add_demo(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "run the real node on a simulated depth camera (or a capture) and show what it completes; needs ROS 2"
    parser = commands.add_parser("demo", help=about, description=about)
    add_demo_arguments(parser)
    parser.set_defaults(run=_run_demo)


def _run_demo(arguments: argparse.Namespace) -> int:
    try:
        from onet_ros.ros.demo import run_demo
    except ImportError as error:
        print(f"onet demo needs ROS 2 and the package's messages ({error}); `make demo` sets both up", file=sys.stderr)
        return 1
    return run_demo(arguments)


def _add_reconstruct(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("reconstruct", help=ABOUT_RECONSTRUCT)
    add_reconstruct_arguments(parser)
    _add_model(parser)
    parser.set_defaults(run=run_reconstruct)


def _add_data(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "prepare your own objects for training"
    actions = commands.add_parser("data", help=about, description=about).add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    about = "check, repair and look at mesh files (.stl, .obj, .ply, .glb), so that `onet train` can mix them in"
    parser = actions.add_parser(
        "add",
        help=about,
        description=about,
        epilog="then: onet train --set own_objects=FOLDER ...; FOLDER/manifest.json says what was done to each file",
    )
    parser.add_argument("meshes", type=Path, metavar="DIR", help="folder of mesh files, searched with its subfolders")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/own_objects"),
        help="prepared objects are added here (default: %(default)s)",
    )
    parser.add_argument(
        "--unit",
        choices=("auto", "mm", "cm", "m"),
        default="auto",
        help="unit of the files; auto takes metres or millimetres where only one of them makes sense (default)",
    )
    parser.add_argument("--views", type=int, default=32, help="simulated views of each object (default: %(default)s)")
    parser.add_argument(
        "--largest-hole",
        type=float,
        default=0.15,
        metavar="SHARE",
        help="close holes up to this share of the longest edge; wider ones are refused (default: %(default)s)",
    )
    parser.add_argument(
        "--max-triangles", type=int, default=20_000, help="simplify larger meshes to this (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the views (default: %(default)s)")
    parser.add_argument("--licence", default="", metavar="TEXT", help="recorded with the objects; yours to know")
    parser.set_defaults(run=_run_data_add)


def _run_data_add(arguments: argparse.Namespace) -> int:
    from onet_ros.learning.mesh_repair import RepairSettings
    from onet_ros.learning.object_intake import IntakeSettings, add_objects

    repair = RepairSettings(largest_hole=arguments.largest_hole, max_triangles=arguments.max_triangles)
    settings = IntakeSettings(
        unit=arguments.unit, views=arguments.views, seed=arguments.seed, licence=arguments.licence, repair=repair
    )
    report = add_objects(arguments.meshes, arguments.out, settings)
    print(
        f"{len(report.added)} added, {len(report.already_there)} already there, {len(report.refused)} refused; "
        f"{report.total} objects in {arguments.out}"
    )
    for name, reason in report.refused.items():
        print(f"refused: {name}: {reason}", file=sys.stderr)
    return 0 if report.total else 1


def _add_train(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "train a network on the simulated world; goes on where a run in the same folder stopped"
    parser = commands.add_parser(
        "train",
        help=about,
        description=about,
        epilog="example: onet train --config config/training/onet_small_cpu.yaml --out runs/small --set steps=500",
    )
    parser.add_argument("--config", type=Path, help="YAML with what differs from the defaults, see config/training")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override one setting; repeatable"
    )
    parser.add_argument("--out", type=Path, help="run folder: checkpoints, curves, the state to go on from")
    parser.add_argument("--print-config", action="store_true", help="show the settings and do nothing")
    parser.add_argument(
        "--measure", action="store_true", help="time a training step and the making of its samples, and do nothing"
    )
    parser.set_defaults(run=_run_train)


def _run_train(arguments: argparse.Namespace) -> int:
    from onet_ros.learning.trainer import Trainer
    from onet_ros.learning.training_settings import load_training_settings
    from onet_ros.learning.training_speed import measure_speed

    settings = load_training_settings(arguments.config, arguments.set)
    if arguments.print_config:
        print(yaml.safe_dump(json.loads(json.dumps(dataclasses.asdict(settings))), sort_keys=False), end="")
        return 0
    if arguments.measure:
        print(measure_speed(settings).text(settings))
        return 0
    if arguments.out is None:
        raise ValueError("where is the run to be kept? --out FOLDER")
    best = Trainer(settings, arguments.out).run()
    if not best:  # of several processes, the first one reports
        return 0
    print(f"best validation IoU {best['iou']:.4f} at step {best['step']:.0f}; checkpoint in {arguments.out / 'best'}")
    return 0


def _add_curves(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "draw what training runs reached over time"
    parser = commands.add_parser("curves", help=about, description=about)
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="run folders of `onet train`")
    parser.add_argument(
        "--out", type=Path, default=Path("out/curves.png"), help=".png, .svg or .pdf (default: %(default)s)"
    )
    parser.set_defaults(run=_run_curves)


def _run_curves(arguments: argparse.Namespace) -> int:
    from onet_ros.learning.run_folder import read_history
    from onet_ros.pictures import save_training_curves

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_training_curves(arguments.out, {folder.name: read_history(folder) for folder in arguments.folders})
    print(arguments.out)
    return 0


def _add_eval(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "score methods against true shapes: from points, pictures or voxel grids"
    parser = commands.add_parser(
        "eval",
        help=about,
        description=f"{about}. Tasks from points: views, scenes, scenes-own, real, real-own, procedural; from a "
        "picture: views-image, real-image, procedural-image; from voxels of the whole object: views-voxels, "
        "procedural-voxels, of what was seen of it: views-map, procedural-map. Procedural objects are of seeds that no "
        "training sees.",
        epilog="example: onet eval --task procedural-image --method models/image --method mean-shape",
    )
    parser.add_argument("--data", type=Path, help="folder with views.npz, scenes/, real/, meshes/")
    parser.add_argument(
        "--method",
        action="append",
        help="checkpoint folder; or, from points, hull, table-hull, poisson, alpha; from a picture mean-shape; from "
        "voxels grid, smoothed-grid; repeatable (default: the model it comes with)",
    )
    parser.add_argument(
        "--task", action="append", help="repeatable (default: all with data for what the methods observe)"
    )
    parser.add_argument("--objects", type=int, default=100, help="of each procedural task (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/eval"), help="folder to write to (default: %(default)s)")
    parser.add_argument("--pictures", action="store_true", help="draw contact sheets, and one of the worst, as well")
    parser.add_argument(
        "--samples", type=int, default=100_000, help="points per score; fewer are quicker (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of those points (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="threads that score (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    parser.set_defaults(run=_run_eval)


def _run_eval(arguments: argparse.Namespace) -> int:
    from onet_ros.learning.evaluation import default_tasks, evaluate
    from onet_ros.learning.evaluation_data import EvaluationData
    from onet_ros.learning.evaluation_report import failures, provenance, summarise, table, write_report, write_sheets
    from onet_ros.learning.methods import make_method, method_labels

    data = None if arguments.data is None else EvaluationData(arguments.data)
    names = arguments.method or [str(default_model_path())]
    labels = dict(zip(method_labels(names), names, strict=True))
    methods = {label: make_method(name, device=arguments.device) for label, name in labels.items()}
    about = provenance(arguments.command_line, labels, arguments.data, arguments.samples, arguments.seed)
    results = evaluate(
        methods,
        data,
        arguments.task or default_tasks(methods, data),
        arguments.samples,
        arguments.seed,
        max(1, arguments.jobs),
        objects=arguments.objects,
    )
    write_report(arguments.out, results, about)
    print(table(summarise(results)))
    for text in failures(results):
        print(f"failed: {text}")
    print(f"{arguments.out / 'report.md'} and report.json say it all")
    if arguments.pictures:
        for path in write_sheets(arguments.out, results):
            print(path)
    return 0


def _add_shapes(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "draw objects of the simulated world on one sheet, with their sizes"
    parser = commands.add_parser("shapes", help=about, description=about)
    parser.add_argument("--out", type=Path, default=Path("out/shapes.png"), help="PNG to write (default: %(default)s)")
    parser.add_argument("--count", type=int, default=100, help="of all families together (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same one gives the same sheet (default: %(default)s)")
    parser.add_argument("--tile", type=int, default=144, help="px of an object's picture (default: %(default)s)")
    parser.add_argument(
        "--photographs", action="store_true", help="draw pictures that image networks are trained on, with their masks"
    )
    parser.set_defaults(run=_run_shapes)


def _run_shapes(arguments: argparse.Namespace) -> int:
    from onet_ros.learning.shape_meshes import resting_size, shape_meshes
    from onet_ros.pictures import save_picture, shape_sheet

    if arguments.count < 1:
        raise ValueError(f"--count must be at least 1, got {arguments.count}")
    if arguments.photographs:
        from onet_ros.learning.photograph_sheet import photograph_sheet

        sheet = photograph_sheet(arguments.count, arguments.seed, arguments.tile)
        print(save_picture(arguments.out, sheet, colours=256))
        return 0
    shapes = shape_meshes(arguments.count, arguments.seed)
    captions = [
        f"{name.replace('_', ' ')}\n" + " × ".join(f"{100.0 * edge:.0f}" for edge in resting_size(mesh)) + " cm"
        for name, mesh in shapes
    ]
    sheet = shape_sheet([mesh for _, mesh in shapes], captions, tile=arguments.tile)
    print(save_picture(arguments.out, sheet, colours=128))
    return 0


def _add_bench(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "measure what every stage costs, and what the paper's own way costs on this machine"
    parser = commands.add_parser(
        "bench",
        help=about,
        description=f"{about}. Takes some minutes and wants the machine to itself: whatever else runs is in the times.",
        epilog="quick look: onet bench --resolutions 64 --objects 1 4 --parts scene completion --out out/quick.md",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs/performance.md"), help="page to write (default: %(default)s)"
    )
    parser.add_argument(
        "--objects", type=int, nargs="+", default=[1, 4, 12], metavar="N", help="in a cloud (default: 1 4 12)"
    )
    parser.add_argument(
        "--resolutions",
        type=int,
        nargs="+",
        default=[32, 64, 128, 256],
        metavar="R",
        help="cells along an edge, powers of two (default: 32 64 128 256)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="spent on each measurement; what takes longer is run once (default: %(default)s)",
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        help="scene: message to points; completion: points to messages; textbook: the same weights the paper's way; "
        "paper: the paper's network, its way and ours; thin-parts: what is missed; node: the whole node "
        "over DDS (default: all)",
    )
    parser.add_argument("--threads", type=int, default=0, help="of torch on the CPU; 0 leaves the choice to it")
    _add_model(parser)
    parser.set_defaults(run=_run_bench)


def _run_bench(arguments: argparse.Namespace) -> int:
    import torch

    from onet_ros.benchmark.bench import PARTS, BenchSettings, run_bench

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = BenchSettings(
        model=arguments.model or default_model_path(),
        model_name=arguments.model.name if arguments.model else "those that come with the package",
        device=arguments.device,
        objects=arguments.objects,
        resolutions=arguments.resolutions,
        seconds=arguments.seconds,
        parts=arguments.parts or PARTS,
        command=arguments.command_line,
    )
    run_bench(settings, arguments.out)
    print(arguments.out)
    return 0


def _add_export(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "write a network's graphs for ONNX Runtime (engine:=onnxruntime), which has providers for CUDA and TensorRT"
    parser = commands.add_parser(
        "export",
        help=about,
        description=f"{about}. Needs the packages onnx and onnxscript, running the graphs needs onnxruntime.",
    )
    parser.add_argument("--model", type=Path, help="checkpoint folder (default: the one that comes with the package)")
    parser.add_argument("--out", type=Path, help="folder to write to (default: the model's own, where they are used)")
    parser.set_defaults(run=_run_export)


def _run_export(arguments: argparse.Namespace) -> int:
    from onet_ros.networks import load_checkpoint
    from onet_ros.networks.onnx_engine import export_onnx

    model = arguments.model or default_model_path()
    try:
        paths = export_onnx(load_checkpoint(model), arguments.out or model)
    except ImportError as error:
        print(f"onet export: {error}; pip install onnx onnxscript", file=sys.stderr)
        return 1
    for path in paths:
        print(path)
    return 0


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, help="checkpoint folder (default: the one that comes with the package)")
    parser.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")


if __name__ == "__main__":
    sys.exit(main())
