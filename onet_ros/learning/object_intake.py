"""From a folder of mesh files to training data: read, checked, repaired, put on the table, and looked at.

The views come from the same simulated camera, sensor and cutting-out as the procedural world's. Every file ends up in
the manifest, as an object or as refused with the reason.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import trimesh
from safetensors.torch import save_file
from tqdm import tqdm

from onet_ros.learning.mesh_files import RefusedMeshError, find_mesh_files, metres_per_unit, read_mesh
from onet_ros.learning.mesh_repair import RepairSettings, make_solid
from onet_ros.learning.own_objects import MANIFEST_FILE, TENSORS, Manifest, OwnObject
from onet_ros.learning.placed_meshes import PlacedMesh, RestingPoses, random_yaw, resting_poses
from onet_ros.learning.source import gather_rows
from onet_ros.learning.world import Samples, WorldSettings, observe

VIEWS_AT_ONCE = 16


@dataclass(frozen=True)
class IntakeSettings:
    """How mesh files become training data.

    Attributes:
        unit: "auto", "mm", "cm" or "m".
        views: simulated views of each object.
        seed: the same file with the same settings gives the same samples.
        licence: recorded with each object; what it is, is for the user to say.
    """

    unit: str = "auto"
    views: int = 32
    seed: int = 0
    licence: str = ""
    repair: RepairSettings = field(default_factory=RepairSettings)
    world: WorldSettings = field(default_factory=WorldSettings)

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError(f"views must be at least 1, got {self.views}")

    @property
    def preparation(self) -> dict[str, object]:
        """What the samples depend on, beside the file."""
        names = ("unit", "views", "seed", "repair", "world")
        found: dict[str, object] = json.loads(json.dumps({name: asdict(self)[name] for name in names}))
        return found


@dataclass
class IntakeReport:
    """What came of an intake, files by their path in the folder that was added; and the objects in `out` now."""

    added: list[OwnObject] = field(default_factory=list)
    already_there: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    total: int = 0


def add_objects(
    source: str | Path,
    out: str | Path,
    settings: IntakeSettings | None = None,
    tell: Callable[[str], None] = tqdm.write,
    progress: bool = True,
) -> IntakeReport:
    """Prepare all meshes of `source` for training in `out`, beside what is there already.

    Args:
        source: folder, searched with its subfolders.
        out: folder for `OwnObjects`, made if missing.
        tell: receives a line per file.

    Raises:
        FileNotFoundError, ValueError: no such folder, or no mesh files in it.
    """
    settings = settings or IntakeSettings()
    source, out = Path(source), Path(out)
    files = find_mesh_files(source)
    manifest = Manifest.read(out) if (out / MANIFEST_FILE).exists() else Manifest()
    for name in ("meshes", "samples"):
        (out / name).mkdir(parents=True, exist_ok=True)
    report = IntakeReport()
    bar = tqdm(files, unit="file", disable=not progress)
    for path in bar:
        relative = path.relative_to(source).as_posix()
        bar.set_postfix_str(relative[-40:], refresh=True)
        line = _take_in(path, relative, out, manifest, report, settings)
        manifest.write(out)
        tell(f"{relative}: {line}")
    report.total = len(manifest.objects)
    return report


def _take_in(
    path: Path, relative: str, out: Path, manifest: Manifest, report: IntakeReport, settings: IntakeSettings
) -> str:
    """One file: into the manifest and the report; returns what to say about it."""
    origin = str(path.resolve())
    manifest.refused.pop(origin, None)
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    same = next((entry for entry in manifest.objects if entry.sha256 == content), None)
    if same is not None and same.preparation == settings.preparation and same.samples_path(out).is_file():
        same.licence = settings.licence or same.licence
        report.already_there.append(relative)
        return f"already there as {same.name}" + (f", the same as {same.source}" if same.source != origin else "")
    try:
        entry, told = _prepared(path, content, out, manifest, settings)
    except RefusedMeshError as error:
        manifest.refused[origin] = report.refused[relative] = str(error)
        return f"REFUSED: {error}"
    manifest.objects = [old for old in manifest.objects if old.name != entry.name] + [entry]
    report.added.append(entry)
    return "; ".join(told)


def _prepared(
    path: Path, content: str, out: Path, manifest: Manifest, settings: IntakeSettings
) -> tuple[OwnObject, list[str]]:
    """An object's files written, its manifest entry, and what to say about it."""
    raw = read_mesh(path)
    unit, factor, about_unit = metres_per_unit(tuple(raw.extents), settings.unit)
    mesh, repairs = make_solid(trimesh.Trimesh(raw.vertices * factor, raw.faces, process=False), settings.repair)
    poses = resting_poses(mesh)
    name = _free_name(path, content, manifest)
    generator = torch.Generator().manual_seed((int(content[:12], 16) * 1_000_003 + settings.seed) % 2**63)
    samples = _views(mesh, name, poses, settings, generator)
    entry = OwnObject(
        name=name,
        source=str(path.resolve()),
        sha256=content,
        licence=settings.licence,
        unit=unit,
        metres_per_unit=factor,
        size_mm=[round(1000.0 * float(edge), 2) for edge in mesh.extents],
        triangles_in_file=len(raw.faces),
        triangles=len(mesh.faces),
        repairs=repairs,
        resting_poses=int(poses.kind.max()) + 1,
        views=len(samples.points),
        preparation=settings.preparation,
    )
    _write(entry, mesh, samples, out)
    size = " x ".join(f"{edge:.0f}" for edge in entry.size_mm)
    told = [about_unit, f"{size} mm", *(repairs or ["solid as it is"]), f"{entry.views} views as {name}"]
    return entry, told


def _views(
    mesh: trimesh.Trimesh,
    name: str,
    poses: RestingPoses,
    settings: IntakeSettings,
    generator: torch.Generator,
) -> Samples:
    """As many views as asked, of poses drawn anew for each; fewer if the object can hardly be seen."""
    chunks: list[Samples] = []
    wanted = settings.views
    for _ in range(3 * -(-settings.views // VIEWS_AT_ONCE)):
        rotation = random_yaw(poses.draw(min(VIEWS_AT_ONCE, settings.views), generator), generator)
        chunk = observe(PlacedMesh(mesh, name, rotation, generator), generator, settings.world)
        if len(chunk.points):
            chunks.append(chunk)
            wanted -= len(chunk.points)
        if wanted <= 0:
            break
    if not chunks:
        raise RefusedMeshError("can hardly be seen: no simulated view shows enough of it")
    rows = [(c, r) for c, chunk in enumerate(chunks) for r in range(len(chunk.points))][: settings.views]
    return gather_rows(chunks, [c for c, _ in rows], [r for _, r in rows])


def _free_name(path: Path, content: str, manifest: Manifest) -> str:
    """The name of an object's file, numbered where another object has it; prepared anew, an object keeps its name."""
    for entry in manifest.objects:
        if content == entry.sha256 or str(path.resolve()) == entry.source:
            return entry.name
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem).strip("._") or "object"
    taken = {entry.name for entry in manifest.objects}
    numbers = (f"{plain}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (plain, *numbers) if name not in taken)


def _write(entry: OwnObject, mesh: trimesh.Trimesh, samples: Samples, out: Path) -> None:
    mesh.export(entry.mesh_path(out))
    path = entry.samples_path(out)
    new = path.with_suffix(".new")
    tensors = {name: getattr(samples, name).contiguous() for name in TENSORS}
    try:
        save_file(tensors, new)
        new.chmod(0o644)  # safetensors leaves its files readable by their owner only
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
