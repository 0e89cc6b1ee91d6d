"""How far a completed surface is expected to lie off the true one: per vertex, and for the object as a whole.

Both are learnt from objects whose true shape is known (`python -m onet_ros.learning.trust_scores --fit`): the logarithm
of the error is linear in what is known of a vertex, or of an object, without its true shape. Nothing of the network
itself is asked but how steeply its field falls at the surface: where it is not sure, it is not steep.

Whether an object can be relied on is learnt apart from its mean error, as the chance that it is bad: few are, in ways
of their own, and least squares over all of them go by the many others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

ERROR_FLOOR = 0.0003  # metres, added before logarithms are taken: nobody measures better than this
DISTANCE_FLOOR = 0.001  # metres, likewise of the distance to the nearest seen point
FARTHEST = 0.1  # metres, at which that distance is as good as infinite
STEPPED = 0.015  # of the unit frame's edge: how far along the normal the field is asked
SOFTEST = 0.05  # metres a logit
VERTEX_FEATURES = ("1", "distance", "distance^2", "outward", "inward", "outward distance", "facing", "scale")
OBJECT_FEATURES = ("1", "error", "seen", "softness", "spread", "scale", "points", "thickness", "fit")


@dataclass(frozen=True)
class VertexEvidence:
    """What is known of the vertices of a completed mesh; arrays (V,) float64.

    Attributes:
        distance: metres to the nearest seen point.
        outward, inward: metres that the field needs to change by one logit, on either side of the surface.
        facing: cosine between the normal and the direction to the nearest viewpoint.
        scale: metres per unit of the object's frame.
    """

    distance: NDArray[np.float64]
    outward: NDArray[np.float64]
    inward: NDArray[np.float64]
    facing: NDArray[np.float64]
    scale: float

    def features(self) -> NDArray[np.float64]:
        """(V, len(VERTEX_FEATURES))."""
        distance = np.log(np.minimum(self.distance, FARTHEST) + DISTANCE_FLOOR)
        outward, inward = (np.log(np.clip(one, 1e-5, SOFTEST)) for one in (self.outward, self.inward))
        one = np.ones_like(distance)
        scale = math.log(self.scale) * one
        columns = (one, distance, distance**2, outward, inward, outward * distance, self.facing, scale)
        return np.stack(columns, axis=1)


@dataclass(frozen=True)
class ObjectEvidence:
    """What is known of a completed object.

    Attributes:
        error: metres, mean over the surface of the errors expected of its vertices.
        seen_fraction: of the surface.
        softness: metres per logit, median over the vertices.
        spread: volume between a conservative and the tight surface over the volume in the tight one.
        scale: metres per unit of its frame.
        points: how many were seen.
        thickness: metres, twice the volume over the area.
        fit: metres, mean distance of the seen points from the surface.
    """

    error: float
    seen_fraction: float
    softness: float
    spread: float
    scale: float
    points: int
    thickness: float
    fit: float

    def features(self) -> NDArray[np.float64]:
        """(len(OBJECT_FEATURES),)."""
        return np.array(
            [
                1.0,
                math.log(self.error + ERROR_FLOOR),
                math.log(self.seen_fraction + 0.02),
                math.log(min(max(self.softness, 1e-5), SOFTEST)),
                math.log(max(self.spread, 0.0) + 0.02),
                math.log(self.scale),
                math.log(self.points),
                math.log(max(self.thickness, 1e-4)),
                math.log(self.fit + ERROR_FLOOR),
            ]
        )


@dataclass(frozen=True)
class ErrorModel:
    """What was learnt of a network's errors.

    Attributes:
        vertex: weights of VERTEX_FEATURES, to the logarithm of metres.
        vertex_factor: mean error over the exponential of that.
        object: weights of OBJECT_FEATURES, to the logarithm of Chamfer-L1, metres.
        doubt: weights of OBJECT_FEATURES, to the log odds that Chamfer-L1 is more than `bad`.
        bad: metres.
        limit: chance of that above which an object is not reliable.
        coverage: pairs of the share of the expected volume that a conservative surface was asked to contain and the
            mean share of the true volume that it contained; both ascending.
    """

    vertex: Sequence[float]
    vertex_factor: float
    object: Sequence[float]
    doubt: Sequence[float]
    bad: float
    limit: float
    coverage: Sequence[Sequence[float]]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ErrorModel:
        """From a checkpoint's training record.

        Raises:
            ValueError: entries that are missing, unknown, not numbers, or too many.
        """
        try:
            model = cls(**record)
            weights = [*model.vertex, model.vertex_factor, *model.object, *model.doubt]
            finite = np.isfinite([*weights, model.limit, model.bad]).all()
            pairs = np.asarray(model.coverage, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"error model {dict(record)!r} cannot be used: {error}; learn it anew with "
                "`python -m onet_ros.learning.trust_scores --fit`"
            ) from error
        counts = tuple(len(one) for one in (model.vertex, model.object, model.doubt))
        needed = (len(VERTEX_FEATURES), len(OBJECT_FEATURES), len(OBJECT_FEATURES))
        if counts != needed or not finite:
            raise ValueError(
                f"error model has {counts} weights, finite: {bool(finite)}; {needed} finite ones are needed"
            )
        if pairs.ndim != 2 or pairs.shape[1] != 2 or not (np.diff(pairs, axis=0) >= 0.0).all():
            raise ValueError(f"error model has coverage {model.coverage!r}, ascending pairs are needed")
        return model

    def record(self) -> dict[str, Any]:
        """For a checkpoint's training record."""
        return asdict(self)

    def vertex_errors(self, evidence: VertexEvidence) -> NDArray[np.float32]:
        """(V,) metres, expected."""
        errors = np.exp(evidence.features() @ np.asarray(self.vertex)) * self.vertex_factor - ERROR_FLOOR
        return np.asarray(np.clip(errors, 0.0, evidence.scale), dtype=np.float32)

    def object_error(self, evidence: ObjectEvidence) -> float:
        """Expected Chamfer-L1, metres: half in the logarithm above it, half below."""
        return min(float(np.exp(evidence.features() @ np.asarray(self.object))), evidence.scale)

    def chance_of_bad(self, evidence: ObjectEvidence) -> float:
        """Probability that the object's Chamfer-L1 is more than `bad`."""
        return float(expit(evidence.features() @ np.asarray(self.doubt)))

    def asked_for(self, coverage: float) -> float:
        """What a conservative surface is to be asked for so that it contains a share `coverage` of true volumes."""
        nominal, achieved = np.asarray(self.coverage, dtype=np.float64).T
        return float(np.interp(coverage, achieved, nominal))
