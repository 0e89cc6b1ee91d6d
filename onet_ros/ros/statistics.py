"""What became of the frames: counts by reason, rates, latencies; and warnings that never flood. Needs no ROS."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

WINDOW = 100  # newest latencies and times that percentiles and rates are taken from
LOG_PERIOD = 10.0  # seconds between two warnings of one kind

# Reasons for which a frame comes to nothing. The first two are how a node keeps up; the others are faults.
SUPERSEDED = "superseded by a newer one"
NOT_ASKED_FOR = "not asked for"
INVALID = "invalid input"
NO_TRANSFORM = "no transform"
NO_PLANE = "no support plane"
NO_MASK = "no mask"
NO_CAMERA_INFO = "no camera_info"
OUT_OF_ORDER = "older than the one before"
TIME_JUMPED = "time jumped back"
NOT_RECONSTRUCTED = "not reconstructed"
INTERNAL_ERROR = "internal error"
STOPPED = "unfinished when the node stopped"
REASONS = (
    *(SUPERSEDED, NOT_ASKED_FOR, INVALID, NO_TRANSFORM, NO_PLANE, NO_MASK, NO_CAMERA_INFO, OUT_OF_ORDER),
    *(TIME_JUMPED, NOT_RECONSTRUCTED, INTERNAL_ERROR, STOPPED),
)
HARMLESS = frozenset({SUPERSEDED, NOT_ASKED_FOR, TIME_JUMPED, STOPPED})


class LimitedWarnings:
    """Tells of each kind of fault at most once in `period` seconds."""

    def __init__(self, warn: Callable[[str], Any], period: float = LOG_PERIOD) -> None:
        self._warn, self._period = warn, period
        self._lock = threading.Lock()
        self._silent_until: dict[str, float] = {}

    def warn(self, text: str, kind: str = "") -> None:
        """Log a warning, unless one of its kind was logged just before; numbers do not make another kind."""
        key = re.sub(r"-?\d[\d.]*(e[-+]?\d+)?", "0", kind or text)
        now = time.monotonic()
        with self._lock:
            if now < self._silent_until.get(key, 0.0):
                return
            if len(self._silent_until) > 1000:  # texts of endless variety must not fill the memory
                self._silent_until.clear()
            self._silent_until[key] = now + self._period
        self._warn(text)


@dataclass
class Snapshot:
    """Where the account of a node stands.

    Attributes:
        lost: messages that the middleware lost on the way, as far as it tells.
        received: frames that came in.
        published: frames whose objects were published.
        dropped: frames that came to nothing, by reason.
        waiting: frames that came in and are still to be worked on.
        rate_in, rate_out: frames a second, received and published, of late.
        latency, processing: seconds from a frame's stamp to its message, and spent on it; (p50, p95), NaN without any.
        silence: seconds since the newest frame came; None before the first.
        faults: frames dropped for a fault since the snapshot before.
        last_error: text of the newest fault, and seconds since then; None without one.
        requests: services and actions answered, by name.
    """

    lost: int
    received: int
    published: int
    dropped: dict[str, int]
    waiting: int
    rate_in: float
    rate_out: float
    latency: tuple[float, float]
    processing: tuple[float, float]
    silence: float | None
    faults: int
    last_error: tuple[str, float] | None
    requests: dict[str, int] = field(default_factory=dict)


class FrameStatistics:
    """The account of a node's frames, from any thread: each one received is published, dropped for a reason or waits.

    Args:
        warnings: told of dropped frames that something was wrong with.
    """

    def __init__(self, warnings: LimitedWarnings) -> None:
        self.warnings = warnings
        self._lock = threading.Lock()
        self._lost = self._received = self._published = self._faults = 0
        self._dropped: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._times_in: deque[float] = deque(maxlen=WINDOW)
        self._times_out: deque[float] = deque(maxlen=WINDOW)
        self._latencies: deque[float] = deque(maxlen=WINDOW)
        self._processing: deque[float] = deque(maxlen=WINDOW)
        self._last_error: tuple[str, float] | None = None

    def receive(self) -> None:
        """One more frame came in."""
        with self._lock:
            self._received += 1
            self._times_in.append(time.monotonic())

    def lose(self, count: int) -> None:
        """The middleware lost some messages before they came in."""
        with self._lock:
            self._lost += count

    def publish(self, latency: float, processing: float) -> None:
        """The objects of a frame were published; seconds since its stamp (NaN: unknown), and spent on it."""
        with self._lock:
            self._published += 1
            self._times_out.append(time.monotonic())
            self._processing.append(processing)
            if np.isfinite(latency):
                self._latencies.append(latency)

    def drop(self, reason: str, detail: str = "") -> None:
        """A frame came to nothing, for one of `REASONS`; `detail` says what was wrong with it, and is logged."""
        with self._lock:
            self._dropped[reason] += 1
            count = self._dropped[reason]
            self._faults += reason not in HARMLESS
        if detail:
            self.error(f"dropped, {reason} ({count} so far): {detail}", kind=detail)

    def error(self, text: str, kind: str = "") -> None:
        """Something went wrong; kept as the last error, and logged unless the like of it was just before."""
        with self._lock:
            self._last_error = (text, time.monotonic())
        self.warnings.warn(text, kind)

    def answer(self, name: str) -> None:
        """A request was answered."""
        with self._lock:
            self._requests[name] += 1

    def snapshot(self) -> Snapshot:
        """Where the account stands now."""
        with self._lock:
            now = time.monotonic()
            faults, self._faults = self._faults, 0
            return Snapshot(
                lost=self._lost,
                received=self._received,
                published=self._published,
                dropped=dict(self._dropped),
                waiting=self._received - self._published - self._dropped.total(),
                rate_in=_rate(self._times_in, now),
                rate_out=_rate(self._times_out, now),
                latency=_percentiles(self._latencies),
                processing=_percentiles(self._processing),
                silence=now - self._times_in[-1] if self._times_in else None,
                faults=faults,
                last_error=None if self._last_error is None else (self._last_error[0], now - self._last_error[1]),
                requests=dict(self._requests),
            )

    def __str__(self) -> str:
        with self._lock:
            if not self._dropped:
                return "nothing dropped"
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._dropped.most_common())
            return f"{self._dropped.total()} dropped: {reasons}"


def _rate(times: deque[float], now: float) -> float:
    """Events a second over the newest ones, falling as the time since the last one grows."""
    if len(times) < 2:
        return 0.0
    spacing = (times[-1] - times[0]) / (len(times) - 1)
    return 1.0 / max(spacing, now - times[-1], 1e-6)


def _percentiles(values: deque[float]) -> tuple[float, float]:
    if not values:
        return float("nan"), float("nan")
    median, high = np.percentile(values, [50, 95])
    return float(median), float(high)
