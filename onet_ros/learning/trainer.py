"""Training an occupancy network on the simulated world: one readable loop.

Runs on a CPU, on one GPU, or on several processes started by `torchrun` (DistributedDataParallel). A run folder holds
`config.json` (the settings), `last.pt` (everything needed to go on exactly), `best/` and `final/` (checkpoints for use)
and TensorBoard curves.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from onet_ros.learning.pool import VALIDATION_STREAM, Batch, SamplePool, draw_batch, stream_generator
from onet_ros.learning.training_settings import TrainingSettings
from onet_ros.learning.world import make_samples
from onet_ros.networks import Checkpoint, OccupancyNetwork, save_checkpoint

THRESHOLDS = tuple(round(0.1 + 0.05 * i, 2) for i in range(17))


def learning_rate_at(step: int, settings: TrainingSettings) -> float:
    """Trapezoid: linear up, flat, linear down to zero."""
    down = max(1, int(settings.steps * settings.cooldown))
    share = min((step + 1) / max(1, settings.warmup), (settings.steps - step) / down, 1.0)
    return settings.learning_rate * share


class WeightAverage:
    """Exponential moving average of a module's state; young averages follow faster."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value.float(), 1.0 - decay)
            else:
                self.state[name].copy_(value)


@torch.no_grad()
def validate(network: nn.Module, batches: list[Batch], precision: str) -> dict[str, float]:
    """Loss, and the mean volumetric IoU over samples at the threshold that is best for all of them together."""
    network.eval()
    losses, intersections, unions = [], [], []
    thresholds = torch.logit(torch.tensor(THRESHOLDS))
    for batch in batches:
        with autocast(batch.queries.device, precision):
            logits = network(batch.observation, batch.queries).float()
        losses.append(F.binary_cross_entropy_with_logits(logits, batch.labels).item())
        inside = batch.labels > 0.5
        guessed = logits.unsqueeze(0) > thresholds.to(logits.device)[:, None, None]
        intersections.append((guessed & inside).sum(dim=2))
        unions.append((guessed | inside).sum(dim=2))
    iou = (torch.cat(intersections, dim=1) / torch.cat(unions, dim=1).clamp(min=1)).mean(dim=1)
    best = int(iou.argmax())
    network.train()
    return {"loss": sum(losses) / len(losses), "iou": float(iou[best]), "threshold": THRESHOLDS[best]}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def validation_batches(settings: TrainingSettings) -> list[Batch]:
    """Fixed samples from the validation stream, uniform queries only, as many points as the checkpoint will use."""
    generator = stream_generator(settings.seed, VALIDATION_STREAM, 0)
    batches: list[Batch] = []
    made = 0
    while made < settings.validation_samples:
        samples = make_samples(min(64, settings.validation_samples), generator, settings.world, settings.device)
        uniform = samples.queries.shape[1] // 2
        samples = dataclasses.replace(samples, queries=samples.queries[:, :uniform], inside=samples.inside[:, :uniform])
        batches.append(draw_batch(samples, settings.points[1], 2048, generator))
        made += len(samples.points)
    return batches


class Trainer:
    """A run in a folder; `run()` starts it or goes on with it."""

    def __init__(self, settings: TrainingSettings, folder: str | Path) -> None:
        self.settings, self.folder = settings, Path(folder)
        self.rank, self.processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device = torch.device(settings.device)
        if self.processes > 1:
            torch.distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            if self.device.type == "cuda":
                self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        if settings.threads:
            torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.network = OccupancyNetwork(**dataclasses.asdict(settings.network)).to(self.device)
        self.module: nn.Module = self.network
        if self.processes > 1:
            self.module = nn.parallel.DistributedDataParallel(self.network)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.average = WeightAverage(self.network, settings.ema)
        self.step, self.best_iou, self.seconds = 0, -1.0, 0.0
        self.history: list[dict[str, float]] = []

    def run(self) -> dict[str, float]:
        """Train to the last step; returns the best validation figures."""
        s = self.settings
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "last.pt").exists():
            self._resume()
        elif self.rank == 0:
            (self.folder / "config.json").write_text(json.dumps(dataclasses.asdict(s), indent=2) + "\n")
        validation = validation_batches(s) if self.rank == 0 else []
        pool = SamplePool(
            s.seed + self.rank,
            s.world,
            s.chunk_size,
            s.chunks_kept,
            s.steps_per_chunk,
            self.step,
            s.steps,
            s.workers,
            s.device,
        )
        bar = tqdm(
            total=s.steps, initial=self.step, disable=self.rank != 0, unit="step", smoothing=0.05, mininterval=5.0
        )
        running = math.nan
        since = time.monotonic()
        while self.step < s.steps:
            batch = pool.batch(self.step, s.batch_size // self.processes, s.points, s.queries)
            loss = self._train_step(batch)
            running = loss if math.isnan(running) else 0.98 * running + 0.02 * loss
            self.step += 1
            bar.update()
            bar.set_postfix(loss=f"{running:.3f}", iou=f"{self.best_iou:.3f}", refresh=False)
            last = self.step == s.steps
            if self.rank == 0 and (last or self.step % s.validate_every == 0):
                self.seconds += time.monotonic() - since
                self._validate_and_keep(validation, running)
                since = time.monotonic()
            if self.rank == 0 and (last or self.step % s.checkpoint_every == 0):
                self.seconds += time.monotonic() - since
                self._save()
                since = time.monotonic()
        bar.close()
        return max(self.history, key=lambda row: row["iou"], default={})

    def _train_step(self, batch: Batch) -> float:
        s = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, s)
        observation = batch.observation.to(self.device)
        queries, labels = batch.queries.to(self.device), batch.labels.to(self.device)
        with autocast(self.device, s.precision):
            logits: Tensor = self.module(observation, queries)
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), s.clip)
        self.optimizer.step()
        self.average.update(self.network, self.step)
        return float(loss.detach())

    def _validate_and_keep(self, validation: list[Batch], running: float) -> None:
        averaged = OccupancyNetwork(**self.network.config).to(self.device)
        averaged.load_state_dict(self.average.state)
        figures = validate(averaged, validation, self.settings.precision)
        row = {"step": float(self.step), "seconds": self.seconds, "training_loss": running, **figures}
        self.history.append(row)
        with (self.folder / "history.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        record: dict[str, Any] = {"settings": dataclasses.asdict(self.settings), "validation": row}
        checkpoint = Checkpoint(averaged, self.settings.points[1], figures["threshold"], record)
        if figures["iou"] > self.best_iou:
            self.best_iou = figures["iou"]
            save_checkpoint(self.folder / "best", checkpoint)
        if self.step == self.settings.steps:
            save_checkpoint(self.folder / "final", checkpoint)

    def _save(self) -> None:
        """Everything a run needs to go on; the previous file survives a write that fails."""
        state = {
            "step": self.step,
            "best_iou": self.best_iou,
            "seconds": self.seconds,
            "history": self.history,
            "network": self.network.state_dict(),
            "average": self.average.state,
            "optimizer": self.optimizer.state_dict(),
        }
        new = self.folder / "last.pt.new"
        try:
            torch.save(state, new)
        except (OSError, RuntimeError):
            new.unlink(missing_ok=True)
            raise
        os.replace(new, self.folder / "last.pt")

    def _resume(self) -> None:
        # weights_only: tensors and plain containers, nothing that could run code.
        state = torch.load(self.folder / "last.pt", map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.state = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best_iou, self.seconds = state["step"], state["best_iou"], state["seconds"]
        self.history = state["history"]
