"""Where the time goes: seconds by stage."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up the seconds spent in each stage, and counts.

    A stage within a stage stops the outer one's clock, so that the stages add up to the whole.

    Attributes:
        seconds: by stage, in the order in which they were first entered.
        counts: whatever was counted, by name.
    """

    def __init__(self, on_stage: Callable[[str], None] | None = None) -> None:
        """on_stage: called with each stage that is entered; what it raises ends the work there."""
        self._on_stage = on_stage
        self.seconds: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self._entered: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Everything in the block belongs to stage `name`, however it ends."""
        if self._on_stage is not None:
            self._on_stage(name)
        self.seconds.setdefault(name, 0.0)
        self._credit()
        self._entered.append(name)
        try:
            yield
        finally:
            self._credit()
            self._entered.pop()

    def _credit(self) -> None:
        """Give the time since the last call to the innermost stage."""
        now = time.perf_counter()
        if self._entered:
            self.seconds[self._entered[-1]] += now - self._since
        self._since = now
