"""Losses by the name that a task gives them: (logits (B,), label (B,), weight (B,) of mean 1 or None) → scalar."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from compression.spec.errors import ModelError
from compression.spec.task import TASKS

Loss = Callable[..., Tensor]


def binary_cross_entropy(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of −log p of what happened, computed from logits so that a confident row can't overflow."""
    return functional.binary_cross_entropy_with_logits(logits.float(), label, weight)


LOSSES: dict[str, Loss] = {"binary_cross_entropy": binary_cross_entropy}


def task_loss(task: str) -> Loss:
    """The loss that a task names. Raises ModelError for a name that there isn't."""
    name = TASKS[task].loss
    if name not in LOSSES:
        raise ModelError(f"There is no loss {name!r}, which the task {task} names; it is one of: {', '.join(LOSSES)}.")
    return LOSSES[name]
