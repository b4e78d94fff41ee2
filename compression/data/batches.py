"""Rows on the device, sliced there; scores of a split.

Legend: N rows, B batch, L length of a multi-valued input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from compression.data.dataset import Rows
from compression.data.rows_that_fit import rows_that_fit

SCORE_BATCH = 8192  # rows at most


@dataclass(frozen=True)
class DeviceRows:
    """A split as tensors on one device: moved once, sliced there, no Python object for a row."""

    inputs: dict[str, Tensor]
    label: Tensor  # (N,) float32
    weight: Tensor | None = None  # (N,) float32 of mean 1

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: Tensor | slice) -> tuple[dict[str, Tensor], Tensor]:
        """(batch, label) of the rows at `index`."""
        if isinstance(index, slice):
            return {name: values[index] for name, values in self.inputs.items()}, self.label[index]
        batch = {name: values.index_select(0, index) for name, values in self.inputs.items()}
        return batch, self.label.index_select(0, index)

    def weight_of(self, index: Tensor) -> Tensor | None:
        """How much the rows at `index` count, beside others of the split."""
        return None if self.weight is None else self.weight.index_select(0, index)


def to_device(rows: Rows, device: str | torch.device = "cpu") -> DeviceRows:
    """The rows as tensors on the device; on the CPU they share the arrays' memory."""
    inputs = {name: torch.from_numpy(np.ascontiguousarray(values)).to(device) for name, values in rows.inputs.items()}
    label = torch.from_numpy(np.ascontiguousarray(rows.label, dtype=np.float32)).to(device)
    weight = None if rows.weight is None else torch.from_numpy(rows.weight / rows.weight.mean(dtype=np.float64)).to(
        device, torch.float32)
    return DeviceRows(inputs, label, weight)


def drawn_rows(rows: Rows, n_rows: int, generator: torch.Generator) -> DeviceRows:
    """At most `n_rows` of the rows, drawn by lot and in their order, on the CPU."""
    if len(rows) > n_rows:
        rows = rows.take(torch.randperm(len(rows), generator=generator)[:n_rows].sort().values.numpy())
    return to_device(rows)


def score_rows(model: nn.Module, rows: DeviceRows, *, batch_size: int | None = None,
               tick: Callable[[], None] = lambda: None) -> np.ndarray:
    """Logits of all rows (N,) float32, in eval mode; the model's mode is put back. `tick` is called for each batch.

    Without a batch size, as many rows at a time as fit.
    """
    was_training = model.training
    model.eval()
    scores = torch.empty(len(rows), dtype=torch.float32, device=rows.label.device)
    with torch.inference_mode():
        batch_size = batch_size or rows_that_fit(model, rows.inputs, SCORE_BATCH)
        for start in range(0, len(rows), batch_size):
            batch, _ = rows.take(slice(start, start + batch_size))
            scores[start:start + batch_size] = model(batch).float()
            tick()
    model.train(was_training)
    return scores.cpu().numpy()
