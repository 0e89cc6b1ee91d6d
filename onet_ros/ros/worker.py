"""A thread that works on the newest cloud only, and the account of the clouds that came to nothing."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")

SUPERSEDED = "superseded by a newer cloud"  # how a camera that is faster than the reconstruction is kept up with


class LatestValue(Generic[Value]):
    """A slot that holds the newest value only: the writer never waits, the reader never works on an old one."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._value: Value | None = None
        self._closed = False

    def put(self, value: Value) -> bool:
        """Leave a value; True when it took the place of one that nobody had taken."""
        with self._condition:
            replaced = self._value is not None
            self._value = value
            self._condition.notify()
        return replaced

    def take(self) -> Value | None:
        """Wait for a value and take it; None once the slot is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._value is not None)
            value, self._value = self._value, None
            return None if self._closed else value

    def close(self) -> None:
        """Let `take` return None from now on."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()


class DroppedClouds:
    """Counts dropped clouds by reason, and tells of each kind of fault at most once in `log_period` seconds."""

    def __init__(self, warn: Callable[[str], Any], log_period: float = 5.0) -> None:
        self.counts: Counter[str] = Counter()
        self._warn = warn
        self._log_period = log_period
        self._silent_until: dict[str, float] = {}

    def add(self, reason: str, detail: str = "") -> None:
        """One more cloud dropped; `detail` says what was wrong with it, and is logged unless it is empty."""
        self.counts[reason] += 1
        if detail:
            self.warn(f"cloud dropped, {reason} ({self.counts[reason]} so far): {detail}", kind=detail)

    def warn(self, text: str, kind: str = "") -> None:
        """Log a warning, unless one of its kind was logged just before; numbers do not make another kind."""
        key = re.sub(r"-?\d[\d.]*(e[-+]?\d+)?", "0", kind or text)
        now = time.monotonic()
        if now < self._silent_until.get(key, 0.0):
            return
        if len(self._silent_until) > 1000:  # texts of endless variety must not fill the memory
            self._silent_until.clear()
        self._silent_until[key] = now + self._log_period
        self._warn(text)

    def __str__(self) -> str:
        if not self.counts:
            return "no clouds dropped"
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts.most_common())
        return f"{sum(self.counts.values())} clouds dropped: {reasons}"


class LatestValueWorker(Generic[Value]):
    """A thread that calls `work` with the newest value, one at a time."""

    def __init__(self, work: Callable[[Value], None], on_superseded: Callable[[], None]) -> None:
        self._work = work
        self._on_superseded = on_superseded
        self._latest: LatestValue[Value] = LatestValue()
        self._thread = threading.Thread(target=self._run, name="reconstruction", daemon=True)
        self._thread.start()

    def submit(self, value: Value) -> None:
        """Hand over a value without waiting; a value that was still waiting is dropped for it."""
        if self._latest.put(value):
            self._on_superseded()

    def stop(self, timeout: float) -> bool:
        """End after the value now in work; False when that takes longer than `timeout` seconds."""
        self._latest.close()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (value := self._latest.take()) is not None:
            self._work(value)
