"""A table whose frequent rows are stored in more bits than its rare ones; the rarest read one shared row.

V rows, D columns. Rows stand in the order of their frequency, so that a tier is a range of rows; where the ids
stand in another order, a RowMap comes first.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from compression.layers.rows.padded_rows import PaddedRows
from compression.layers.rows.quantized_rows import QuantizedRows, lookup_rows
from compression.layers.rows.remapped_rows import RowMap
from compression.layers.rows.row_codes import encode_rows
from compression.layers.rows.tiers import fixed_tensors
from compression.spec import records


class TieredRows(PaddedRows):
    """Look up rows of several widths: ids (…) int64 → (…, D) float32. Codes are frozen, the shared row is trained."""

    is_leaf = True

    def __init__(self, tiers: list[QuantizedRows], shared: Tensor, n_rows: int, ids: RowMap | None = None) -> None:
        super().__init__()
        self.tiers = nn.ModuleList(tiers)
        self.shared = nn.Parameter(shared.detach().clone())
        self.ids = ids
        self.num_embeddings = n_rows
        self.embedding_dim = len(shared)

    def look_up(self, ids: Tensor) -> Tensor:
        rows = ids if self.ids is None else self.ids(ids)
        found = self.shared.expand(*ids.shape, self.embedding_dim)
        end = sum(tier.num_embeddings for tier in self.tiers)
        for tier in reversed(self.tiers):  # every tier is read, at its nearest row; the narrower ones are overwritten
            start = end - tier.num_embeddings
            local = (rows - start).clamp(0, tier.num_embeddings - 1)
            values = lookup_rows(tier.codes, tier.scale, local, tier.n_bits, self.embedding_dim)
            found = torch.where((rows < end).unsqueeze(-1), values, found)
            end = start
        return found

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        tiers = tuple(tensor.model_copy(update={"name": f"tiers.{place}.{tensor.name}"})
                      for place, tier in enumerate(self.tiers) for tensor in tier.stored_tensors())
        return tiers + fixed_tensors(self.num_embeddings, self.embedding_dim, mapped=self.ids is not None)

    def dequantized(self) -> Tensor:
        """The table as float32 (V, D)."""
        return self(torch.arange(self.num_embeddings, device=self.shared.device))

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


def row_errors(weight: Tensor, weights: Tensor, bits: tuple[int, ...], shared: Tensor) -> np.ndarray:
    """weights × squared error of each row at each width, then at the shared row: (V, D), (V,) → (V, T) float64."""
    columns = []
    for n_bits in bits:
        stored = QuantizedRows(encode_rows(weight, n_bits=n_bits, clipping="search"))
        columns.append((stored.dequantized() - weight).square().sum(1))
    columns.append((weight - shared).square().sum(1))
    return (torch.stack(columns, 1).double() * weights.double().unsqueeze(1)).numpy()


def tier_rows(weight: Tensor, cuts: np.ndarray, bits: tuple[int, ...]) -> list[QuantizedRows]:
    """The rows of each tier that has any, encoded at its bits; weight (V, D) stands in the order of the tiers."""
    edges = [0, *(int(cut) for cut in cuts)]
    return [QuantizedRows(encode_rows(weight[start:end], n_bits=n_bits, clipping="search"))
            for n_bits, (start, end) in zip(bits, pairwise(edges), strict=True) if end > start]
