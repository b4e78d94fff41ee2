"""Train a model in place: early stopping on validation, hooks, and a checkpoint from which a killed job goes on.

    outcome = train(model, dataset, TrainParams(), seed=0, report=print, checkpoint=folder / "train.pt")

Same seed, device and thread count: the same weights, bit for bit, whether the job was killed on the way or not.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from compression.data.batches import DeviceRows, score_rows, to_device
from compression.data.dataset import Dataset
from compression.data.rows_that_fit import rows_that_fit
from compression.models.watch import evaluating
from compression.spec.code_version import code_version
from compression.spec.errors import DataError, ModelError
from compression.spec.hook import Hook
from compression.spec.records import Progress, Report
from compression.spec.task import DEFAULT_TASK, TASKS
from compression.train.checkpoint import read_checkpoint, write_checkpoint
from compression.train.events import epoch_events
from compression.train.identity import fingerprint
from compression.train.losses import task_loss
from compression.train.optimisers import Optimisers, sparse_gradients
from compression.train.outcome import EpochScore, Position, TrainOutcome
from compression.train.params import TrainParams
from compression.train.schedules import rate_factor
from compression.train.validation import validation_scores

REPORT_SECONDS = 0.5


def train(model: nn.Module, dataset: Dataset, params: TrainParams, *, hooks: Sequence[Hook] = (), device: str = "cpu",
          seed: int = 0, report: Report = lambda progress: None, checkpoint: Path | None = None,
          task: str = DEFAULT_TASK, stage: str = "train", events: Path | None = None,
          checkpoint_seconds: float = 20.0, clock: Callable[[], float] = time.monotonic) -> TrainOutcome:
    """Train `model` in place on the train split, and leave it in eval mode on the CPU with its best weights.

    The best epoch has the best validation score, by the first of the task's metrics of stopping that the split allows,
    among those in which every hook is settled; epoch 0 is the model as it came. `events`: a folder for TensorBoard.

    Raises ModelError when the loss is no longer finite or nothing can be trained,
    DataError for a split without rows; what `report` raises passes through.
    """
    rows, valid = _split(dataset, "train", device), _split(dataset, "valid", device)
    with (_determinism(device, seed), sparse_gradients(model, rows=params.table_rows),
          epoch_events(events, stage) as write_event):
        model.to(device)
        session = Session(model, rows, valid, params, tuple(hooks), device, seed, report, checkpoint,
                          task, stage, write_event, checkpoint_seconds, clock)
        outcome = session.run()
    model.to("cpu").eval()
    return outcome


class Session:
    """One call of `train`: its tensors, optimisers, position and pace."""

    def __init__(self, model: nn.Module, rows: DeviceRows, valid: DeviceRows, params: TrainParams,
                 hooks: tuple[Hook, ...], device: str, seed: int, report: Report, checkpoint: Path | None,
                 task: str, stage: str, write_event: Callable[[EpochScore], None], checkpoint_seconds: float,
                 clock: Callable[[], float]) -> None:
        self.model, self.rows, self.valid, self.params, self.hooks = model, rows, valid, params, hooks
        self.device, self.seed, self.stage = device, seed, stage
        self.report, self.write_event, self.clock = report, write_event, clock
        self.checkpoint, self.checkpoint_seconds = checkpoint, checkpoint_seconds
        self.loss, self.stopping = task_loss(task), TASKS[task].stopping
        self.valid_label = valid.label.cpu().numpy()
        self.valid_weight = None if valid.weight is None else valid.weight.cpu().numpy()
        # BatchNorm has no variance over one row: a last batch of one is left out, another row in each epoch
        batch = params.batch_size
        self.steps = max(1, len(rows) // batch + (len(rows) % batch > 1))
        self.total_steps = params.epochs * self.steps
        # what it starts from, before a hook changes the model or itself
        self.identity = checkpoint and fingerprint(code_version(), params, seed, task, device, model, rows, valid,
                                                   hooks)
        for hook in hooks:
            hook.on_start(model, self.total_steps)
        self.optimisers = Optimisers(model, params)
        if not self.optimisers.n_trained:
            raise ModelError("The model has no weights left to train: all its layers are frozen or quantised. "
                             "Move the fine-tune step before the step that quantises.")
        self.part_rows = self._part_rows()
        self.position = Position()
        self.best_weights: dict[str, torch.Tensor] = {}
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.rows_done = 0
        self.train_seconds = 0.0  # of finished epochs in this process, validation left out
        self.training_since: float | None = None
        self.started = self.last_report = self.last_checkpoint = clock()

    def run(self) -> TrainOutcome:
        """Resume if there is something to resume, train to the end, restore the best weights."""
        resumed = self._resume()
        if self.position.start is None:
            self._score_start()
        self.model.train()
        while not self.position.finished:
            self._epoch()
        self.model.load_state_dict(self.best_weights)
        for hook in self.hooks:
            hook.on_end(self.model)
        place = self.position
        return TrainOutcome(best_epoch=place.best_epoch, start=place.start, history=tuple(place.history),
                            stopped_early=place.stopped_early, resumed=resumed, rows_per_second=self._rate(),
                            seconds=self.clock() - self.started)

    def _epoch(self) -> None:
        place = self.position
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + place.epoch)
        order = torch.randperm(len(self.rows), generator=generator).to(self.device)
        self.training_since = self.clock()
        while place.step < self.steps:
            index = order[place.step * self.params.batch_size:(place.step + 1) * self.params.batch_size]
            self._step(index)
            place.step += 1
            for hook in self.hooks:
                hook.after_step(self.model, (place.epoch - 1) * self.steps + place.step, self.total_steps)
            self.rows_done += len(index)
            self._tick()
            if place.step < self.steps:
                self._save_when_due()
        train_loss = self._finite_loss() / self.steps  # waits for the GPU, so the clock is read after the work
        self.train_seconds += self.clock() - self.training_since
        self.training_since = None
        self._end_epoch(train_loss)

    def _rate(self) -> float | None:
        """Training rows a second in this process; None where no step was timed."""
        running = 0.0 if self.training_since is None else self.clock() - self.training_since
        seconds = self.train_seconds + running
        return self.rows_done / seconds if seconds > 0 and self.rows_done else None

    def _part_rows(self) -> int:
        """Rows whose values are held at one time: a batch, or a part of it whose gradients add up to the batch's.

        BatchNorm and hooks that compare rows see the batch as a whole, whatever it takes.
        """
        whole = any(isinstance(module, _BatchNorm) for module in self.model.modules())
        if whole or any(hook.spans_rows for hook in self.hooks):
            return self.params.batch_size
        with evaluating(self.model):
            return rows_that_fit(self.model, self.rows.inputs, self.params.batch_size, gradient=True)

    def _step(self, index: torch.Tensor) -> None:
        for part in index.split(self.part_rows):
            batch, label = self.rows.take(part)
            with _autocast(self.device, self.params.precision):
                logits = self.model(batch)
            share = len(part) / len(index)
            weight = self.rows.weight_of(part)
            loss = self.loss(logits, label, weight)
            self.loss_sum += loss.detach() * share
            for hook in self.hooks:
                loss = hook.loss(batch, logits, label, loss, weight)
            (loss * share).backward()
        place, params = self.position, self.params
        self.optimisers.step(rate_factor(params.schedule, (place.epoch - 1) * self.steps + place.step,
                                         self.total_steps, warmup=params.warmup, reductions=place.reductions))

    def _end_epoch(self, train_loss: float) -> None:
        """Validate, remember the best weights, decide whether to go on."""
        place = self.position
        score = self._validate(place.epoch, train_loss)
        value = score.value
        place.history.append(score)
        last = place.epoch >= self.params.epochs
        if self._settled(place.epoch * self.steps):
            place.stale = 0 if value > place.best_value else place.stale + 1
            place.reductions += value <= place.best_value
            if value > place.best_value:
                self._keep(place.epoch, value)
            place.stopped_early = place.stale >= self.params.patience and not last
        elif last:
            self._keep(place.epoch, value)  # never settled: what the schedule reached is what there is
        place.finished = last or place.stopped_early
        place.epoch, place.step = place.epoch + 1, 0
        self.loss_sum.zero_()
        self._tick(now=True)
        self._save_when_due(now=place.finished)

    def _score_start(self) -> None:
        """The model as it came is the first candidate, so that fine-tuning never gives back something worse."""
        self.position.start = self._validate(0, None)
        if self._settled(0):
            self._keep(0, self.position.start.value)

    def _validate(self, epoch: int, train_loss: float | None) -> EpochScore:
        """The validation scores after an epoch."""
        logits = score_rows(self.model, self.valid, tick=self._tick)
        scores = validation_scores(self.stopping, logits, self.valid_label, self.valid_weight)
        if not all(math.isfinite(value) for value in scores.values() if value is not None):
            raise ModelError(self._diverged() if epoch else "The model gives scores that are not finite numbers before "
                             "training begins: its weights, or a number column of the dataset, hold extreme values.")
        score = EpochScore(epoch, train_loss, scores)
        self.write_event(score)
        return score

    def _settled(self, step: int) -> bool:
        return all(hook.settled(step, self.total_steps) for hook in self.hooks)

    def _keep(self, epoch: int, value: float) -> None:
        self.position.best_value, self.position.best_epoch = value, epoch
        self.best_weights = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def _finite_loss(self) -> float:
        loss = float(self.loss_sum)
        if not math.isfinite(loss):
            raise ModelError(self._diverged())
        return loss

    def _diverged(self) -> str:
        place = self.position
        return (f"Training diverged: the loss is no longer a finite number in epoch {place.epoch}, step {place.step} "
                f"of {self.steps}. Lower learning_rate (now {self.params.learning_rate:g}) or "
                f"embedding_learning_rate (now {self.params.embedding_learning_rate:g}).")

    def _tick(self, *, now: bool = False) -> None:
        """Report about twice a second; a cancel comes back through here as an exception."""
        moment = self.clock()
        if not now and moment - self.last_report < REPORT_SECONDS:
            return
        self.last_report = moment
        self._finite_loss()
        place = self.position
        rate = self._rate()
        done = place.epoch - 1 + place.step / self.steps
        left = (self.params.epochs - done) * len(self.rows) / rate if rate else None
        message = f"epoch {min(place.epoch, self.params.epochs)} of at most {self.params.epochs}"
        if place.history and place.best_value > -math.inf:
            best = place.history[place.best_epoch - 1] if place.best_epoch else place.start
            message += f"; best {best.words} after epoch {best.epoch}"
        self.report(Progress(stage=self.stage, done=done, total=self.params.epochs, unit="epoch", rate=rate,
                             seconds_left=0.0 if place.finished else left, message=message))

    def _save_when_due(self, *, now: bool = False) -> None:
        if self.checkpoint is None or not (now or self.clock() - self.last_checkpoint >= self.checkpoint_seconds):
            return
        self.position.loss_sum = self._finite_loss()
        state: dict[str, Any] = {
            "identity": self.identity, "position": asdict(self.position), "model": self.model.state_dict(),
            "best": self.best_weights, "optimisers": self.optimisers.state_dict(),
            "hooks": [hook.state_dict() for hook in self.hooks], "random": torch.get_rng_state()}
        if self.device != "cpu":
            state["random_cuda"] = torch.cuda.get_rng_state(self.device)
        write_checkpoint(self.checkpoint, state)
        self.last_checkpoint = self.clock()

    def _resume(self) -> bool:
        state = self.checkpoint and read_checkpoint(self.checkpoint, identity=self.identity, device=self.device)
        if not state:
            return False
        saved = state["position"]
        self.position = Position(**saved | {"start": EpochScore(**saved["start"]),
                                            "history": [EpochScore(**score) for score in saved["history"]]})
        self.model.load_state_dict(state["model"])
        self.best_weights = state["best"]
        self.optimisers.load_state_dict(state["optimisers"])
        for hook, known in zip(self.hooks, state["hooks"], strict=True):
            hook.load_state_dict(known)
        self.loss_sum.fill_(self.position.loss_sum)
        torch.set_rng_state(state["random"].cpu())
        if "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"].cpu(), self.device)
        return True


def _split(dataset: Dataset, name: str, device: str) -> DeviceRows:
    rows = dataset.splits.get(name)
    n_rows = 0 if rows is None else len(rows)
    if n_rows < 2:
        raise DataError(f"The {name} split of {dataset.description.name!r} has {n_rows} rows; training needs "
                        "at least 2. Change the split on the Datasets page.")
    return to_device(rows, device)


def _autocast(device: str, precision: str) -> Any:
    if device == "cpu" or precision == "float32":
        return nullcontext()
    return torch.autocast("cuda", dtype=torch.bfloat16)


@contextmanager
def _determinism(device: str, seed: int) -> Iterator[None]:
    """Seed dropout and, on a GPU, choose algorithms that add in a fixed order; afterwards all is as it was."""
    devices = [] if device == "cpu" else [torch.device(device).index or 0]
    was, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        if devices:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for; read at its start
            torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was, warn_only=warned)
