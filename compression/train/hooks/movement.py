"""Hooks that look at how the optimiser moved each weight: movement pruning, and a pull towards exact zeros.

Sources: Sanh et al. 2020, arXiv:2005.07683; Tibshirani 1996; Yun et al. 2021, arXiv:2007.07484.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compression.train.hooks.pruning import PruningHook


class WatchingHook(PruningHook):
    """Knows what each weight was before the step."""

    def __init__(self, paths: tuple[str, ...], *, sparsity: float, scope: str, schedule: str) -> None:
        super().__init__(paths, sparsity=sparsity, scope=scope, schedule=schedule)
        self.before: dict[str, Tensor] = {}

    def on_start(self, model: nn.Module, total_steps: int) -> None:
        self._remember(model)

    def _remember(self, model: nn.Module) -> None:
        self.before = {path: weight.clone() for path, weight in self._weights(model).items()}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"before": {path: weight.cpu() for path, weight in self.before.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        devices = {path: weight.device for path, weight in self.before.items()}
        self.before = {path: weight.to(devices.get(path, "cpu")) for path, weight in state["before"].items()}


class MovementHook(WatchingHook):
    """Masks grow over the weights that moved towards zero, by the cubic schedule.

    The score of a weight is Σ (w_t − w_{t−1}) · w_{t−1}: Sanh et al. have −learning rate · gradient for the difference.
    """

    def __init__(self, paths: tuple[str, ...], *, sparsity: float, scope: str) -> None:
        super().__init__(paths, sparsity=sparsity, scope=scope, schedule="cubic")
        self.moved: dict[str, Tensor] = {}

    def on_start(self, model: nn.Module, total_steps: int) -> None:
        super().on_start(model, total_steps)
        self.moved = {path: torch.zeros_like(weight) for path, weight in self.before.items()}

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        for path, weight in self._weights(model).items():
            self.moved[path] += (weight - self.before[path]) * self.before[path]
        super().after_step(model, step, total_steps)
        self._remember(model)

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """What each weight is worth. One that is gone can't move any more, so it stays below all others."""
        scores = {}
        for path, weight in self._weights(model).items():
            mask = self.masks.get(path)
            gone = torch.zeros_like(weight, dtype=torch.bool) if mask is None else ~mask.to(weight.device)
            scores[path] = self.moved[path].masked_fill(gone, -torch.inf)
        return scores

    def on_end(self, model: nn.Module) -> None:
        """The best weights hold their zeros already: scores of a later step must not choose others."""

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"moved": {path: values.cpu() for path, values in self.moved.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.moved = {path: values.to(self.before[path].device) for path, values in state["moved"].items()}


class ShrinkingHook(WatchingHook):
    """After each step all weights go towards zero by `strength` × the layer's mean step, and stop there.

    This is the proximal step of an L1 penalty; as it is measured in steps of the optimiser, it holds for any learning
    rate. Only the last quarter of the epochs can be the best, so that the pull has had its effect.
    """

    def __init__(self, paths: tuple[str, ...], *, strength: float) -> None:
        super().__init__(paths, sparsity=0.0, scope="layer", schedule="cubic")
        self.strength = strength

    @torch.no_grad()
    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        for path, weight in self._weights(model).items():
            threshold = self.strength * (weight - self.before[path]).abs().mean()
            weight.copy_(soft_threshold(weight, threshold))
        self._remember(model)

    def on_end(self, model: nn.Module) -> None:
        """The weights are what they became."""


def soft_threshold(weight: Tensor, threshold: Tensor | float) -> Tensor:
    """sign(w) · max(|w| − threshold, 0): where the penalty threshold · |w| leaves a weight."""
    return weight.sign() * (weight.abs() - threshold).clamp(min=0)
