"""Antipodal grasps: two contacts whose connecting line lies in the friction cone of both (V.-D. Nguyen, "Constructing
Force-Closure Grasps", International Journal of Robotics Research, 1988), with room for the gripper.

A mesh is not the object, so the condition has to hold around each contact as well, and contacts that the camera saw
count for more than those it did not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.grasping.closing import closing_cosines, pad_places
from onet_ros.grasping.gripper import GraspSettings
from onet_ros.grasping.room import Approaches, approaches, points_around, with_room
from onet_ros.ray_casting import RayHits, RayScene
from onet_ros.surface import mesh_normals

AXES = 3  # closing directions that are tried at each place: the normal, and two within the friction cone
PATCH = 0.003  # metres beside a contact at which the surface is looked at again
TRIED = 300  # pairs of contacts for which room is looked for
CLOSED = 150  # approaches with room that are enough to choose from
NARROWEST = 0.002  # metres between contacts
LOOSE = 0.9  # of the cosine of the friction cone, that the face that a ray meets has to be within at least
APART = 0.01  # metres between two candidates, or
TURNED = 0.9  # cosine between their closing directions and approaches
DOUBT = 0.004  # metres of expected error at which a contact counts for 0.6
START = 1e-4  # metres that rays begin inside or outside a surface
PARTS = (
    "friction",  # how deep the closing direction lies in the friction cones around both contacts
    "trust",  # in the less certain contact, by the error expected there
    "balance",  # how near the line between the contacts passes by the middle of mass
    "approach",  # how near to the preferred one
)


def _shift(y: float, z: float, about_z: float) -> NDArray[np.float64]:
    """(4, 4) of a gripper that is metres and degrees off."""
    shift = trimesh.transformations.rotation_matrix(np.radians(about_z), (0.0, 0.0, 1.0))
    shift[1:3, 3] = y, z
    return np.asarray(shift)


SHIFTS = (np.eye(4), _shift(0.002, -0.001, 3.0), _shift(-0.002, 0.001, -3.0))


@dataclass(frozen=True)
class Grasp:
    """One candidate; source frame, metres.

    Attributes:
        T_source_gripper: (4, 4): z is the approach, x the closing direction, origin between the fingertips.
        width: between the contacts.
        opening: as far as there is room to open, or the gripper does, before it comes.
        contacts, normals: (2, 3), the places that the fingers touch, and the outward normals there.
        confidence: (2,) of the contacts, 0 (guessed) to 1 (seen).
        quality: 0 to 1, the product of its parts.
        parts: each 0 to 1, by name, see `PARTS`.
    """

    T_source_gripper: NDArray[np.float64]
    width: float
    opening: float
    contacts: NDArray[np.float64]
    normals: NDArray[np.float64]
    confidence: NDArray[np.float64]
    quality: float
    parts: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class GraspScene:
    """An object and what a gripper must not run into; source frame, metres. ValueError for what does not fit together.

    Attributes:
        mesh: closed, outward, of the object.
        confidence: (V,) of its vertices, 0 to 1.
        error: (V,) metres expected at its vertices; NaN where that is not known.
        up: (3,) unit, away from the table.
        table: n.x over the table is positive for (n, d): n.x + d, (4,).
        obstacles: closed meshes of what stands around it.
    """

    mesh: trimesh.Trimesh
    confidence: NDArray[np.floating]
    error: NDArray[np.floating]
    table: NDArray[np.float64]
    obstacles: Sequence[trimesh.Trimesh] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        count = len(self.mesh.vertices)
        if not len(self.mesh.faces) or not np.isfinite(self.mesh.vertices).all():
            raise ValueError(
                f"a mesh to grasp needs faces and finite vertices, got {len(self.mesh.faces)} faces and "
                f"{int((~np.isfinite(self.mesh.vertices)).any(axis=1).sum())} of {count} vertices that are not finite"
            )
        for name in ("confidence", "error"):
            if np.shape(getattr(self, name)) != (count,):
                raise ValueError(f"{name} must have shape ({count},), got {np.shape(getattr(self, name))}")
        if not np.all((np.asarray(self.confidence) >= 0.0) & (np.asarray(self.confidence) <= 1.0)):
            low, high = np.min(self.confidence), np.max(self.confidence)
            raise ValueError(f"confidence must lie between 0 and 1, got {low} to {high}")
        if np.shape(self.table) != (4,) or not abs(np.linalg.norm(self.table[:3]) - 1.0) < 1e-3:
            raise ValueError(f"table must be a unit normal and an offset, got {np.asarray(self.table).tolist()}")

    @property
    def up(self) -> NDArray[np.float64]:
        return np.asarray(self.table[:3], dtype=np.float64)


@dataclass(frozen=True)
class _Pairs:
    """G pairs of contacts: places and normals (G, 2, 3), axis (G, 3) from the first to the second, `cone` (G,) the
    worst cosine in and around the contacts, trust (G, 2) and confidence (G, 2)."""

    places: NDArray[np.float64]
    normals: NDArray[np.float64]
    axis: NDArray[np.float64]
    cone: NDArray[np.float64]
    trust: NDArray[np.float64]
    confidence: NDArray[np.float64]

    def only(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> _Pairs:
        return _Pairs(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def sample_grasps(scene: GraspScene, settings: GraspSettings | None = None, seed: int = 0) -> list[Grasp]:
    """The best candidates, best first; none where the object is too wide or there is no room.

    Args:
        seed: of the places that are tried.
    """
    settings, surface = settings or GraspSettings(), _Surface(scene)
    pairs = _antipodal_pairs(scene, surface, settings, np.random.default_rng(seed))
    if not len(pairs.cone):
        return []
    pairs = _promising(scene, pairs, settings)
    points = points_around(scene.mesh, scene.error, scene.obstacles)
    tried = approaches(pairs.places, scene.table, settings)
    tried = tried.only(np.argsort(-_parts(scene, pairs, tried, settings).prod(axis=1)))
    free = with_room(tried, scene.table, points, settings, CLOSED)
    free, cosines = _with_pads(surface, pairs, free, settings)
    parts = _parts(scene, pairs, free, settings, cosines)
    quality = parts.prod(axis=1)
    order = np.argsort(-quality)
    chosen = order[_spread_out(free.frames[order], settings.candidates)]
    return [_grasp(pairs, free, number, quality[number], parts[number]) for number in chosen]


def _grasp(pairs: _Pairs, free: Approaches, number: int, quality: float, parts: NDArray[np.float64]) -> Grasp:
    row = free.rows[number]
    return Grasp(
        T_source_gripper=free.frames[number],
        width=float(np.linalg.norm(pairs.places[row, 1] - pairs.places[row, 0])),
        opening=float(free.opening[number]),
        contacts=pairs.places[row],
        normals=pairs.normals[row],
        confidence=pairs.confidence[row],
        quality=float(quality),
        parts=dict(zip(PARTS, parts.tolist(), strict=True)),
    )


def _antipodal_pairs(scene: GraspScene, surface: _Surface, settings: GraspSettings, rng: np.random.Generator) -> _Pairs:
    """Contacts in each other's friction cones, with a margin that holds around them as well."""
    cone = 1.0 / np.hypot(1.0, settings.friction)  # cosine of the friction cone's half angle
    places, faces = trimesh.sample.sample_surface(scene.mesh, settings.samples, seed=int(rng.integers(2**31)))
    places, normals = np.repeat(places, AXES, axis=0), np.repeat(surface.normals_at(places, faces), AXES, axis=0)
    axis = -_within_cone(normals, 0.8 * settings.friction, rng)
    axis[::AXES] = -normals[::AXES]
    far = settings.max_opening
    first = surface.hits(places - far * axis, axis)  # what a finger from outside meets
    outside = first.hit & (np.abs(first.distance - far) < 10.0 * START)
    beyond = surface.hits(places + far * axis, -axis)  # the far side
    wall = surface.hits(places + START * axis, axis)  # the other side of a wall, for a finger in a hollow
    to_beyond, to_wall = far - beyond.distance, wall.distance + START
    found = []
    for hits, width, usable in ((beyond, to_beyond, outside), (wall, to_wall, to_beyond - to_wall > 10.0 * START)):
        usable = usable & hits.hit & (width > NARROWEST) & (width < far - 2.0 * settings.clearance)
        rows = np.flatnonzero(usable & (np.einsum("ij,ij->i", hits.normal, axis) > LOOSE * cone))
        pair = surface.pairs(places[rows], places[rows] + width[rows, None] * axis[rows], axis[rows])
        found.append(pair.only(pair.cone > cone))
    return _Pairs(*(np.concatenate([getattr(one, n) for one in found]) for n in _Pairs.__dataclass_fields__))


