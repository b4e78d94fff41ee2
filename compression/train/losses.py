"""Losses by the name a task gives them: (logits (B,), label (B,)) → scalar."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def binary_cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean of −log p of what happened, computed from logits so that a confident row can't overflow."""
    return functional.binary_cross_entropy_with_logits(logits.float(), label)


LOSSES: dict[str, Loss] = {"binary_cross_entropy": binary_cross_entropy}
