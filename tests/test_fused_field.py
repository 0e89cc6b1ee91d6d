"""The fields of several views of an object as one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onet_ros.networks import FusedField
from onet_ros.networks.fused_field import OUTSIDE

LOWER, UPPER = torch.full((3,), -0.5), torch.full((3,), 0.5)


class LinearViews:
    """View v answers with slopes[v] . point, in the view's own unit frame."""

    def __init__(self, slopes: list[list[float]]) -> None:
        self.slopes = torch.tensor(slopes)

    def __call__(self, points: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
        assert len(points) == len(objects) > 0
        return (points * self.slopes[objects]).sum(dim=1)


def moves(*scales_and_shifts: tuple[float, tuple[float, float, float]]) -> torch.Tensor:
    """(V, 3, 4): own = scale * point + shift."""
    return torch.tensor(
        np.stack([np.column_stack([scale * np.eye(3), shift]) for scale, shift in scales_and_shifts]),
        dtype=torch.float32,
    )


def test_mean_of_the_views_that_hold_the_point():
    # Object 0 has two views, the second one shifted by 0.4 along x; object 1 has one, twice as large.
    T = moves((1.0, (0, 0, 0)), (1.0, (0.4, 0, 0)), (2.0, (0, 0, 0)))
    field = FusedField(LinearViews([[1.0, 0, 0], [0, 10.0, 0], [0, 0, 100.0]]), [2, 1], T, LOWER, UPPER)
    points = torch.tensor([[0.05, 0.2, 0.0], [0.3, 0.2, 0.0], [0.0, 0.0, 0.2], [0.0, 0.0, 0.3], [-0.8, 0.1, 0.0]])
    logits = field(points, torch.tensor([0, 0, 1, 1, 0]))
    expected = [
        (0.05 + 2.0) / 2,  # both views
        0.3,  # for the second view it lies at x = 0.7, outside its box
        40.0,  # the view's own units: 2 x 0.2
        OUTSIDE,
        1.0,  # for the second view at x = -0.4
    ]
    torch.testing.assert_close(logits, torch.tensor(expected))


def test_order_of_the_points_does_not_matter():
    T = moves((1.0, (0, 0, 0)), (1.0, (0.1, 0, 0)), (1.5, (0, 0.1, 0)))
    field = FusedField(LinearViews([[1.0, 2, 3], [3.0, 2, 1], [1.0, 1, 1]]), [2, 1], T, LOWER, UPPER)
    rng = torch.Generator().manual_seed(0)
    points = torch.rand((200, 3), generator=rng) - 0.5
    objects = torch.randint(2, (200,), generator=rng)
    order = torch.randperm(200, generator=rng)
    torch.testing.assert_close(field(points[order], objects[order]), field(points, objects)[order])


def test_gradients_reach_the_points():
    T = moves((1.0, (0, 0, 0)), (2.0, (0, 0, 0)))
    field = FusedField(LinearViews([[1.0, 0, 0], [3.0, 0, 0]]), [2], T, LOWER, UPPER)
    points = torch.tensor([[0.1, 0.1, 0.1]], requires_grad=True)
    (gradient,) = torch.autograd.grad(field(points, torch.tensor([0])).sum(), points)
    assert gradient[0].tolist() == pytest.approx([(1.0 + 2.0 * 3.0) / 2, 0.0, 0.0])
