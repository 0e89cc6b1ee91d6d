"""One field for each object out of the fields of several views of it.

The networks are trained on single views, so each view is encoded by itself, in its own unit frame, and what they say of
a point in space is put together: the mean of their logits. (All points of all views given to the network as one
observation make it worse with every view; see `onet_ros.learning.view_fusion`.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onet_ros.networks.inference import OccupancyField

OUTSIDE = -10.0  # logit of a point that no view can say anything of


class FusedField:
    """Logits of B objects; an `OccupancyField` in the objects' whole frames.

    Args:
        field: of all V views, those of an object side by side, in the order of the objects.
        counts: how many views each object has, B numbers of at least 1.
        T_view_object: (V, 3, 4) float32, from an object's whole frame to a view's unit frame: matrix and translation.
        lower, upper: (3,) float32, unit frame: a view has no say about points outside this box.
    """

    def __init__(
        self, field: OccupancyField, counts: Sequence[int], T_view_object: Tensor, lower: Tensor, upper: Tensor
    ) -> None:
        device = T_view_object.device
        self._field = field
        self._matrix, self._translation = T_view_object[:, :, :3], T_view_object[:, :, 3]
        self._counts = torch.tensor(counts, device=device)
        self._first = torch.cumsum(self._counts, 0) - self._counts
        self._most = max(counts)
        self._lower, self._upper = lower.to(device), upper.to(device)

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, the objects' whole frames, objects: (N,) int64 -> logits (N,) float32."""
        total, said = points.new_zeros(len(points)), points.new_zeros(len(points))
        for number in range(self._most):
            asked = torch.nonzero(self._counts[objects] > number).squeeze(1)
            views = self._first[objects[asked]] + number
            own = torch.einsum("nij,nj->ni", self._matrix[views], points[asked]) + self._translation[views]
            inside = ((own >= self._lower) & (own <= self._upper)).all(dim=1)
            asked = asked[inside]
            if len(asked):
                total = total.index_add(0, asked, self._field(own[inside], views[inside]))
                said = said.index_add(0, asked, torch.ones_like(said[asked]))
        return torch.where(said > 0, total / said.clamp(min=1.0), OUTSIDE)
