"""Training an occupancy network on the simulated world: one readable loop.

Runs on a CPU, on one GPU, or on several processes started by `torchrun` (DistributedDataParallel). A run folder holds
`config.json` (the settings), `last.pt` (everything needed to go on exactly), `best/` and `final/` (checkpoints for
use), `history.jsonl` (a line per validation) and `curves/` (for TensorBoard).
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from onet_ros.learning.own_objects import OwnObjects
from onet_ros.learning.pool import VALIDATION_STREAM, SamplePool, held_out_batches
from onet_ros.learning.run_folder import HISTORY_FILE, RunError, settings_to_go_on, write_settings
from onet_ros.learning.source import AnySamples, Batch
from onet_ros.learning.sources import source_for
from onet_ros.learning.training_curves import Curves, Stopwatch
from onet_ros.learning.training_settings import TrainingSettings
from onet_ros.networks import Checkpoint, OccupancyNetwork, load_checkpoint, save_checkpoint

STATE_FILE = "last.pt"
CURVE_STEPS = 20  # between two points of the training curves
THRESHOLDS = tuple(round(0.1 + 0.05 * i, 2) for i in range(17))


def learning_rate_at(step: int, progress: float, settings: TrainingSettings) -> float:
    """Trapezoid: linear up, flat, linear down to zero.

    Args:
        progress: share of the run that is done, 0 to 1.
    """
    down = max(settings.cooldown, 1.0 / settings.steps)
    share = min((step + 1) / max(1, settings.warmup), (1.0 - progress) / down, 1.0)
    return settings.learning_rate * share


class WeightAverage:
    """Exponential moving average of a module's state; young averages follow faster."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        state = module.state_dict()
        learned = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.state[n] for n in learned], [state[n].float() for n in learned], 1.0 - decay)
        for name in state.keys() - set(learned):
            self.state[name].copy_(state[name])


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


def validation_batches(settings: TrainingSettings, device: torch.device | str) -> list[Batch]:
    """Fixed samples from the validation stream, uniform queries only, as many points as the checkpoint will use."""
    count, points = settings.validation_samples, settings.points[1]
    return held_out_batches(settings.seed, VALIDATION_STREAM, count, points, source_for(settings), device)


