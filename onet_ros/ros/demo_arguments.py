"""The demo's command line: apart from the demo, so that `onet --help` need not load ROS and torch to explain it."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that `run_demo` takes."""
    parser.add_argument("--cloud", type=Path, help="recorded capture (.npz, .ply, .pcd) instead of a simulated table")
    parser.add_argument("--truth-meshes", type=Path, help="folder of the true meshes that a capture names")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", type=Path, help="checkpoint folder (default: the one that comes with the package)")
    parser.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which simulated table (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=6, help="how many objects stand on it (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=5.0, help="clouds a second (default: %(default)s)")
    parser.add_argument(
        "--results", type=int, default=3, help="messages to wait for; the last counts (default: %(default)s)"
    )
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds to wait for them (default: %(default)s)")
