"""What one dense layer in another form does to the scores while the others stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from compression.methods.quantize.dense_layers import n_kept
from compression.spec.errors import RecipeError
from compression.spec.method import Context, copy_structure

if TYPE_CHECKING:
    from torch import nn

    from compression.data.batches import DeviceRows

MOST_ROWS = 20_000
MOST_BYTES = 2 << 30  # of what these rows make of themselves inside the model: of pairs of texts, some tens


def harm_of(model: "nn.Module", rows: "DeviceRows", *,
            judged_by: Literal["scores", "loss"] = "scores") -> "Callable[[str, nn.Module], float]":
    """harm(path, layer): the mean squared change of a logit, or the rise of the rows' log loss, with `layer` at `path`.
    """
    import numpy as np

    from compression.data.batches import score_rows
    from compression.models.structure import replace
    from compression.observe.importance import loss_of

    by_loss = judged_by == "loss"
    before = loss_of(model, rows) if by_loss else score_rows(model, rows)

    def harm(path: str, layer: "nn.Module") -> float:
        trial = copy_structure(model)
        replace(trial, path, layer)
        return loss_of(trial, rows) - before if by_loss else float(
            np.square(score_rows(trial, rows) - before, dtype=np.float64).mean())

    return harm


def kept_in_float(model: "nn.Module", layers: "dict[str, nn.Module]", share: float,
                  ctx: Context) -> dict[str, str]:
    """Paths of the `share` of these new layers that alone change the scores most → why they stay in float.

    Measured on training rows. Raises RecipeError where there are none.
    """
    from compression.data.batches import drawn_rows, to_device
    from compression.data.rows_that_fit import FEW_ROWS, row_bytes
    from compression.models.watch import evaluating

    if not (number := n_kept(len(layers), share)):
        return {}
    known = ctx.dataset.splits.get("train") if ctx.dataset is not None else None
    if known is None or len(known) == 0:
        raise RecipeError("keep_float measures on training rows which layers to keep in float, and there are none. "
                          "Choose a dataset with a training split, or set keep_float to 0.")
    with evaluating(model):
        width = row_bytes(model, to_device(known.take(slice(0, FEW_ROWS))).inputs)
    harm = harm_of(model, drawn_rows(known, width.within(MOST_BYTES, most=MOST_ROWS), ctx.generator))
    harms = {path: harm(path, layer) for path, layer in layers.items()}
    return {path: f"in 8 bits it alone moves logits by {harms[path] ** 0.5:.2g} on average, more than most layers, so "
                  "it stays in float (keep_float)"
            for path in sorted(harms, key=lambda path: -harms[path])[:number]}
