"""An account of trust for tests that need any."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from onet_ros.trust import Trust


def trust(**changes: Any) -> Trust:
    """Of a reliable object, with some entries changed."""
    usual = Trust(
        expected_error=0.002,
        reliable=True,
        reason="",
        coverage=0.95,
        seen_distance=0.001,
        free_fraction=0.0,
        next_view=np.array([0.0, 0.6, 0.8]),
        next_view_gain=0.5,
    )
    return dataclasses.replace(usual, **changes)
