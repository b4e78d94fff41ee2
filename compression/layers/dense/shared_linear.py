"""A dense layer whose weights are codes into one small codebook of numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from compression.layers.stored_shapes import shared_tensors
from compression.spec import records

MAX_ITERATIONS = 100


def codebook_of(values: np.ndarray, centroids: int) -> np.ndarray:
    """K numbers, ascending, of least squared error to `values` (N,) float32: Lloyd's iteration on the sorted values.

    A cell is a range of the sorted values, so its mean is a difference of prefix sums and an iteration costs K log N.
    The best of three starts: even steps, equal shares of the values, and equal shares of ∫ density^⅓, which is near
    the optimum for many cells (Panter & Dite 1951).
    """
    ordered = np.sort(values)
    sums = np.concatenate([[0.0], np.cumsum(ordered, dtype=np.float64)])
    tried = [_lloyd(ordered, sums, _start(ordered, centroids, power)) for power in (0, 1 / 3, 1)]
    return max(tried, key=lambda one: one[0])[1].astype(np.float32)


def _lloyd(ordered: np.ndarray, sums: np.ndarray, found: np.ndarray) -> tuple[float, np.ndarray]:
    """How much of the sum of squares the cells explain (the rest is their error), and their means (K,)."""
    edges = None
    for _ in range(MAX_ITERATIONS):
        middles = ((found[1:] + found[:-1]) / 2).astype(ordered.dtype)  # a float64 key would copy the values
        cells = np.concatenate([[0], np.searchsorted(ordered, middles), [len(ordered)]])
        if edges is not None and (cells == edges).all():
            break
        edges, count = cells, np.diff(cells)
        found = np.where(count > 0, np.diff(sums[cells]) / np.maximum(count, 1), found)  # an empty cell keeps its place
    return float(np.diff(edges) @ np.square(found)), found


def _start(ordered: np.ndarray, centroids: int, power: float) -> np.ndarray:
    """The middles of K cells of equal ∫ density^power, by a histogram of about 4 · ∛N bins."""
    low, high = float(ordered[0]), float(ordered[-1])
    if high == low:
        return np.full(centroids, low)
    n_bins = max(16, round(4 * np.cbrt(len(ordered))))
    edges = np.linspace(low, high, n_bins + 1)
    counts = np.diff(np.searchsorted(ordered, edges[1:-1].astype(ordered.dtype)), prepend=0, append=len(ordered))
    share = np.concatenate([[0.0], np.power(counts.astype(np.float64), power).cumsum()])
    return np.interp((np.arange(centroids) + 0.5) / centroids * share[-1], share, edges)


def nearest_codes(values: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """The place of the nearest number in an ascending codebook, uint8."""
    return np.searchsorted((codebook[1:] + codebook[:-1]) / 2, values).astype(np.uint8)


def pack_codes(codes: np.ndarray, n_bits: int) -> np.ndarray:
    """Codes (out, in) → bytes (out, ceil(in · bits / 8)), low bits first."""
    per_byte = 8 // n_bits
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % per_byte))).reshape(len(codes), -1, per_byte)
    return (padded << (n_bits * np.arange(per_byte, dtype=np.uint8))).sum(2).astype(np.uint8)


def byte_codes(n_bits: int) -> np.ndarray:
    """(256, 8 / bits) uint8: the codes in each byte, lowest bits first."""
    return ((np.arange(256)[:, None] >> (n_bits * np.arange(8 // n_bits))) & (2**n_bits - 1)).astype(np.uint8)


class SharedLinear(nn.Module):
    """A dense layer (B, in) → (B, out) of 2^bits different weights. The codebook and the bias are trained."""

    is_leaf = True

    def __init__(self, linear: nn.Linear, *, n_bits: int) -> None:
        super().__init__()
        self.in_features, self.out_features, self.n_bits = linear.in_features, linear.out_features, n_bits
        weight = linear.weight.detach().cpu().float().numpy()
        codebook = codebook_of(weight.ravel(), 2**n_bits)
        self.register_buffer("codes", torch.from_numpy(pack_codes(nearest_codes(weight, codebook), n_bits)))
        self.codebook = nn.Parameter(torch.from_numpy(codebook).unsqueeze(1))  # a column exports as a Gather
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone())
        unpacked = torch.from_numpy(byte_codes(n_bits)) if n_bits < 8 else None
        self.register_buffer("unpacked", unpacked, persistent=False)

    def dense_weight(self) -> Tensor:
        """The weight as float32 (out, in)."""
        codes = self.codes.int()
        if self.unpacked is not None:
            codes = nn.functional.embedding(codes, self.unpacked).flatten(1)[:, :self.in_features].int()
        return nn.functional.embedding(codes, self.codebook).squeeze(-1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.dense_weight(), self.bias)

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return shared_tensors(self.in_features, self.out_features, n_bits=self.n_bits, has_bias=self.bias is not None)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, n_bits={self.n_bits}"
