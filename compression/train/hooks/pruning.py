"""What keeps pruned weights at zero while a model trains, and what prunes step by step.

Sources: Han et al. 2015, arXiv:1506.02626; Zhu & Gupta 2017, arXiv:1710.01878.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compression.layers.sparse_shapes import n_zeros
from compression.spec.hook import Hook

UPDATES = 100  # times the cubic schedule raises the share of zeros during one training
RISING = 0.75  # share of the training in which it rises; the rest lets the remaining weights recover


class PruningHook(Hook):
    """Zero the weights under the masks after each optimiser step; with the cubic schedule, grow the masks as well.

    `paths` name leaves with a `weight`. A leaf that a later step replaced by another shape is left alone.
    What a weight is worth is its magnitude; other criteria override `scores`.
    """

    def __init__(self, paths: tuple[str, ...], *, sparsity: float, scope: str, schedule: str) -> None:
        self.paths = paths
        self.sparsity = sparsity
        self.scope = scope
        self.schedule = schedule
        self.masks: dict[str, Tensor] = {}  # True where a weight lives

    def hold_zeros(self, model: nn.Module) -> None:
        """Take the zeros that are there now as the mask."""
        self.masks = {path: weight != 0 for path, weight in self._weights(model).items()}

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        rising = self._rising(total_steps)
        due = step <= rising and (step == rising or step % max(1, rising // UPDATES) == 0)
        if self.schedule == "cubic" and due:
            self._grow(model, cubic_sparsity(step, rising, final=self.sparsity))
        self._apply(model)

    def settled(self, step: int, total_steps: int) -> bool:
        return self.schedule != "cubic" or step >= self._rising(total_steps)

    def on_end(self, model: nn.Module) -> None:
        if self.schedule == "cubic":
            self._grow(model, self.sparsity)
        self._apply(model)

    def state_dict(self) -> dict[str, Any]:
        return {"masks": {path: mask.cpu() for path, mask in self.masks.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.masks = dict(state["masks"])

    @staticmethod
    def _rising(total_steps: int) -> int:
        return max(1, int(RISING * total_steps))

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """What each weight is worth: those with the lowest score go first."""
        return {path: weight.abs() for path, weight in self._weights(model).items()}

    def _weights(self, model: nn.Module) -> dict[str, Tensor]:
        weights = {}
        for path in self.paths:
            try:
                leaf = model.get_submodule(path)
            except AttributeError:
                continue  # a later step removed it
            if isinstance(leaf, nn.Linear | nn.Embedding):
                weights[path] = leaf.weight.detach()
        return weights

    def _grow(self, model: nn.Module, sparsity: float) -> None:
        self.masks = keep_masks(self.scores(model), sparsity, self.scope)

    @torch.no_grad()
    def _apply(self, model: nn.Module) -> None:
        for path, weight in self._weights(model).items():
            mask = self.masks.get(path)
            if mask is not None and mask.shape == weight.shape:
                self.masks[path] = mask = mask.to(weight.device)
                weight.mul_(mask)


def cubic_sparsity(step: int, total_steps: int, *, final: float, initial: float = 0.0) -> float:
    """s_t = s_f + (s_i − s_f)·(1 − t/T)³: fast at first, slow near the end. Zhu & Gupta 2017, equation 1."""
    left = 1 - min(1.0, step / max(1, total_steps))
    return final + (initial - final) * left**3


def keep_masks(scores: dict[str, Tensor], sparsity: float, scope: str) -> dict[str, Tensor]:
    """True where a weight is kept: all but exactly floor(sparsity · n) with the lowest scores; of equals, the first go.

    scope "layer": the share in each tensor; "model": one limit over all of them.
    """
    if not scores:
        return {}
    if scope == "layer":
        return {path: ~lowest(values.flatten(), sparsity).view(values.shape) for path, values in scores.items()}
    gone = lowest(torch.cat([values.flatten() for values in scores.values()]), sparsity)
    parts = gone.split([values.numel() for values in scores.values()])
    return {path: ~part.view(values.shape) for (path, values), part in zip(scores.items(), parts, strict=True)}


def lowest(scores: Tensor, sparsity: float) -> Tensor:
    """(n,) bool: True at the floor(sparsity · n) lowest scores."""
    count = n_zeros(len(scores), sparsity)
    if not count:
        return torch.zeros_like(scores, dtype=torch.bool)
    limit = scores.kthvalue(count).values
    gone = scores < limit
    ties = (scores == limit).nonzero().squeeze(1)
    gone[ties[:count - int(gone.sum())]] = True
    return gone
