"""A user's own objects as training data: a folder with a readable manifest and, per object, ready training samples.

    manifest.json            what is here, where it came from, what was done to it, what was refused
    meshes/NAME.ply          the solid mesh, metres
    samples/NAME.safetensors simulated views with occupancy labels: the fields of `Samples`, a row per view

`object_intake` writes such folders; nothing in them is pickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from onet_ros.learning.world import Samples, WorldSettings

FORMAT = 1
MANIFEST_FILE = "manifest.json"
TENSORS = tuple(f.name for f in fields(Samples) if f.name != "families")


@dataclass
class OwnObject:
    """One object of the manifest.

    Attributes:
        name: unique in the folder, and the stem of its files.
        source: path of the mesh file.
        sha256: of the mesh file.
        licence: as the user stated it; empty when unsaid.
        unit, metres_per_unit: of the mesh file.
        size_mm: edges of the bounding box.
        triangles_in_file, triangles: before and after.
        repairs: what was done to the mesh, in words.
        resting_poses: kinds of stable poses found.
        views: rows of the samples.
        preparation: settings that the samples depend on.
    """

    name: str
    source: str
    sha256: str
    licence: str
    unit: str
    metres_per_unit: float
    size_mm: list[float]
    triangles_in_file: int
    triangles: int
    repairs: list[str]
    resting_poses: int
    views: int
    preparation: dict[str, Any]

    def mesh_path(self, folder: Path) -> Path:
        return folder / "meshes" / f"{self.name}.ply"

    def samples_path(self, folder: Path) -> Path:
        return folder / "samples" / f"{self.name}.safetensors"


@dataclass
class Manifest:
    """What a folder of own objects holds; refused files by name, with the reason."""

    objects: list[OwnObject] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises ValueError, naming the file, for anything but a manifest of this format."""
        path = folder / MANIFEST_FILE
        try:
            content = json.loads(path.read_text())
        except OSError as error:
            raise FileNotFoundError(
                f"{folder} holds no prepared objects: cannot read {path} ({error.strerror}); `onet data add` makes them"
            ) from error
        except ValueError as error:
            raise ValueError(f"{path} is not valid JSON: {error}") from error
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        if found != FORMAT:
            raise ValueError(f"{path}: expected format {FORMAT}, found {found!r}")
        try:
            objects = [OwnObject(**entry) for entry in content["objects"]]
            return cls(objects, dict(content["refused"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error

    def write(self, folder: Path) -> None:
        """A write that fails leaves the previous manifest whole."""
        objects = [dataclasses.asdict(entry) for entry in self.objects]
        text = json.dumps({"format": FORMAT, "objects": objects, "refused": self.refused}, indent=1)
        new = folder / (MANIFEST_FILE + ".new")
        try:
            new.write_text(text + "\n")
        except OSError:
            new.unlink(missing_ok=True)
            raise
        os.replace(new, folder / MANIFEST_FILE)


class OwnObjects:
    """The samples of a prepared folder, read row by row as they are drawn.

    Raises:
        FileNotFoundError, ValueError: nothing prepared there, no object in it, or samples missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.objects = Manifest.read(self.folder).objects
        if not self.objects:
            raise ValueError(f"{self.folder / MANIFEST_FILE} lists no objects")
        missing = [entry.name for entry in self.objects if not entry.samples_path(self.folder).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{self.folder} lacks the samples of {', '.join(missing)}; run `onet data add` again"
            )

    @property
    def digest(self) -> str:
        """Changes when the samples do: a run that goes on has to find what it began with."""
        facts = [[entry.name, entry.sha256, entry.views, entry.preparation] for entry in self.objects]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def draw(self, count: int, generator: torch.Generator, world: WorldSettings) -> Samples:
        """`count` random views, each object as likely as the other, with as many points as the world's samples have."""
        which = torch.randint(len(self.objects), (count,), generator=generator).tolist()
        lots = torch.rand(count, generator=generator).tolist()
        entries = [self.objects[i] for i in which]
        rows = [self._row(entry, int(lot * entry.views)) for entry, lot in zip(entries, lots, strict=True)]
        columns = {name: torch.stack([row[name] for row in rows]) for name in TENSORS}
        columns["points"] = _resized(columns["points"], world.seen_points)
        columns["background"] = _resized(columns["background"], world.background_points)
        for name in ("queries", "inside"):  # uniform ones first, then those near the surface
            uniform, near = columns[name].chunk(2, dim=1)
            half = world.queries // 2
            columns[name] = torch.cat([_resized(uniform, half), _resized(near, world.queries - half)], dim=1)
        return Samples(families=[f"own:{entry.name}" for entry in entries], **columns)

    def _row(self, entry: OwnObject, row: int) -> dict[str, Tensor]:
        path = entry.samples_path(self.folder)
        try:
            with safe_open(path, framework="pt") as shard:
                return {name: shard.get_slice(name)[row] for name in TENSORS}
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} cannot be read: {error}; run `onet data add` again") from error


def _resized(rows: Tensor, count: int) -> Tensor:
    """(N, K, ...) -> (N, count, ...): the first ones, or all of them over and over."""
    return rows[:, torch.arange(count) % rows.shape[1]]
