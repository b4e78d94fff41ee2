"""How many rows a batch may have, by what one row makes of itself inside a model.

A row of a click model makes kilobytes on its way to a score, a pair of texts tens of megabytes. So a batch is never a
number of rows alone: where its rows are too wide for BATCH_BYTES there are fewer of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BATCH_BYTES = 512 << 20  # of values that a batch may hold at one time
HELD = 4  # a model that answers holds so many values as large as its largest: what an operator reads, gives and adds to
FEW_ROWS = 4  # what a row makes is seen on these


class RowBytes(NamedTuple):
    """Bytes that a row adds to a batch: to all values together, and to the largest of them."""

    total: float
    largest: float

    def fitting(self, most: int, *, gradient: bool = False) -> int:
        """Rows of a batch, 1 to `most`. With a `gradient` all values on the way are held until it is known."""
        held = self.total if gradient else HELD * self.largest
        return max(1, min(most, int(BATCH_BYTES // max(held, 1))))

    def within(self, n_bytes: int, *, most: int) -> int:
        """Rows, 1 to `most`, that make no more than so many bytes of themselves, one batch after another."""
        return max(1, min(most, int(n_bytes // max(self.total, 1))))


def rows_that_fit(model: nn.Module, inputs: dict[str, Tensor], most: int, *, gradient: bool = False) -> int:
    """Rows of a batch, 1 to `most`. The model is asked as it is: one in eval mode stays what it was."""
    return row_bytes(model, inputs).fitting(most, gradient=gradient)


@torch.no_grad()
def row_bytes(model: nn.Module, inputs: dict[str, Tensor]) -> RowBytes:
    """By two batches of the first rows, so that what a model makes for itself, whatever the rows, doesn't count."""
    few, more = (_values(model, {name: values[:n_rows] for name, values in inputs.items()})
                 for n_rows in (FEW_ROWS // 2, FEW_ROWS))
    added = [2 * (large - small) / FEW_ROWS for small, large in zip(few, more, strict=True)]
    return RowBytes(sum(added), max(added, default=0.0))


def _values(model: nn.Module, batch: dict[str, Tensor]) -> list[int]:
    with _Values() as values:
        model(batch)
    return values.sizes


class _Values(TorchDispatchMode):
    """Bytes of what every operator gives, views of what it was given left out."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        given = {tensor.untyped_storage().data_ptr() for tensor in _dense((args, kwargs))}
        self.sizes += [0 if tensor.untyped_storage().data_ptr() in given else tensor.nbytes
                       for tensor in _dense(result)]
        return result


def _dense(values: Any) -> list[Tensor]:
    """The tensors among them that have a storage to share."""
    return [one for one in tree_leaves(values) if isinstance(one, Tensor) and one.layout is torch.strided]
