"""What a model's loss says about one of its inputs. Sources: Breiman 2001; Fisher et al. 2019, arXiv:1801.01489."""

from __future__ import annotations

import torch
from torch import nn

from compression.data.batches import DeviceRows, score_rows
from compression.data.scores import log_loss


def loss_of(model: nn.Module, rows: DeviceRows) -> float:
    """Mean log loss over the rows, by their weights."""
    weight = None if rows.weight is None else rows.weight.cpu().numpy()
    return log_loss(score_rows(model, rows), rows.label.cpu().numpy(), weight)


def permutation_importance(model: nn.Module, rows: DeviceRows, name: str, *, generator: torch.Generator,
                           n_repeats: int) -> float:
    """How much the log loss rises when the values of one input are dealt out anew among the rows; mean of repeats.

    The input keeps its distribution and loses what it says about its row. Fisher et al. 2019, section 3.
    """
    total = 0.0
    for _ in range(n_repeats):
        order = torch.randperm(len(rows), generator=generator).to(rows.label.device)
        shuffled = rows.inputs | {name: rows.inputs[name].index_select(0, order)}
        total += loss_of(model, DeviceRows(shuffled, rows.label, rows.weight))
    return total / n_repeats - loss_of(model, rows)
