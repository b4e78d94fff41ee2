"""A table that trains as the codes it will be stored in: rows are rounded at every lookup, and so is their scale.

Legend: V rows, D columns, N ids of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compression.layers.rows.padded_rows import PaddedRows
from compression.layers.rows.quantized_rows import QuantizedRows
from compression.layers.rows.row_codes import LARGEST_SCALE, TOP, RowCodes, nearest_levels, pack
from compression.layers.stored_shapes import row_tensors
from compression.spec import records

SMALLEST_SCALE = 2.0**-24  # of fp16
FLOOR = 1e-3  # of the mean scale: a row of zeros can learn to be something else


class _RoundRows(torch.autograd.Function):
    """rows (N, D), scale (N, 1) or () → level × scale, with the gradients of a learned step size.

    Esser et al. 2020, arXiv:1902.08153, equations 2 and 3, for levels of any spacing: to a value inside the range the
    rounding is transparent, and a scale feels level − value / scale; outside, the value feels nothing and the scale the
    outermost level. At 1 bit every value lies inside, and the scale feels the sign.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, scale: Tensor, n_bits: int) -> Tensor:
        ratio = rows / scale
        levels = _levels(ratio, n_bits)
        ctx.save_for_backward(ratio, levels, scale)
        ctx.n_bits = n_bits
        return levels * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        ratio, levels, scale = ctx.saved_tensors
        if ctx.n_bits == 1:
            of_rows, of_scale = gradient, gradient * levels
        else:
            inside = ratio.abs() <= TOP
            of_rows, of_scale = gradient * inside, gradient * torch.where(inside, levels - ratio, levels)
        return of_rows, of_scale.sum_to_size(scale.shape), None


def _levels(ratio: Tensor, n_bits: int) -> Tensor:
    """The nearest level of each value over scale, as floats; the same as row_codes.nearest_levels, on any device."""
    if n_bits == 1:
        return torch.where(ratio > 0, float(TOP), float(-TOP))
    grid = ratio.round().clamp(-TOP, TOP)
    if n_bits == 8:
        return grid
    table = nearest_levels(torch.arange(-TOP, TOP + 1).float(), torch.tensor(1.0), n_bits).to(ratio)
    return table[(grid + TOP).long()]


class LearnedRows(PaddedRows):
    """Look up rows as they will be stored: ids (…) int64 → (…, D) float32.

    `table` holds the float rows, whose gradient stays a list of rows. The scale is its start × exp(`growth`), so that
    it stays positive and one learning rate suits scales of any size; growth is (V, 1), read by id, or one number.
    """

    is_leaf = True

    def __init__(self, weight: Tensor, start: Tensor, n_bits: int, *, padding_idx: int | None = None) -> None:
        super().__init__()
        self.n_bits, self.padding_idx = n_bits, padding_idx
        self.num_embeddings, self.embedding_dim = weight.shape
        self.table = nn.Embedding.from_pretrained(weight, freeze=False, padding_idx=padding_idx, sparse=True)
        floor = max(SMALLEST_SCALE, FLOOR * float(start.float().mean()))
        self.register_buffer("start", start.float().clamp_min(floor))  # (V,) or ()
        if start.ndim:
            self.growth = nn.Embedding.from_pretrained(weight.new_zeros(len(weight), 1), freeze=False, sparse=True)
        else:
            self.growth = nn.Parameter(weight.new_zeros(()))

    def look_up(self, ids: Tensor) -> Tensor:
        return _RoundRows.apply(self.table(ids), self.scale(ids), self.n_bits)

    def scale(self, ids: Tensor) -> Tensor:
        """(…, 1) of the rows, or () of the table, as it is stored: fp16 a row. The rounding is straight-through."""
        if self.start.ndim == 0:
            return self.start * self.growth.exp()
        exact = self.start[ids].unsqueeze(-1) * self.growth(ids).exp()
        stored = exact.detach().clamp(SMALLEST_SCALE, LARGEST_SCALE).half().float()
        return exact + (stored - exact).detach()

    @torch.no_grad()
    def as_codes(self) -> QuantizedRows:
        """The table as it is stored."""
        scale = self.scale(torch.arange(self.num_embeddings, device=self.start.device))
        levels = _levels(self.table.weight / scale, self.n_bits).to("cpu", torch.int8)
        stored = scale.squeeze(-1).half() if self.start.ndim else scale
        codes = pack(levels, self.n_bits).to(stored.device)
        return QuantizedRows(RowCodes(codes, stored.detach(), self.n_bits, self.embedding_dim))

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return row_tensors(self.num_embeddings, self.embedding_dim, n_bits=self.n_bits,
                           scale_per_row=self.start.ndim == 1)
