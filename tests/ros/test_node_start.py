"""What the node says when it cannot start, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from onet_ros.ros.processes import NodeProcess

pytestmark = pytest.mark.ros

# Parameters, and what the node has to say of them.
REFUSED = {
    "value out of range": (
        ["segmentation.min_points:=-5"],
        "parameter segmentation.min_points must be in [3, 1000000], got -5",
    ),
    "wrong type": (["marker_lifetime:=long"], "parameter marker_lifetime must be float, got str 'long'"),
    "not a number": (["plane.distance_threshold:=.nan"], "parameter plane.distance_threshold must be in"),
    "contradiction": (
        ["region.minimum:=[0.0, 0.0, 5.0]", "region.maximum:=[1.0, 1.0, 2.0]"],
        "parameter region.minimum",
    ),
    "malformed argument": (["no_assignment"], "no_assignment"),
    "missing parameters file": (["--params-file", "/nowhere.yaml"], "/nowhere.yaml"),
}

# One process starts the node once for each set of arguments, since importing torch takes the most time by far.
START_ALL = """
import json, sys
from onet_ros.ros.node import main
for arguments in json.loads(sys.argv[1]):
    print("exit code", main(["node", "--ros-args", *arguments]), "end of case", file=sys.stderr, flush=True)
"""


@pytest.fixture(scope="module")
def refusals(ros_domain) -> dict[str, str]:
    """What the node wrote in each case."""
    arguments = []
    for words, _ in REFUSED.values():
        is_option = words[0].startswith("--")
        arguments.append(words if is_option else [argument for word in words for argument in ("-p", word)])
    command = [sys.executable, "-c", START_ALL, json.dumps(arguments)]
    output = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stderr
    logs = output.split("end of case")
    return dict(zip(REFUSED, logs, strict=False))


@pytest.mark.parametrize("case", REFUSED)
def test_node_that_cannot_start_says_why(case, refusals):
    log = refusals[case]
    assert "[FATAL]" in log
    assert "cannot start: " in log
    assert REFUSED[case][1] in log
    assert "exit code 1" in log
    assert "Traceback" not in log


@pytest.mark.nodes
def test_process_without_a_model_waits_for_one_and_processes_end_cleanly_on_sigterm(
    client, octahedron_checkpoint, tmp_path
):
    waiting = NodeProcess(
        "onet_ros.ros.node", ["--ros-args", "-p", "model:=/nowhere", "-r", "__ns:=/waiting"], tmp_path / "waiting.log"
    )
    # A whole number for a float is what many a YAML file has: it is taken.
    parameters = ["-p", f"model:={octahedron_checkpoint}", "-p", "marker_lifetime:=2", "-r", "__ns:=/other"]
    working = NodeProcess("onet_ros.ros.node", ["--ros-args", *parameters], tmp_path / "working.log")
    advice = "mend the parameter and go on with: ros2 lifecycle set /waiting/onet configure"
    client.wait_until(lambda: advice in waiting.log(), waiting, timeout=60.0)
    assert "cannot configure: no checkpoint: cannot read /nowhere/config.json" in waiting.log()
    client.wait_until(lambda: "waiting for input on /other/points" in working.log(), working, timeout=60.0)
    assert working.stop(signal.SIGTERM) == waiting.stop(signal.SIGTERM) == 0
    assert "stopped: 0 frames reconstructed, nothing dropped" in working.log()
    for process in (waiting, working):
        assert "Traceback" not in process.log()