def _promising(scene: GraspScene, pairs: _Pairs, settings: GraspSettings) -> _Pairs:
    """The best hold of each place and closing direction, and of these the best `TRIED`."""
    order = np.argsort(-_hold(scene, pairs, settings).prod(axis=1))
    middle = np.round(pairs.places.mean(axis=1)[order] / (APART / 2.0))
    direction = np.round(3.0 * pairs.axis[order])
    _, first = np.unique(np.column_stack([middle, direction]), axis=0, return_index=True)
    return pairs.only(order[np.sort(first)[:TRIED]])


class _Surface:
    """The object's surface: what rays meet, and what is known there."""

    def __init__(self, scene: GraspScene) -> None:
        self._mesh, self.rays = scene.mesh, RayScene([scene.mesh])
        self._faces = np.asarray(scene.mesh.faces)
        self._normals = mesh_normals(np.asarray(scene.mesh.vertices), self._faces)
        self._confidence = np.asarray(scene.confidence, dtype=np.float64)
        error = np.asarray(scene.error, dtype=np.float64)
        by_error = np.exp(-0.5 * (error / DOUBT) ** 2)
        self._trust = np.where(np.isnan(error), 0.5 + 0.5 * self._confidence, by_error)

    def hits(self, origins: NDArray[np.float64], directions: NDArray[np.float64]) -> RayHits:
        return self.rays.cast(np.concatenate([origins, directions], axis=1).astype(np.float32))

    def normals_at(self, places: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N, 3) smooth normals of places (N, 3) on faces (N,)."""
        weights = trimesh.triangles.points_to_barycentric(np.asarray(self._mesh.triangles)[faces], places)
        return _unit(np.einsum("nk,nkc->nc", weights, self._normals[self._faces[faces]]))

    def pairs(self, first: NDArray[np.float64], second: NDArray[np.float64], axis: NDArray[np.float64]) -> _Pairs:
        """What is known of contacts (G, 3) and of the surface around them; axis (G, 3) unit, from first to second."""
        across = _unit(np.cross(axis, np.eye(3)[np.abs(axis).argmin(axis=1)]))
        other = np.cross(axis, across)
        offsets = PATCH * np.stack([0.0 * across, across, -across, other, -other], axis=1)
        sides = []
        for places, towards in ((first, axis), (second, -axis)):
            starts = places[:, None] - PATCH * towards[:, None] + offsets
            hits = self.hits(starts.reshape(-1, 3), np.repeat(towards, 5, axis=0))
            sides.append(self._contact(hits, towards, len(places)))
        normals, cones, trust, confidence = (np.stack(parts, axis=1) for parts in zip(*sides, strict=True))
        return _Pairs(np.stack([first, second], axis=1), normals, axis, cones.min(axis=1), trust, confidence)

    def _contact(self, hits: RayHits, towards: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], ...]:
        """Normal (G, 3), worst cosine, trust and confidence (G,) of contacts looked at by five rays each."""
        corners = self._faces[np.where(hits.hit, hits.face, 0)]
        weights = np.where(hits.hit[:, None], hits.weights, 0.0)
        normals = _unit(np.einsum("nk,nkc->nc", weights, self._normals[corners])).reshape(count, 5, 3)
        near = (hits.hit & (hits.distance < 3.0 * PATCH)).reshape(count, 5)
        # Smooth normals are wrong beside an edge, those of the faces are noisy: both have to lean little enough.
        flat = hits.normal.reshape(count, 5, 3)
        leaning = [-np.einsum("gkc,gc->gk", one, towards) for one in (normals, flat)]
        cosines = np.where(near, np.minimum(*leaning), 1.0)
        # Where a ray beside the contact meets nothing there is an edge, and the finger slips off one side at most.
        cosines[near.sum(axis=1) < 4] = -1.0
        trust, confidence = (
            (weights * values[corners]).sum(axis=1).reshape(count, 5)[:, 0]
            for values in (self._trust, self._confidence)
        )
        return normals[:, 0], cosines.min(axis=1), trust.clip(0.0, 1.0), confidence.clip(0.0, 1.0)


def _with_pads(
    surface: _Surface, pairs: _Pairs, free: Approaches, settings: GraspSettings
) -> tuple[Approaches, NDArray[np.float64]]:
    """Of approaches (K,) those whose pads hold what they touch, and still do when the gripper is a little off; the
    worst cosine (k,) of all."""
    cone = 1.0 / np.hypot(1.0, settings.friction)
    cosines = pairs.cone[free.rows]
    for shift in SHIFTS:
        if not len(cosines):
            break
        frames = free.frames @ shift
        cosines = np.minimum(cosines, closing_cosines(surface.rays, frames, free.opening, pad_places(settings)))
        held = cosines > cone
        free, cosines = free.only(held), cosines[held]
    return free, cosines


def _parts(
    scene: GraspScene,
    pairs: _Pairs,
    free: Approaches,
    settings: GraspSettings,
    cosines: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """(K, 4) of the qualities, each 0 to 1, in the order of `PARTS`; cosines: (K,) in place of those of the pairs."""
    hold = _hold(scene, pairs, settings)[free.rows]
    if cosines is not None:
        hold[:, 0] = _friction_part(cosines, settings)
    down = (-free.frames[:, :3, 2] @ scene.up).clip(-1.0, 1.0)
    preferred = {"above": 0.75 + 0.25 * down, "side": 1.0 - 0.5 * np.abs(down), "any": np.ones_like(down)}
    return np.column_stack([hold, preferred[settings.approach]])


def _hold(scene: GraspScene, pairs: _Pairs, settings: GraspSettings) -> NDArray[np.float64]:
    """(G, 3) 0 to 1: all parts but the approach."""
    mass = np.asarray(scene.mesh.center_mass) - pairs.places.mean(axis=1)
    off = np.linalg.norm(mass - np.einsum("ij,ij->i", mass, pairs.axis)[:, None] * pairs.axis, axis=1)
    balance = np.exp(-off / max(0.5 * float(np.max(scene.mesh.extents)), 1e-6))
    return np.column_stack([_friction_part(pairs.cone, settings), pairs.trust.min(axis=1), balance])


def _friction_part(cosines: NDArray[np.float64], settings: GraspSettings) -> NDArray[np.float64]:
    depth = 1.0 - np.arccos(np.clip(cosines, -1.0, 1.0)) / np.arctan(settings.friction)
    return np.sqrt(depth.clip(0.0, 1.0))


def _spread_out(frames: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Of grasps in the order of their quality, those that are not near a better one."""
    chosen: list[int] = []
    for number in range(len(frames)):
        others = frames[chosen]
        near = np.linalg.norm(others[:, :3, 3] - frames[number, :3, 3], axis=1) < APART
        alike = np.abs(others[:, :3, 0] @ frames[number, :3, 0]) > TURNED  # closing has no sign
        alike &= others[:, :3, 2] @ frames[number, :3, 2] > TURNED
        if not (near & alike).any():
            chosen.append(number)
            if len(chosen) == most:
                break
    return np.array(chosen, dtype=np.int64)


def _within_cone(normals: NDArray[np.float64], tangent: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(N, 3) unit vectors about normals (N, 3), uniform in a cone whose half angle has this tangent."""
    across = _unit(np.cross(normals, np.eye(3)[np.abs(normals).argmin(axis=1)]))
    other = np.cross(normals, across)
    radius, turn = tangent * np.sqrt(rng.random((len(normals), 1))), 2.0 * np.pi * rng.random((len(normals), 1))
    return _unit(normals + radius * (np.cos(turn) * across + np.sin(turn) * other))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))
