"""What all recordings have in common: frames, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from onet_ros.scene import PointCloud


class RecordingError(ValueError):
    """A file that holds no usable recording; the message quotes the path and says what is in it."""


@dataclass(frozen=True)
class RecordedFrame:
    """One look of the camera, not decoded yet.

    Attributes:
        stamp: nanoseconds.
        frame_id: of the results.
        cloud: function that makes the cloud in that frame; raises CloudError or TransformError.
        viewpoint: function that gives (3,) metres, the same frame: where the camera stood.
        rgb: (H, W, 3) uint8 picture of the same rows and columns; None where there is none.
    """

    stamp: int
    frame_id: str
    cloud: Callable[[], PointCloud]
    viewpoint: Callable[[], NDArray[np.float64]]
    rgb: NDArray[np.uint8] | None = None


class Recording(Protocol):
    """Frames of one camera, in the order in which they were recorded.

    Attributes:
        fixed_frame: whether objects that stand still do so in the frame of the results, also when the camera moves.
    """

    fixed_frame: bool

    def __len__(self) -> int: ...

    def frames(self) -> Iterator[RecordedFrame]:
        """All of them."""
