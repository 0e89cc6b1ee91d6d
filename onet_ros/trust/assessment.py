"""One object's account: how far its mesh can be trusted, why not, and from where to look again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.nearest import NearestPoint
from onet_ros.scene import FreeSpace, UnitFrame
from onet_ros.surface import face_areas, face_means, volume
from onet_ros.trust.consistency import check_consistency
from onet_ros.trust.errors import ErrorModel, ObjectEvidence, VertexEvidence
from onet_ros.trust.next_view import NextView, suggest_view

UNMEASURED = "nobody measured this network's errors"
LITTLE_SEEN = 0.25  # of the surface
THIN = 0.005  # metres of mean thickness
SOFT = 0.004  # metres that the field takes to change by one logit


@dataclass(frozen=True)
class Trust:
    """How far a mesh can be trusted.

    Attributes:
        expected_error: Chamfer-L1 expected of the mesh, metres; NaN where nobody measured the network's errors.
        reliable: whether it is unlikely to be bad, see `ErrorModel`, or that error is within a limit that was set;
            true where nothing is known.
        reason: why it is not reliable, or not known; empty otherwise.
        coverage: share of the object that the conservative mesh is expected to contain.
        seen_distance: metres, mean distance of the seen points from the mesh; NaN where none were measured.
        free_fraction: share of the mesh's volume in space that was seen to be free.
        next_view: (3,) unit, source frame, from the object to a camera that would see most of what is uncertain.
        next_view_gain: share of the expected error, summed over the surface, that it would see.
    """

    expected_error: float
    reliable: bool
    reason: str
    coverage: float
    seen_distance: float
    free_fraction: float
    next_view: NDArray[np.float64]
    next_view_gain: float

    @classmethod
    def unknown(cls, coverage: float, view: NextView, doubt: str = "") -> Trust:
        """Of a network whose errors nobody measured, without measured points.

        Args:
            doubt: why the object is not reliable all the same; empty where nothing speaks against it.
        """
        nan = float("nan")
        return cls(nan, not doubt, doubt or UNMEASURED, coverage, nan, 0.0, view.direction, view.gain)


@dataclass(frozen=True)
class Subject:
    """What `assess` looks at; source frame, metres.

    Attributes:
        mesh: closed, outward.
        coarse_mesh: the same with few triangles.
        conservative_mesh: what the object is expected to lie in.
        seen: (N, 3) points on it.
        free: what each of its views saw to be free.
        frame: its unit frame.
        vertices: what is known of the vertices of `mesh`.
        confidence: (V,) float32, of the vertices of `mesh`: 1 where the camera saw the surface, 0 where it is guessed.
    """

    mesh: trimesh.Trimesh
    coarse_mesh: trimesh.Trimesh
    conservative_mesh: trimesh.Trimesh
    seen: NDArray[np.float64]
    free: Sequence[FreeSpace]
    frame: UnitFrame
    vertices: VertexEvidence
    confidence: NDArray[np.float32]

    @cached_property
    def areas(self) -> NDArray[np.float64]:
        """(F,) m^2 of the faces of `mesh`."""
        return face_areas(np.asarray(self.mesh.vertices), np.asarray(self.mesh.faces))

    @cached_property
    def seen_fraction(self) -> float:
        """Share of the mesh's area whose confidence is over one half."""
        seen = face_means(self.confidence, np.asarray(self.mesh.faces)) > 0.5
        return float(self.areas[seen].sum() / self.areas.sum())

    def evidence(self, error: NDArray[np.floating], seen_distance: float) -> ObjectEvidence:
        """For the object as a whole, out of the errors (V,) expected of its vertices and how the seen points fit."""
        area = float(self.areas.sum())
        inside, around = (
            volume(np.asarray(mesh.vertices), np.asarray(mesh.faces)) for mesh in (self.mesh, self.conservative_mesh)
        )
        return ObjectEvidence(
            error=float((self.areas * face_means(error, np.asarray(self.mesh.faces))).sum() / area),
            seen_fraction=self.seen_fraction,
            softness=float(np.median(self.vertices.outward)),
            spread=around / max(inside, 1e-12) - 1.0,
            scale=self.frame.scale,
            points=len(self.seen),
            thickness=2.0 * inside / area,
            fit=seen_distance,
        )


def assess(
    subject: Subject, model: ErrorModel | None, coverage: float, limit: float = 0.0
) -> tuple[NDArray[np.float32], Trust]:
    """Errors expected of the vertices (V,), metres, and what is to be thought of the object.

    Args:
        model: of the network's errors; None where nobody measured them. Then vertex errors are NaN.
        coverage: what the conservative mesh was made for.
        limit: metres of expected error up to which an object is reliable; 0 goes by the model's own limit, of the
            chance that the error is large.
    """
    consistency = check_consistency(subject.mesh, subject.seen, subject.free)
    if model is None:
        error = np.full(len(subject.mesh.vertices), np.nan, dtype=np.float32)
        expected, reliable, reason = float("nan"), True, UNMEASURED
    else:
        error = model.vertex_errors(subject.vertices)
        evidence = subject.evidence(error, consistency.seen_distance)
        expected = model.object_error(evidence)
        doubt = _doubt(model, evidence, expected, limit)
        causes = _causes(evidence)
        reliable, reason = not doubt, f"{doubt}: {causes}" if doubt and causes else doubt
    view = suggest_view(subject.coarse_mesh, _coarse_error(subject, error), subject.frame.rotation)
    trust = Trust(
        expected_error=expected,
        reliable=reliable,
        reason=reason,
        coverage=coverage,
        seen_distance=consistency.seen_distance,
        free_fraction=consistency.free_fraction,
        next_view=view.direction,
        next_view_gain=view.gain,
    )
    return error, trust


def _coarse_error(subject: Subject, error: NDArray[np.float32]) -> NDArray[np.float64]:
    """The errors at the vertices of the coarse mesh; where they are not known, how far from what was seen it is."""
    known = subject.vertices.distance if np.isnan(error).any() else np.asarray(error, dtype=np.float64)
    _, nearest = NearestPoint(np.asarray(subject.mesh.vertices))(np.asarray(subject.coarse_mesh.vertices))
    return np.asarray(known[nearest], dtype=np.float64)


def _doubt(model: ErrorModel, evidence: ObjectEvidence, expected: float, limit: float) -> str:
    """What speaks against an object, in words; empty where nothing does."""
    if limit:
        above = f"expected error {1000.0 * expected:.1f} mm is above {1000.0 * limit:.1f} mm"
        return above if expected > limit else ""
    chance = model.chance_of_bad(evidence)
    above = (
        f"its error is over {1000.0 * model.bad:.0f} mm with a chance of {100.0 * chance:.1f} %, which is above "
        f"{100.0 * model.limit:.1f} %"
    )
    return above if chance > model.limit else ""


def _causes(evidence: ObjectEvidence) -> str:
    """What is unusual about an object; empty where nothing is."""
    causes = []
    if evidence.seen_fraction < LITTLE_SEEN:
        causes.append(f"{100.0 * evidence.seen_fraction:.0f} % of its surface was seen")
    if evidence.thickness < THIN:
        causes.append(f"its walls are {1000.0 * evidence.thickness:.1f} mm thin")
    if evidence.softness > SOFT:
        causes.append(f"the network is not sure where it ends (to {1000.0 * evidence.softness:.1f} mm)")
    return ", ".join(causes)
