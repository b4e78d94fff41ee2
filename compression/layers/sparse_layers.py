"""Layers that store only the weights that are not zero, and where they belong.

A dense layer is written as a bitmap or as gaps between its values, whichever is smaller, and is put together once when
ONNX Runtime loads the file: the file is small, memory and time are as before. A table is written as a bitmap a row, and
only the rows that are looked up are put together: memory is small too, and a lookup takes longer.
The values are trained; zeros stay zero. Legend: n weights, k values, V rows, D columns.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from compression.layers.dense.shared_linear import byte_codes
from compression.layers.rows.padded_rows import PaddedRows
from compression.layers.sparse_shapes import LARGEST_GAP, bitmap_tensors, bytes_of, gap_tensors, row_bitmap_tensors
from compression.spec import records


def pack_bits(present: np.ndarray) -> np.ndarray:
    """(…, n) bool → (…, ceil(n / 8)) uint8, lowest bit first."""
    return np.packbits(present, axis=-1, bitorder="little")


def gaps_of(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps from entry to entry (e,) uint8 and the entries (e,): value i lies at Σ gaps − 1 up to it.

    Where two values lie more than 255 apart, entries of value 0 stand in between.
    Source: Han et al. 2016, arXiv:1510.00149, section 2 (relative indices with padding zeros).
    """
    places = np.flatnonzero(flat)
    steps = np.diff(places, prepend=-1)
    fillers = (steps - 1) // LARGEST_GAP
    ends = np.cumsum(fillers + 1) - 1
    gaps = np.full(int((fillers + 1).sum()), LARGEST_GAP, np.uint8)
    values = np.zeros(len(gaps), np.float32)
    gaps[ends] = steps - fillers * LARGEST_GAP
    values[ends] = flat[places]
    return gaps, values


class _Bits(nn.Module):
    """Bytes → their bits, by a table of every byte's; it is not counted, as every layer shares it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.from_numpy(byte_codes(1)), persistent=False)

    def forward(self, packed: Tensor, n: int) -> Tensor:
        """(…, P) uint8 → (…, n) int64."""
        return nn.functional.embedding(packed.int(), self.table).flatten(-2)[..., :n].long()


def _values_at(present: Tensor, place: Tensor, values: Tensor) -> Tensor:
    """values[place] where a bit is set, else 0. Where and no product: ONNX Runtime folds it at load."""
    is_there = present.bool()
    found = nn.functional.embedding(torch.where(is_there, place, 0), values).squeeze(-1)
    return torch.where(is_there, found, 0.0)


class SparseLinear(nn.Module):
    """A dense layer (B, in) → (B, out) of which only what is not zero is stored."""

    is_leaf = True

    def __init__(self, linear: nn.Linear, weight: Tensor) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        flat = weight.detach().cpu().float().numpy().ravel()
        self.form, arrays = smaller_form(flat)
        if self.form == "bitmap":
            self.register_buffer("bits", torch.from_numpy(arrays[0]))
            self.values = nn.Parameter(torch.from_numpy(arrays[1]).unsqueeze(1))  # a column exports as a Gather
            self.unpack = _Bits()
        else:
            self.register_buffer("gaps", torch.from_numpy(arrays[0]))
            self.values = nn.Parameter(torch.from_numpy(arrays[1]))
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone())

    def dense_weight(self) -> Tensor:
        """The weight as float32 (out, in)."""
        n = self.out_features * self.in_features
        if self.form == "bitmap":
            present = self.unpack(self.bits, n)
            flat = _values_at(present, present.cumsum(0) - 1, self.values)
        else:
            places = self.gaps.long().cumsum(0) - 1
            flat = torch.zeros(n, device=self.values.device).scatter(0, places, self.values)
        return flat.view(self.out_features, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.dense_weight(), self.bias)

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        n, k = self.out_features * self.in_features, len(self.values)
        stored = bitmap_tensors(n, k) if self.form == "bitmap" else gap_tensors(k)
        if self.bias is None:
            return stored
        return (*stored, records.Tensor(name="bias", dtype="float32", shape=(self.out_features,)))

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self.form}, values={len(self.values)}"


def smaller_form(flat: np.ndarray) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    """ "bitmap" with bits and values, or "gaps" with gaps and values. flat (n,) float32."""
    present = flat != 0
    k = int(present.sum())
    gaps, values = gaps_of(flat) if k else (np.ones(1, np.uint8), np.zeros(1, np.float32))
    if bytes_of(gap_tensors(len(gaps))) < bytes_of(bitmap_tensors(len(flat), k)):
        return "gaps", (gaps, values)
    return "bitmap", (pack_bits(present), flat[present] if k else values)


class SparseRows(PaddedRows):
    """A table of which only what is not zero is stored: ids (…) int64 → (…, D) float32."""

    is_leaf = True

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = weight.shape
        rows = weight.detach().cpu().float().numpy()
        present = rows != 0
        counts = present.sum(1)
        values = rows[present] if counts.any() else np.zeros(1, np.float32)
        starts = (np.cumsum(counts) - counts).astype(np.int32)
        self.register_buffer("bits", torch.from_numpy(pack_bits(present)))
        self.register_buffer("starts", torch.from_numpy(starts).unsqueeze(1))
        self.values = nn.Parameter(torch.from_numpy(values).unsqueeze(1))
        self.unpack = _Bits()

    def look_up(self, ids: Tensor) -> Tensor:
        present = self.unpack(nn.functional.embedding(ids, self.bits), self.embedding_dim)  # (…, D)
        first = nn.functional.embedding(ids, self.starts).long()  # (…, 1)
        place = torch.cat([first, present], -1).cumsum(-1)[..., 1:] - 1  # counted on from where the row begins
        return _values_at(present, place, self.values)

    def dequantized(self) -> Tensor:
        """The table as float32 (V, D)."""
        return self(torch.arange(self.num_embeddings, device=self.values.device)).detach()

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return row_bitmap_tensors(self.num_embeddings, self.embedding_dim, len(self.values))

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, values={len(self.values)}"
