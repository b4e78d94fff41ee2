"""Optimisers of embedding tables that move only the rows of a batch: Adagrad with one accumulator a row, and Adam.

A table of a million rows sees a few thousand of them in a step. Its gradient stays a list of (row, gradient), so
the cost of a step follows the batch and not the table.

Legend: V vocabulary rows, D embedding dim, N ids in a batch, U unique ids among them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

EPS = 1e-8
BETAS = 0.9, 0.999

RowGradients = dict[str, tuple[Tensor, Tensor]]  # table → (rows (U,), gradient (U, D))


def sum_by_row(ids: Tensor, values: Tensor, groups: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """ids (N,), values (N, D) → (rows (U,) sorted, sums (U, D)). `groups` are torch.unique's answer, if known."""
    rows, inverse = groups if groups is not None else torch.unique(ids, return_inverse=True)
    sums = torch.zeros((len(rows), values.shape[1]), dtype=values.dtype, device=values.device)
    return rows, sums.index_add_(0, inverse, values)


def row_gradients(tables: Mapping[str, nn.Parameter]) -> RowGradients:
    """The gradient of each table by row, every row once; of a dense gradient all rows. The weights' `grad` is freed."""
    found: RowGradients = {}
    known: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # tables that read the same ids share the sorting
    for name, weight in tables.items():
        if weight.grad is None:
            continue
        if not weight.grad.is_sparse:
            found[name] = torch.arange(len(weight), device=weight.device), weight.grad
            continue
        ids, values = weight.grad._indices()[0], weight.grad._values()
        key = (ids.data_ptr(), len(ids))
        if key not in known:
            known[key] = torch.unique(ids, return_inverse=True)
        found[name] = sum_by_row(ids, values, known[key])
    for weight in tables.values():  # only now: a freed gradient's address could be taken by another's ids
        weight.grad = None
    return found


class TableOptimiser(ABC):
    """What both have: rates, decay, and L2 over whole tables that is caught up with when a row is read.

    The gradient of a row read after k steps gets k · l2 · w, which is what the steps between would have added.
    Decay is decoupled and pulls only rows that are read. Rows outside the batch are not touched.
    `l2`: the penalty of each table; `scales`: a factor for its rate.
    """

    def __init__(self, tables: dict[str, nn.Parameter], *, learning_rate: float, decay: float = 0.0,
                 l2: Mapping[str, float] | None = None, scales: Mapping[str, float] | None = None) -> None:
        self.tables = tables
        self.learning_rate = learning_rate
        self.decay, self.l2 = decay, l2 or {}
        self.scales = scales or {}
        self.n_steps = 0
        self.last = self._per_row(tables, dtype=torch.int32) if self.needs_last else {}

    @property
    def needs_last(self) -> bool:
        """Whether the step in which each row was read last has to be known."""
        return any(self.l2.values())

    @staticmethod
    def _per_row(tables: Mapping[str, nn.Parameter], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        return {name: torch.zeros(len(weight), dtype=dtype, device=weight.device) for name, weight in tables.items()}

    @torch.no_grad()
    def step(self, factor: float = 1.0, gradients: RowGradients | None = None) -> None:
        """Move every row that has a gradient, `factor` being the schedule's, and forget the gradients."""
        gradients = row_gradients(self.tables) if gradients is None else gradients
        self.n_steps += 1
        for name, (rows, gradient) in gradients.items():
            weight = self.tables[name]
            current = weight.index_select(0, rows)  # (U, D)
            gap = None
            if self.needs_last:
                gap = (self.n_steps - self.last[name].index_select(0, rows)).to(current.dtype).unsqueeze(1)  # (U, 1)
                self.last[name].index_fill_(0, rows, self.n_steps)
            if l2 := self.l2.get(name):
                gradient = gradient + l2 * gap * current
            rate = self.learning_rate * factor * self.scales.get(name, 1.0)
            direction = self._direction(name, rows, gradient, gap)
            weight.index_copy_(0, rows, current.mul_(1.0 - rate * self.decay).sub_(direction, alpha=rate))

    @abstractmethod
    def _direction(self, name: str, rows: Tensor, gradient: Tensor, gap: Tensor | None) -> Tensor:
        """(U, D): what is taken from the rows (U,), times their rate. `gap` (U, 1): steps since each was read."""

    @abstractmethod
    def _own_state(self) -> dict[str, dict[str, Tensor]]:
        """What the kind remembers: its name → table → tensor."""

    def state_dict(self) -> dict[str, object]:
        return {"n_steps": self.n_steps, "last": dict(self.last)} | {
            key: dict(tensors) for key, tensors in self._own_state().items()}

    def load_state_dict(self, state: dict) -> None:
        self.n_steps = state["n_steps"]
        for key, tensors in [("last", self.last), *self._own_state().items()]:
            for name, tensor in tensors.items():
                tensor.copy_(state[key][name])


class RowwiseAdagrad(TableOptimiser):
    """Adagrad with one accumulator for each row of a table.

    s[row] += mean(g²); w[row] ← (1 − lr · decay) · w[row] − lr · g / (√s[row] + 1e-8). State: (V,) float32 a table.
    Source: Duchi et al. 2011, JMLR 12; row-wise as in Naumov et al. 2019, arXiv:1906.00091. Here: decay is decoupled,
    because Adagrad would scale it up like any gradient.
    """

    def __init__(self, tables: dict[str, nn.Parameter], **settings) -> None:
        super().__init__(tables, **settings)
        self.sums = self._per_row(tables)

    def _direction(self, name: str, rows: Tensor, gradient: Tensor, gap: Tensor | None) -> Tensor:
        sums = self.sums[name]
        total = sums.index_select(0, rows) + gradient.square().mean(1)
        sums.index_copy_(0, rows, total)
        return gradient / (total.sqrt() + EPS).unsqueeze(1)

    def _own_state(self) -> dict[str, dict[str, Tensor]]:
        return {"sums": self.sums}


class RowAdam(TableOptimiser):
    """Adam that moves the rows of a batch and lets their moments fade by the steps since they were read.

    The moments are those of Adam over the whole table; what is left out is the drift of rows between their readings.
    State: (V, D) float32 twice. Source: Kingma & Ba 2015, arXiv:1412.6980.
    """

    def __init__(self, tables: dict[str, nn.Parameter], **settings) -> None:
        super().__init__(tables, **settings)
        self.mean, self.square = ({name: torch.zeros_like(weight) for name, weight in tables.items()} for _ in BETAS)

    @property
    def needs_last(self) -> bool:
        return True

    def _direction(self, name: str, rows: Tensor, gradient: Tensor, gap: Tensor | None) -> Tensor:
        moments = []
        for beta, state, value in zip(BETAS, (self.mean[name], self.square[name]), (gradient, gradient.square()),
                                      strict=True):
            moment = state.index_select(0, rows) * beta**gap + (1 - beta) * value
            state.index_copy_(0, rows, moment)
            moments.append(moment / (1 - beta**self.n_steps))
        return moments[0] / (moments[1].sqrt() + EPS)

    def _own_state(self) -> dict[str, dict[str, Tensor]]:
        return {"mean": self.mean, "square": self.square}


def squared_norm(gradients: Iterable[Tensor]) -> Tensor | float:
    """Sum of squares over all of them."""
    return sum(gradient.square().sum() for gradient in gradients)
