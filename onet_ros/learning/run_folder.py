"""What a run folder says about the run in it, and whether a run may go on there."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from onet_ros.learning.training_settings import TrainingSettings, from_mapping

CONFIG_FILE, HISTORY_FILE = "config.json", "history.jsonl"
# What may change between two sittings of a run: none of it changes what a step does. (More steps put the learning
# rate's descent off; that is what asking for more steps means.)
CHANGEABLE = ("steps", "time_limit", "validate_every", "checkpoint_every", "workers", "threads", "device")

# Settings of the world that earlier versions declared and that never did anything.
WITHOUT_EFFECT = ("unit_frame",)


class RunError(ValueError):
    """A run that cannot go on; the message names the folder and the reason."""


def settings_to_go_on(folder: Path, settings: TrainingSettings) -> list[str]:
    """What differs from the settings that the run in the folder was begun with, of what may differ; in words.

    Raises:
        RunError: the folder's run had other settings, architecture included, or its record is damaged.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        return []
    try:
        values = json.loads(path.read_text())
        values["world"] = {k: v for k, v in values.get("world", {}).items() if k not in WITHOUT_EFFECT}
        begun = from_mapping(TrainingSettings, values)
    except ValueError as error:
        raise RunError(
            f"{path} does not say how the run in {folder} was begun: {error}; take another folder"
        ) from error
    before, now = _flat(begun), _flat(settings)
    words = {
        name: f"{name} was {before.get(name)!r}, now {now.get(name)!r}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    }
    in_the_way = [text for name, text in words.items() if name not in CHANGEABLE]
    if in_the_way:
        raise RunError(
            f"{folder} holds a run with other settings: {'; '.join(in_the_way)}. Take another folder, or these settings"
        )
    return list(words.values())


def write_settings(folder: Path, settings: TrainingSettings) -> None:
    write_whole(folder / CONFIG_FILE, json.dumps(dataclasses.asdict(settings), indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all: a write that is cut short leaves the one before."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    os.replace(new, path)


def read_history(folder: Path) -> list[dict[str, float]]:
    """A row for each validation of the run in a folder.

    Raises:
        RunError: there is no such run, or its record is damaged.
    """
    path = folder / HISTORY_FILE
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except OSError as error:
        raise RunError(f"{folder} holds no run: cannot read {path} ({error.strerror})") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from error


def _flat(settings: TrainingSettings) -> dict[str, Any]:
    """Dotted names and plain values."""
    flat: dict[str, Any] = {}

    def walk(values: dict[str, Any], prefix: str) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{name}.")
            else:
                flat[prefix + name] = value

    walk(json.loads(json.dumps(dataclasses.asdict(settings))), "")
    return flat
