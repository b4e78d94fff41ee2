"""An embedding table whose rows are stored as codes and scaled after the lookup."""

from __future__ import annotations

import torch
from torch import Tensor

from compression.layers.rows.padded_rows import PaddedRows
from compression.layers.rows.row_codes import RowCodes, unpack
from compression.layers.stored_shapes import row_tensors
from compression.spec import records


@torch.library.custom_op("recpress::lookup_rows", mutates_args=())
def lookup_rows(codes: Tensor, scale: Tensor, ids: Tensor, n_bits: int, embedding_dim: int) -> Tensor:
    """ids (…) int64 → (…, D) float32: the rows' levels times their scales, or times the table's one scale."""
    levels = unpack(codes[ids], n_bits, embedding_dim)
    return levels.float() * (scale[ids].float().unsqueeze(-1) if scale.ndim else scale)


@lookup_rows.register_fake
def _(codes: Tensor, scale: Tensor, ids: Tensor, n_bits: int, embedding_dim: int) -> Tensor:
    return codes.new_empty(*ids.shape, embedding_dim, dtype=torch.float32)


class QuantizedRows(PaddedRows):
    """Look up quantised rows: ids (…) int64 → (…, D) float32. Frozen: fine-tuning goes on around it."""

    is_leaf = True

    def __init__(self, rows: RowCodes) -> None:
        super().__init__()
        self.register_buffer("codes", rows.codes)
        self.register_buffer("scale", rows.scale)
        self.n_bits = rows.n_bits
        self.embedding_dim = rows.embedding_dim

    @property
    def num_embeddings(self) -> int:
        return len(self.codes)

    def look_up(self, ids: Tensor) -> Tensor:
        return lookup_rows(self.codes, self.scale, ids, self.n_bits, self.embedding_dim)

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return row_tensors(self.num_embeddings, self.embedding_dim, n_bits=self.n_bits,
                           scale_per_row=self.scale.ndim == 1)

    def dequantized(self) -> Tensor:
        """The table as float32 (V, D)."""
        return self(torch.arange(self.num_embeddings, device=self.codes.device))

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, n_bits={self.n_bits}"
