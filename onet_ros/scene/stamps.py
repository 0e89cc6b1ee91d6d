"""The order of the stamps of a stream of clouds."""

from __future__ import annotations

REORDERED = 1_000_000_000  # nanoseconds: what is older by less came late, and is no jump of time


class StampOrder:
    """Notices when the stamps of what comes in jump back: a bag played in a loop, a simulation that starts again."""

    def __init__(self) -> None:
        self._newest: int | None = None

    def check(self, stamp: int) -> tuple[bool, bool]:
        """Whether time jumped back before this stamp, and whether it is in order otherwise; nanoseconds."""
        newest = self._newest
        jumped = newest is not None and stamp < newest - REORDERED
        in_order = newest is None or jumped or stamp >= newest
        if in_order:
            self._newest = stamp
        return jumped, in_order

    def forget(self) -> None:
        """Take the next stamp as it is."""
        self._newest = None
