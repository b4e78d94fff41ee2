"""Two optimisers for two kinds of weights: fused Adam for dense layers, row-wise Adagrad for tables.

A table of a million rows sees a few thousand of them in a step. Its gradient stays a list of (row, gradient), so
the cost of a step follows the batch and not the table.

Legend: V vocabulary rows, D embedding dim, N ids in a batch, U unique ids among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compression.train.params import TrainParams

EPS = 1e-8


def sum_by_row(ids: Tensor, values: Tensor, groups: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """ids (N,), values (N, D) → (rows (U,) sorted, sums (U, D)). `groups` are torch.unique's answer, if known."""
    rows, inverse = groups if groups is not None else torch.unique(ids, return_inverse=True)
    sums = torch.zeros((len(rows), values.shape[1]), dtype=values.dtype, device=values.device)
    return rows, sums.index_add_(0, inverse, values)


class RowwiseAdagrad:
    """Adagrad with one accumulator for each row of a table.

    s[row] += mean(g²); w[row] ← (1 − lr · decay) · w[row] − lr · g / (√s[row] + 1e-8). Rows outside the batch are not
    touched, by the decay neither. State: (V,) float32 a table. Source: Duchi et al. 2011, JMLR 12; row-wise as in
    Naumov et al. 2019, arXiv:1906.00091. Here: decay is decoupled, because Adagrad would scale it up like any gradient.
    """

    def __init__(self, tables: dict[str, nn.Parameter], *, learning_rate: float, decay: float = 0.0) -> None:
        self.tables = tables
        self.learning_rate = learning_rate
        self.decay = decay
        self.sums = {name: torch.zeros(len(weight), device=weight.device) for name, weight in tables.items()}

    @torch.no_grad()
    def step(self) -> None:
        """Move every row that has a gradient, and forget the gradients."""
        known: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # tables that read the same ids share the sorting
        for name, weight in self.tables.items():
            if weight.grad is None:
                continue
            ids, values = weight.grad._indices()[0], weight.grad._values()
            key = (ids.data_ptr(), len(ids))
            if key not in known:
                known[key] = torch.unique(ids, return_inverse=True)
            rows, gradient = sum_by_row(ids, values, known[key])
            self._move(weight, self.sums[name], rows, gradient)
        for weight in self.tables.values():  # only now: a freed gradient's address could be taken by another's ids
            weight.grad = None

    def _move(self, weight: Tensor, sums: Tensor, rows: Tensor, gradient: Tensor) -> None:
        current = weight.index_select(0, rows)  # (U, D)
        total = sums.index_select(0, rows) + gradient.square().mean(1)
        sums.index_copy_(0, rows, total)
        step = gradient / (total.sqrt() + EPS).unsqueeze(1)
        kept = 1.0 - self.learning_rate * self.decay
        weight.index_copy_(0, rows, current.mul_(kept).sub_(step, alpha=self.learning_rate))

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.sums)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, sums in self.sums.items():
            sums.copy_(state[name])


class Optimisers:
    """Row-wise Adagrad over the tables and fused Adam over everything else that is trainable."""

    def __init__(self, model: nn.Module, params: TrainParams) -> None:
        tables = sparse_tables(model)
        weights = {id(table.weight) for table in tables.values()}
        dense = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in weights]
        self.n_trained = len(dense) + len(tables)
        self.rowwise = RowwiseAdagrad({name: table.weight for name, table in tables.items()},
                                      learning_rate=params.embedding_learning_rate, decay=params.embedding_decay)
        self.dense = torch.optim.AdamW(dense, lr=params.learning_rate, weight_decay=params.weight_decay,
                                       fused=True) if dense else None

    def step(self) -> None:
        self.rowwise.step()
        if self.dense:
            self.dense.step()
            self.dense.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return {"rowwise": self.rowwise.state_dict(), "dense": self.dense.state_dict() if self.dense else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rowwise.load_state_dict(state["rowwise"])
        if self.dense:
            self.dense.load_state_dict(state["dense"])


def sparse_tables(model: nn.Module) -> dict[str, nn.Embedding]:
    """Tables whose gradient may stay a list of rows: plain nn.Embedding, trainable, its weight used nowhere else."""
    uses = Counter(id(weight) for module in model.modules() for weight in module._parameters.values()
                   if weight is not None)
    return {path: module for path, module in model.named_modules()
            if type(module) is nn.Embedding and module.weight.requires_grad and uses[id(module.weight)] == 1
            and module.max_norm is None and not module.scale_grad_by_freq}


@contextmanager
def sparse_gradients(model: nn.Module) -> Iterator[None]:
    """Within, the tables of `sparse_tables` give sparse gradients; afterwards they are as they were."""
    changed = [table for table in sparse_tables(model).values() if not table.sparse]
    for table in changed:
        table.sparse = True
    try:
        yield
    finally:
        for table in changed:
            table.sparse = False
