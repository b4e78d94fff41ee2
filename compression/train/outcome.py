"""What a training did, and where it stands while it runs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class EpochScore:
    """One pass over the training rows, and the validation split after it; auc is None if it has one class only."""

    epoch: int
    train_loss: float | None  # None before the first
    valid_logloss: float
    valid_auc: float | None


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
        """The outcome as plain data, for the job's record."""
        return asdict(self)


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
    stopped_early: bool = False
    finished: bool = False
    history: list[EpochScore] = field(default_factory=list)
