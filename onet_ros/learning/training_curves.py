"""A run's curves: for TensorBoard where it is installed, and the figures of speed that the log states."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CURVES_FOLDER = "curves"


class Curves:
    """Scalars over steps, for TensorBoard (`tensorboard --logdir RUN`); where it is missing, a line says so once."""

    def __init__(self, folder: Path, first_step: int) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            print(
                "no TensorBoard curves (history.jsonl has the figures): pip install 'onet_ros[train]', or tensorboard",
                file=sys.stderr,
            )
            return
        # What a sitting wrote after its last checkpoint is done again, so its curves there do not count.
        self._writer = SummaryWriter(str(folder / CURVES_FOLDER), purge_step=first_step)

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Stopwatch:
    """Where the time of a stretch of training goes: all of it, and what of it was spent waiting for samples."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._since, self._waited, self._samples = time.monotonic(), 0.0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    def count(self, samples: int) -> None:
        self._samples += samples

    def figures(self) -> dict[str, float]:
        """Samples per second, and the share of the time (0 to 1) that went into waiting for them."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        return {"samples_per_second": self._samples / seconds, "waiting_for_samples": self._waited / seconds}
