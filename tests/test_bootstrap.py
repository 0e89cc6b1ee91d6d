"""The set-up behind `make`: what it picks, what it asks for, and when it does something again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

import bootstrap  # noqa: E402
import build_messages  # noqa: E402
import fix_ros_wheels  # noqa: E402
import system_requirements  # noqa: E402
from system_requirements import Interpreter, SetupError, choose_interpreter  # noqa: E402


def interpreter(version: tuple[int, int, int], complete: bool = True) -> Interpreter:
    return Interpreter(f"/usr/bin/python{version[0]}.{version[1]}", version, complete, complete)


def test_first_complete_interpreter_of_a_supported_version_is_chosen():
    found = [interpreter((3, 9, 2)), interpreter((3, 11, 2), complete=False), interpreter((3, 10, 4))]
    assert choose_interpreter(found).version == (3, 10, 4)


def test_incomplete_interpreter_is_chosen_where_there_is_no_other():
    assert choose_interpreter([interpreter((3, 12, 3), complete=False)]).version == (3, 12, 3)


def test_python_of_a_sourced_ros_is_the_only_one_allowed():
    found = [interpreter((3, 11, 2)), interpreter((3, 14, 0))]
    assert choose_interpreter(found, required=(3, 14)).version == (3, 14, 0)
    with pytest.raises(SetupError, match=r"apt-get install -y python3\.12 python3\.12-venv python3\.12-dev"):
        choose_interpreter(found, required=(3, 12))


def test_refusal_of_an_old_python_quotes_what_was_found():
    with pytest.raises(SetupError, match=r"found /usr/bin/python3\.8 \(3\.8\.10\)"):
        choose_interpreter([interpreter((3, 8, 10))])


def test_running_interpreter_is_probed_as_it_is():
    probed = system_requirements.probe_interpreter(sys.executable)
    assert probed is not None
    assert probed.version == sys.version_info[:3]


def test_command_that_does_not_run_is_no_interpreter(tmp_path):
    shim = tmp_path / "python3"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    assert system_requirements.probe_interpreter(str(shim)) is None
    assert system_requirements.probe_interpreter(str(tmp_path / "missing")) is None


def test_missing_parts_of_python_are_named_by_their_packages():
    packages = system_requirements.missing_packages(interpreter((3, 12, 3), complete=False), build=True)
    assert {"python3.12-venv", "python3.12-dev"} <= set(packages)


def test_stage_runs_again_only_for_another_key(tmp_path, capsys):
    runs = []
    for key in ("a", "a", "b"):
        bootstrap.Memory(tmp_path / "setup.json").run("stage", key, "a stage", lambda key=key: runs.append(key))
    assert runs == ["a", "b"]
    assert capsys.readouterr().out.count("a stage") == 2


def test_stage_that_failed_is_tried_again(tmp_path):
    def fail() -> None:
        raise subprocess.CalledProcessError(1, ["pip"])

    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            bootstrap.Memory(tmp_path / "setup.json").run("stage", "key", "a stage", fail)


def test_test_interfaces_yield_to_the_real_packages(tmp_path):
    ours = ["moveit_msgs", "object_recognition_msgs", "octomap_msgs", "trajectory_msgs"]
    assert build_messages.missing_test_interfaces([tmp_path]) == ours
    for name in ours:
        (tmp_path / "share" / name).mkdir(parents=True)
        (tmp_path / "share" / name / "package.xml").touch()
    assert build_messages.missing_test_interfaces([Path("/nowhere"), tmp_path]) == []


def test_package_is_built_again_for_another_ros():
    assert build_messages.package_key("jazzy") == build_messages.package_key("jazzy")
    assert build_messages.package_key("jazzy") != build_messages.package_key("humble")


def test_paths_of_the_build_host_are_replaced_once():
    text = '"/opt/python/cp311-cp311/include/python3.11;/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy"'
    repaired = fix_ros_wheels.repair(text, "/env/include", "/env/site-packages")
    assert repaired == '"/env/include;/env/site-packages/numpy"'
    assert fix_ros_wheels.repair(repaired, "/other", "/other") == repaired
