"""Iterative pruning with rewinding: train, prune, set what is left back to where training began, and again.

Sources: Frankle & Carbin 2019, arXiv:1803.03635; Frankle et al. 2019, arXiv:1903.01611.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compression.train.hooks.pruning import PruningHook


class RewindingHook(PruningHook):
    """One training is cut into n_rounds + 1 equal parts; at each cut the masks grow and the weights are set back.

    After round k of n, 1 − (1 − sparsity)^(k/n) of the weights are gone: each round takes the same share of the rest.
    rewind_to "start": the weights before the first step; "early": those after the first tenth of the first round;
    "none": training goes on from where it is. Norm statistics and the optimiser's state are not set back.
    """

    def __init__(self, paths: tuple[str, ...], *, sparsity: float, scope: str, n_rounds: int, rewind_to: str) -> None:
        super().__init__(paths, sparsity=sparsity, scope=scope, schedule="rounds")
        self.n_rounds = n_rounds
        self.rewind_to = rewind_to
        self.origin: dict[str, Tensor] = {}

    def on_start(self, model: nn.Module, total_steps: int) -> None:
        if self.rewind_to == "start":
            self._keep_origin(model)

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        if self.rewind_to == "early" and step == max(1, self._cut(1, total_steps) // 10):
            self._keep_origin(model)
        ended = [number for number in range(1, self.n_rounds + 1) if self._cut(number, total_steps) == step]
        if ended:
            self._grow(model, sparsity_after(ended[-1], self.n_rounds, self.sparsity))
            self._rewind(model)
        self._apply(model)

    def settled(self, step: int, total_steps: int) -> bool:
        return step > self._cut(self.n_rounds, total_steps)

    def on_end(self, model: nn.Module) -> None:
        self._apply(model)

    def _cut(self, number: int, total_steps: int) -> int:
        """The step at which round `number` ends."""
        return max(number, number * total_steps // (self.n_rounds + 1))

    def _keep_origin(self, model: nn.Module) -> None:
        self.origin = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}

    @torch.no_grad()
    def _rewind(self, model: nn.Module) -> None:
        for name, tensor in model.named_parameters():
            if name in self.origin:
                tensor.copy_(self.origin[name].to(tensor.device))

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"origin": {name: tensor.cpu() for name, tensor in self.origin.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.origin = dict(state["origin"])


def sparsity_after(number: int, n_rounds: int, final: float) -> float:
    """Share of zeros after round `number`: each round removes the same share of what is left."""
    return 1 - (1 - final) ** (number / n_rounds)
