"""Tables whose padding row gives zeros, however the other rows are stored and trained.

A table that came with zeros in row 0 has `padding_idx` 0 (`structure.declare_padding`): lists padded with it may be
summed without a mask, so that row has to stay zero. nn.Embedding keeps it out of the gradient; layers that share rows
or name them by codes leave it out of what they give.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class PaddedRows(nn.Module, ABC):
    """ids (…) int64 → (…, D) float32: `look_up(ids)`, with zeros where an id is `padding_idx`."""

    padding_idx: int | None = None

    @abstractmethod
    def look_up(self, ids: Tensor) -> Tensor:
        """(…, D): what the stored form gives."""

    def forward(self, ids: Tensor) -> Tensor:
        rows = self.look_up(ids)
        return rows if self.padding_idx is None else rows * (ids != self.padding_idx).to(rows.dtype).unsqueeze(-1)


@torch.no_grad()
def keep_padding(old: nn.Module, new: nn.Module) -> None:
    """The table `new`, which stands where `old` did, has the same padding row.

    A frozen table whose padding row is zeros already needs no mask.
    """
    padding = getattr(old, "padding_idx", None)
    if padding is None or not isinstance(new, PaddedRows | nn.Embedding):
        return
    trained = any(True for _ in new.parameters())
    device = next((tensor.device for tensor in (*new.parameters(), *new.buffers())), torch.device("cpu"))
    if isinstance(new, nn.Embedding) or trained or bool(new(torch.tensor([padding], device=device)).any()):
        new.padding_idx = padding
