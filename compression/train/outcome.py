"""What a training did, and where it stands while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from compression.spec.metrics import METRICS

STILL_IMPROVING = "still improving at the last epoch, so more epochs may do better"


@dataclass(frozen=True)
class EpochScore:
    """One pass over the training rows, and the validation split after it."""

    epoch: int
    train_loss: float | None  # None before the first
    valid: dict[str, float | None]  # the task's metrics of stopping; None where the rows have one class only

    @property
    def metric(self) -> str:
        """The metric that decides: the first that the rows allow."""
        return next(name for name, value in self.valid.items() if value is not None)

    @property
    def value(self) -> float:
        """The metric that decides, as a number to be as high as possible."""
        value = self.valid[self.metric]
        return value if METRICS[self.metric].higher_is_better else -value

    @property
    def words(self) -> str:
        """ "validation AUC 0.8123"."""
        return f"validation {METRICS[self.metric].title} {self.valid[self.metric]:.4f}"

    def as_notes(self) -> dict[str, Any]:
        """Plain data, each metric under "valid_" and its name."""
        plain = asdict(self)
        return plain | {f"valid_{name}": value for name, value in plain.pop("valid").items()}


@dataclass(frozen=True)
class TrainOutcome:
    """What a training did; the model holds the weights of `best_epoch`.

    Epoch 0 is the model as it came: a fine-tuning that only made it worse gives it back as it was.
    """

    best_epoch: int
    start: EpochScore
    history: tuple[EpochScore, ...]
    stopped_early: bool
    resumed: bool
    rows_per_second: float | None  # of the training steps in this process; None if all were done before
    seconds: float

    @property
    def best(self) -> EpochScore:
        return self.history[self.best_epoch - 1] if self.best_epoch else self.start

    def as_notes(self) -> dict[str, Any]:
        """The outcome as plain data, for the job's record; `metric` is the one that decided."""
        return asdict(self) | {"metric": self.start.metric, "start": self.start.as_notes(),
                               "history": tuple(score.as_notes() for score in self.history)}


@dataclass
class Position:
    """Where a training stands; with the weights, all that a checkpoint has to hold."""

    epoch: int = 1
    step: int = 0  # steps done in this epoch
    loss_sum: float = 0.0
    start: EpochScore | None = None
    best_epoch: int = 0
    best_value: float = -math.inf
    stale: int = 0  # settled epochs since the best
    reductions: int = 0  # settled epochs that were no better than the best before them
    stopped_early: bool = False
    finished: bool = False
    history: list[EpochScore] = field(default_factory=list)


def still_improving(notes: Mapping[str, Any]) -> bool:
    """Whether the best epoch of a training, by its notes, was the last that its settings allowed."""
    return not notes["stopped_early"] and notes["best_epoch"] == len(notes["history"])
