"""Two optimisers for two kinds of weights: fused Adam for dense layers, one of the two of tables for tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compression.train.params import TrainParams
from compression.train.table_optimisers import RowAdam, RowGradients, RowwiseAdagrad, row_gradients, squared_norm

LEAST_SCALE = 1e-3  # of a table that starts at zero, where rates follow the weights


class Optimisers:
    """Adam or row-wise Adagrad over the tables, and fused Adam over everything else that is trainable.

    Adam over whole tables is PyTorch's, with L2 as its `weight_decay`: the cost of a step follows the table.
    """

    def __init__(self, model: nn.Module, params: TrainParams) -> None:
        tables = {name: table.weight for name, table in sparse_tables(model).items()}
        weights = {id(weight) for weight in tables.values()}
        dense = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in weights]
        self.n_trained = len(dense) + len(tables)
        self.clip_norm = params.clip_norm
        relative = params.embedding_rate == "relative"
        l2 = {name: params.embedding_l2 * (params.first_order_l2 if weight.shape[1] == 1 else 1.0)
              for name, weight in tables.items()}
        scales = {name: _scale(weight) for name, weight in tables.items() if relative}
        self.dense, self.whole, self.tables = [], [], None
        if dense:
            self.dense.append(torch.optim.AdamW(dense, lr=params.learning_rate, weight_decay=params.weight_decay,
                                                fused=True))
        if params.table_optimizer == "adam" and params.table_rows == "all" and tables:
            self.whole = list(tables.values())
            self.dense.append(torch.optim.Adam(
                [{"params": [weight], "lr": params.embedding_learning_rate * scales.get(name, 1.0),
                  "weight_decay": l2[name]} for name, weight in tables.items()], fused=True))
        else:
            kind = RowAdam if params.table_optimizer == "adam" else RowwiseAdagrad
            self.tables = kind(tables, learning_rate=params.embedding_learning_rate, decay=params.embedding_decay,
                               l2=l2, scales=scales)
        self.decay = params.embedding_decay
        self.rates = [[group["lr"] for group in one.param_groups] for one in self.dense]

    @torch.no_grad()
    def step(self, factor: float = 1.0) -> None:
        """Move the weights by their gradients, `factor` being the schedule's, and forget the gradients."""
        rows = row_gradients(self.tables.tables) if self.tables else {}
        if self.clip_norm:
            self._clip(rows)
        if self.tables:
            self.tables.step(factor, rows)
        for optimiser, rates in zip(self.dense, self.rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        if self.decay and self.whole:
            for group in self.dense[-1].param_groups:
                group["params"][0].mul_(1.0 - group["lr"] * self.decay)
        for optimiser in self.dense:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def _clip(self, rows: RowGradients) -> None:
        """Scale all gradients so that their norm is at most `clip_norm`; nothing waits for a GPU."""
        found = [weight.grad for one in self.dense for group in one.param_groups for weight in group["params"]
                 if weight.grad is not None] + [gradient for _, gradient in rows.values()]
        if found:
            scale = (self.clip_norm / (squared_norm(found).sqrt() + 1e-6)).clamp(max=1.0)
            for gradient in found:
                gradient.mul_(scale)

    def state_dict(self) -> dict[str, Any]:
        return {"tables": self.tables.state_dict() if self.tables else None,
                "dense": [one.state_dict() for one in self.dense]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.tables:
            self.tables.load_state_dict(state["tables"])
        for optimiser, known in zip(self.dense, state["dense"], strict=True):
            optimiser.load_state_dict(known)


def _scale(weight: Tensor) -> float:
    """Root mean square of a table's weights, not under LEAST_SCALE."""
    return max(LEAST_SCALE, float(weight.detach().double().square().mean().sqrt()))


def sparse_tables(model: nn.Module) -> dict[str, nn.Embedding]:
    """Tables whose gradient may stay a list of rows: plain nn.Embedding, trainable, its weight used nowhere else."""
    uses = Counter(id(weight) for module in model.modules() for weight in module._parameters.values()
                   if weight is not None)
    return {path: module for path, module in model.named_modules()
            if type(module) is nn.Embedding and module.weight.requires_grad and uses[id(module.weight)] == 1
            and module.max_norm is None and not module.scale_grad_by_freq}


@contextmanager
def sparse_gradients(model: nn.Module, *, rows: str = "read") -> Iterator[None]:
    """Within, the tables of `sparse_tables` give sparse gradients; afterwards they are as they were.

    Where all rows move in each step, gradients are dense, as they would be anyway.
    """
    changed = [table for table in sparse_tables(model).values() if not table.sparse] if rows == "read" else []
    for table in changed:
        table.sparse = True
    try:
        yield
    finally:
        for table in changed:
            table.sparse = False
