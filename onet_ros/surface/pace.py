"""How fast surfaces have been extracted so far, to say beforehand what fits into a budget of time."""

from __future__ import annotations

import time

FORGETTING = 0.3  # weight of the latest extraction among all so far
FIRST_GUESS = 2.0  # how much longer a point of the surface takes than one of a start grid: it is also meshed


class Pace:
    """Seconds per point that the surface asks for, learned from one extraction to the next.

    Args:
        budget: seconds for all objects of a cloud together.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self._per_point = 0.0  # 0: nothing known yet
        self._guessed = True
        self._deadline = self._planned_at = time.perf_counter()
        self._points = 0

    def begin(self, share: float = 1.0) -> None:
        """Start the clock for a share of the budget; it runs until `end`."""
        self._deadline = time.perf_counter() + share * self.budget
        self._points = 0

    def guess(self, per_start_point: float) -> None:
        """Go by the seconds that a point of the start grids took, as long as nothing was learned."""
        if self._guessed:
            self._per_point = FIRST_GUESS * per_start_point

    def affordable_doublings(self, crossed_edges: int, doublings: int, refinement_steps: int) -> int:
        """The most doublings, up to those wished for, that the rest of the time allows.

        A surface crosses about as many edges as cells, a cell has two corners of its own, and each doubling makes four
        of one.

        Args:
            crossed_edges: of the start grids, all objects together.
        """
        self._planned_at = time.perf_counter()
        rest = self._deadline - self._planned_at
        per_cell = 2 + refinement_steps
        while doublings and self._per_point * per_cell * crossed_edges * 4**doublings > rest:
            doublings -= 1
        self._points = per_cell * crossed_edges * 4**doublings
        return doublings

    def end(self) -> None:
        """Learn from how long it took since the doublings were chosen."""
        if not self._points:
            return
        per_point = (time.perf_counter() - self._planned_at) / self._points
        self._per_point += (1.0 if self._guessed else FORGETTING) * (per_point - self._per_point)
        self._guessed = False