class Trainer:
    """A run in a folder; `run()` starts it or goes on with it.

    Args:
        kept: chunks of samples that runs in this process share, see `ChunkStream`.

    Raises:
        RunError: the folder holds a run with other settings, or one whose state does not fit this network.
    """

    def __init__(
        self, settings: TrainingSettings, folder: str | Path, kept: dict[int, AnySamples] | None = None
    ) -> None:
        self.settings, self.folder, self._kept = settings, Path(folder), kept
        self.rank, self.processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if settings.batch_size % self.processes:
            raise ValueError(f"batch_size {settings.batch_size} cannot be shared out to {self.processes} processes")
        for remark in settings_to_go_on(self.folder, settings):
            print(f"{self.folder} goes on with a difference: {remark}", file=sys.stderr)
        self.device = _device(settings.device)
        if self.processes > 1:
            torch.distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        if settings.threads:
            torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.network = OccupancyNetwork(**dataclasses.asdict(settings.network)).to(self.device)
        if settings.start_from:
            self._start_from(settings.start_from)
        self.module: nn.Module = self.network
        if self.processes > 1:
            self.module = nn.parallel.DistributedDataParallel(self.network)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.average = WeightAverage(self.network, settings.ema)
        if settings.own_objects and self.network.observes != "points":
            raise ValueError(f"own_objects are for networks that observe points, not {self.network.observes}")
        self.own = OwnObjects(settings.own_objects) if settings.own_objects else None
        self.step, self.progress, self.best_iou, self.running_loss = 0, 0.0, -1.0, math.nan
        self._earlier_seconds, self._began = 0.0, time.monotonic()
        self.history: list[dict[str, float]] = []

    def run(self) -> dict[str, float]:
        """Train to the last step; returns the best validation figures (of rank 0, an empty dictionary elsewhere)."""
        s = self.settings
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / STATE_FILE).exists():
            self._resume()
        if self.rank == 0:
            write_settings(self.folder, s)
            self._rewrite_history()
        try:
            self.progress = self._progress()
            if self.progress < 1.0:
                self._train(validation_batches(s, self.device) if self.rank == 0 else [])
        finally:
            if self.processes > 1:
                torch.distributed.destroy_process_group()
        return max(self.history, key=lambda row: row["iou"], default={})

    def _train(self, validation: list[Batch]) -> None:
        s, main = self.settings, self.rank == 0
        pool = self._pool()
        curves = Curves(self.folder, self.step) if main else None
        bar = tqdm(total=s.steps, initial=self.step, disable=not main, unit="step", smoothing=0.05, mininterval=5.0)
        stretch, watch = Stopwatch(), Stopwatch()  # since the last validation, since the last curve point
        while self.progress < 1.0:
            with stretch.waiting(), watch.waiting():
                batch = pool.batch(self.step, s.batch_size // self.processes, s.points, s.queries)
            self._note_loss(self.train_step(batch))
            self.step += 1
            for timer in (stretch, watch):
                timer.count(s.batch_size)
            bar.update()
            bar.set_postfix(loss=f"{self.running_loss:.3f}", iou=f"{max(self.best_iou, 0.0):.3f}", refresh=False)
            self.progress = self._progress()
            last = self.progress >= 1.0
            if curves and (last or self.step % CURVE_STEPS == 0):
                rate = self.optimizer.param_groups[0]["lr"]
                curves.add(self.step, {"loss": self.running_loss, "learning_rate": rate, **watch.figures()})
                watch.restart()
            if main and (last or self.step % s.validate_every == 0):
                row = self._validate_and_keep(validation, stretch.figures())
                if curves:
                    curves.add(self.step, {"validation/iou": row["iou"], "validation/loss": row["loss"]})
                stretch.restart()
                watch.restart()
            if main and (last or self.step % s.checkpoint_every == 0):
                self._save()
        bar.close()
        if curves:
            curves.close()

    def _pool(self) -> SamplePool:
        s = self.settings
        return SamplePool(
            s.seed + self.rank,
            source_for(s),
            s.chunk_size,
            s.chunks_kept,
            s.steps_per_chunk,
            self.step,
            s.steps,
            s.workers,
            "cpu" if s.workers else str(self.device),  # a forked process cannot use a GPU
            self.own,
            s.own_share,
            self._kept,
            self.device,
        )

    def _progress(self) -> float:
        """Share of the run that is done, by steps and by time, whichever is further; 1 at its end."""
        s = self.settings
        done = self.step / s.steps
        if s.time_limit:
            spent = torch.tensor([self.seconds / s.time_limit], device=self.device)
            if self.processes > 1:  # all have to end at the same step
                torch.distributed.broadcast(spent, 0)
            done = max(done, float(spent))
        return min(done, 1.0)

    def _note_loss(self, loss: float) -> None:
        """The running mean of the loss; a run that has gone wrong ends here, before it spoils what was saved."""
        if not math.isfinite(loss):
            raise RunError(f"the loss is {loss} at step {self.step}; {self.folder} keeps the state saved last")
        self.running_loss = loss if math.isnan(self.running_loss) else 0.98 * self.running_loss + 0.02 * loss

    def train_step(self, batch: Batch) -> float:
        """One update of the weights and of their average; returns the loss."""
        s = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, self.progress, s)
        batch = batch.to(self.device)
        with autocast(self.device, s.precision):
            logits: Tensor = self.module(batch.observation, batch.queries)
        loss = F.binary_cross_entropy_with_logits(logits.float(), batch.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), s.clip)
        self.optimizer.step()
        self.average.update(self.network, self.step)
        return float(loss.detach())

    def _validate_and_keep(self, validation: list[Batch], speed: dict[str, float]) -> dict[str, float]:
        averaged = OccupancyNetwork(**self.network.config).to(self.device)
        averaged.load_state_dict(self.average.state)
        figures = validate(averaged, validation, self.settings.precision)
        row = {
            "step": float(self.step),
            "seconds": round(self.seconds, 1),
            "training_loss": self.running_loss,
            **figures,
            **speed,
        }
        self.history.append(row)
        with (self.folder / HISTORY_FILE).open("a") as log:
            log.write(json.dumps(row) + "\n")
        record: dict[str, Any] = {"settings": dataclasses.asdict(self.settings), "validation": row}
        points = self.settings.points[1] if averaged.observes == "points" else 0
        checkpoint = Checkpoint(averaged, points, figures["threshold"], record)
        if figures["iou"] > self.best_iou:
            self.best_iou = figures["iou"]
            save_checkpoint(self.folder / "best", checkpoint)
        if self.progress >= 1.0:
            save_checkpoint(self.folder / "final", checkpoint)
        return row

    @property
    def seconds(self) -> float:
        """Spent on the run so far, over all its sittings."""
        return self._earlier_seconds + time.monotonic() - self._began

    def _save(self) -> None:
        """Everything a run needs to go on; the previous file survives a write that fails."""
        state = {
            "step": self.step,
            "best_iou": self.best_iou,
            "seconds": self.seconds,
            "running_loss": self.running_loss,
            "history": self.history,
            "network": self.network.state_dict(),
            "average": self.average.state,
            "optimizer": self.optimizer.state_dict(),
            "own_objects": self.own.digest if self.own else "",
        }
        new = self.folder / (STATE_FILE + ".new")
        try:
            torch.save(state, new)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as either
            new.unlink(missing_ok=True)
            raise OSError(f"cannot write {new}, perhaps for want of space: {error}") from error
        os.replace(new, self.folder / STATE_FILE)

    def _start_from(self, folder: str) -> None:
        start = load_checkpoint(folder).network
        if start.config != self.network.config:
            raise RunError(f"cannot start from {folder}: it holds {start.config}, this run is of {self.network.config}")
        self.network.load_state_dict(start.state_dict())

    def _resume(self) -> None:
        path = self.folder / STATE_FILE
        try:
            # weights_only: tensors and plain containers, nothing that could run code.
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.average.state = state["average"]
            self.optimizer.load_state_dict(state["optimizer"])
        except (OSError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError, EOFError) as error:
            raise RunError(f"{path} is no state that {self.network.config} can go on from: {error}") from error
        if state.get("own_objects", "") != (self.own.digest if self.own else ""):
            raise RunError(
                f"the objects in {self.settings.own_objects} have changed since the run in {self.folder} was begun; "
                "take another folder"
            )
        self.step, self.best_iou, self._earlier_seconds = state["step"], state["best_iou"], state["seconds"]
        self.running_loss = state.get("running_loss", math.nan)
        self.history = state["history"]

    def _rewrite_history(self) -> None:
        """What a sitting noted after its last checkpoint is done again, and so noted again."""
        rows = [row for row in self.history if row["step"] <= self.step]
        (self.folder / HISTORY_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _device(name: str) -> torch.device:
    """The device of this process: of several GPUs, the one that torchrun meant for it."""
    device = torch.device(name)
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device
