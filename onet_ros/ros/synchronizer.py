"""Frames and the masks that belong to them, by their stamps. Needs no ROS."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class MaskSynchronizer:
    """Puts each frame together with the mask whose stamp is nearest to its own.

    A mask is made from an image of the same camera and comes some time after the frame, so frames wait: no more than
    `queue_size` of them, so that a source of masks that died costs no memory. A frame that a newer one with a mask has
    overtaken waits no longer.

    Args:
        on_pair: called with a frame and its mask.
        on_lost: called with a frame that will have none.
        tolerance: nanoseconds by which the two stamps may differ.
        queue_size: frames, and masks, that wait at most.
    """

    def __init__(
        self,
        on_pair: Callable[[Any, Any], None],
        on_lost: Callable[[Any], None],
        tolerance: int,
        queue_size: int,
    ) -> None:
        self._on_pair, self._on_lost = on_pair, on_lost
        self._tolerance, self._queue_size = tolerance, queue_size
        self._frames: deque[tuple[int, Any]] = deque()
        self._masks: deque[tuple[int, Any]] = deque()

    def add_frame(self, stamp: int, frame: Any) -> None:
        """A frame came; stamp in nanoseconds."""
        self._frames.append((stamp, frame))
        self._match()
        while len(self._frames) > self._queue_size:
            self._on_lost(self._frames.popleft()[1])

    def add_mask(self, stamp: int, mask: Any) -> None:
        """A mask came; stamp in nanoseconds."""
        self._masks.append((stamp, mask))
        self._match()
        while len(self._masks) > self._queue_size:
            self._masks.popleft()

    def clear(self) -> list[Any]:
        """Forget all that waits; the frames among it."""
        frames = [frame for _, frame in self._frames]
        self._frames.clear()
        self._masks.clear()
        return frames

    def _match(self) -> None:
        """Hand over the newest frame that has a mask, and let go of what is older than the two."""
        for stamp, frame in reversed(self._frames):
            near = [mask for mask in self._masks if abs(mask[0] - stamp) <= self._tolerance]
            if not near:
                continue
            best = min(near, key=lambda mask: abs(mask[0] - stamp))
            while self._frames[0][1] is not frame:
                self._on_lost(self._frames.popleft()[1])
            self._frames.popleft()
            self._masks = deque(mask for mask in self._masks if mask[0] > best[0])
            self._on_pair(frame, best[1])
            return
