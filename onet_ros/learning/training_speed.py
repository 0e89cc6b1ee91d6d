"""What a training step costs on this machine, and what the samples for it cost."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from onet_ros.learning.pool import ChunkStream, SamplePool
from onet_ros.learning.sources import source_for
from onet_ros.learning.trainer import Trainer
from onet_ros.learning.training_settings import TrainingSettings


@dataclass(frozen=True)
class TrainingSpeed:
    """Seconds; each the median of a few.

    Attributes:
        chunk: making a chunk of samples, by one worker process (or by the training process where there are none).
        chunk_per_step: the share of that which falls to a step.
        batch: drawing a batch from the pool.
        step: forward, backward and update.
    """

    chunk: float
    chunk_per_step: float
    batch: float
    step: float

    @property
    def generation_share(self) -> float:
        """What generating a batch costs, as a share of the training step."""
        return self.chunk_per_step / self.step

    def text(self, settings: TrainingSettings) -> str:
        workers = settings.workers
        where = f"in {workers} process{'es' * (workers > 1)} beside it" if workers else "in between"
        return "\n".join(
            [
                f"a chunk of {settings.chunk_size} samples: {self.chunk:.2f} s; one is made every "
                f"{settings.steps_per_chunk} steps, {where}: {self.chunk_per_step:.3f} s per step",
                f"drawing a batch of {settings.batch_size}: {self.batch:.3f} s",
                f"training step: {self.step:.3f} s",
                f"generating a batch costs {self.generation_share:.0%} of the training step",
            ]
        )


def measure_speed(settings: TrainingSettings, repeats: int = 5) -> TrainingSpeed:
    """Measure one process of a run with these settings; nothing is kept."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(settings, folder)
    source = source_for(settings)
    maker = "cpu" if settings.workers else str(trainer.device)
    chunks = ChunkStream(settings.seed, settings.chunk_size, source, 0, repeats + 1, maker)
    threads = torch.get_num_threads()
    if settings.workers:
        torch.set_num_threads(1)  # as the workers do
    chunk = _median_seconds(lambda i: chunks[i], repeats)
    torch.set_num_threads(threads)

    pool = SamplePool(settings.seed, source, settings.chunk_size, 1, repeats + 2, device=maker)
    shape = (settings.batch_size, settings.points, settings.queries)
    batch = _median_seconds(lambda i: pool.batch(i, *shape), repeats)
    made = pool.batch(0, *shape)
    step = _median_seconds(lambda _: trainer.train_step(made), repeats)
    return TrainingSpeed(chunk, chunk / settings.steps_per_chunk, batch, step)


def _median_seconds(act: Callable[[int], object], repeats: int) -> float:
    """Of `repeats` calls, after one that does not count."""
    seconds = []
    for i in range(repeats + 1):
        start = time.monotonic()
        act(i)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.monotonic() - start)
    return sorted(seconds[1:])[repeats // 2]
