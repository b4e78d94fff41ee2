"""What the loss on training rows says about weights: asked by single weights and by units alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compression.spec.errors import RecipeError
from compression.spec.method import Context

if TYPE_CHECKING:
    from torch import Tensor, nn


def training_scores(model: "nn.Module", leaves: "dict[str, nn.Module]", ctx: Context, *, title: str,
                    criterion: str = "taylor", n_batches: int = 20, batch_size: int = 512) -> "dict[str, Tensor]":
    """Path of each leaf → score of each of its weights, over batches drawn from the training split.

    Raises RecipeError without a dataset.
    """
    from compression.data.batches import to_device
    from compression.observe.saliency import gradient_scores
    from compression.train.losses import task_loss

    if ctx.dataset is None:
        raise RecipeError(f"{title} asks the loss on training rows; run the recipe with a dataset.")
    return gradient_scores(
        model, {path: leaf.weight for path, leaf in leaves.items()}, to_device(ctx.dataset.splits["train"]),
        criterion=criterion, loss=task_loss(ctx.dataset.description.task), batch_size=batch_size,
        n_batches=n_batches, generator=ctx.generator)
