"""What lives through training: distillation, gradual pruning and the like subclass Hook and override what they need."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Hook:
    """Called by `train` in the order of the recipe. Every method does nothing until overridden.

    Its attributes as they are before `on_start` are its settings: a checkpoint of a training with others is not used.
    `spans_rows` says that its loss compares rows of a batch with one another: such a batch is never asked in parts.
    Steps count from 1 to total_steps = epochs × steps of an epoch; early stopping may end before.
    """

    spans_rows = False

    def on_start(self, model: nn.Module, total_steps: int) -> None:
        """Before the optimisers are made; the model is on its device. Also called when a killed job resumes."""

    def loss(self, batch: dict[str, Tensor], logits: Tensor, label: Tensor, loss: Tensor,
             weight: Tensor | None = None) -> Tensor:
        """The loss to minimise, from the loss so far: a scalar; logits and label (B,).

        `weight` (B,) says how much each row counts, 1 in the mean over the split; None where all count alike.
        """
        return loss

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        """After the weights moved; may write into them in place (masks)."""

    def settled(self, step: int, total_steps: int) -> bool:
        """Whether the model has reached its final form. Epochs before that are never the best, and never stop early."""
        return True

    def on_end(self, model: nn.Module) -> None:
        """After the best weights were restored."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed job has to know: tensors, numbers, strings, lists and dicts of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave; called after on_start."""
