"""Rows of a table as 8, 4, 2 or 1-bit codes with one scale a row or one for the table.

A value is `level × scale`. At 8 bits the code is the level itself, −127 … 127. At 4, 2 and 1 bits the code
names one of 16, 4 or 2 levels spaced for a normal distribution (Lloyd 1982), packed low bits first, so that
byte p of a row holds the codes of columns 2p and 2p + 1 (4p … 4p + 3 at 2 bits).

Why symmetric: a second fp16 number a row buys little. Relative squared error of normal rows at 4 bits, with
a searched scale, D = 16: these levels 0.0048 in 10 bytes, minimum and step 0.0040 in 12; D = 64: 0.0070 and
0.0074. docs/decisions/030-row-codes.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from compression.layers.stored_shapes import bits_that_fit, has_scale_per_row, packed_width

Granularity = Literal["row", "field"]
Clipping = Literal["none", "search"]

TOP = 127  # the largest level
LEVELS = {
    4: (-127, -96, -75, -59, -44, -31, -18, -6, 6, 18, 31, 44, 59, 75, 96, 127),
    2: (-127, -38, 38, 127),
    1: (-127, 127),
}
ROW_CANDIDATES = {8: (1.0, 0.95, 0.9), 4: (1.0, 0.9, 0.8, 0.7, 0.6), 2: (1.0, 0.85, 0.7, 0.6, 0.5, 0.4),
                  1: (1.0,)}
N_BINS = 4096  # of the histogram from which one scale a table is chosen
CHUNK_VALUES = 1 << 17  # 512 KiB of float32: stays in a core's cache
LARGEST_SCALE = 65504.0  # fp16


@dataclass(frozen=True)
class RowCodes:
    """Packed codes and scales of a table.

    codes (V, P) int8 at 8 bits, else uint8 with P = ceil(D · bits / 8); scale (V,) float16 or () float32.
    """

    codes: Tensor
    scale: Tensor
    n_bits: int
    embedding_dim: int


def byte_levels(n_bits: int) -> np.ndarray:
    """(256, 8 / bits) int8: the levels of all codes in a byte, lowest bits first."""
    per_byte = 8 // n_bits
    codes = (np.arange(256)[:, None] >> (n_bits * np.arange(per_byte))) & (2**n_bits - 1)
    return np.array(LEVELS[n_bits], np.int8)[codes]


def encode_rows(weight: Tensor, *, n_bits: int, granularity: Granularity = "row", clipping: Clipping = "none",
                frequencies: Tensor | np.ndarray | None = None) -> RowCodes:
    """Encode a table (V, D) float32, chunk by chunk, so that memory stays near the size of the codes.

    Clipping "search" chooses each scale by squared error; one for the table weighs rows by how often they
    occur (+ 1, as a row unseen in training can be asked for). Fewer columns than fill a byte get wider codes.
    """
    n_rows, dim = weight.shape
    n_bits = bits_that_fit(dim, n_bits)
    weight = weight.detach().to("cpu", torch.float32)
    codes = torch.empty(n_rows, packed_width(dim, n_bits), dtype=torch.int8 if n_bits == 8 else torch.uint8)
    if not has_scale_per_row(dim, granularity):
        scale = field_scale(weight, n_bits=n_bits, clipping=clipping, frequencies=frequencies)
        for part in _chunks(n_rows, dim):
            codes[part] = pack(nearest_levels(weight[part], scale, n_bits), n_bits)
        return RowCodes(codes, scale, n_bits, dim)
    scales = torch.empty(n_rows, dtype=torch.float16)
    for part in _chunks(n_rows, dim):
        levels, scales[part] = encode_chunk(weight[part], n_bits=n_bits, clipping=clipping)
        codes[part] = pack(levels, n_bits)
    return RowCodes(codes, scales, n_bits, dim)


def _chunks(n_rows: int, dim: int) -> Iterator[slice]:
    step = max(1, CHUNK_VALUES // dim)
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def encode_chunk(rows: Tensor, *, n_bits: int, clipping: Clipping = "none") -> tuple[Tensor, Tensor]:
    """Levels (N, D) int8 and scales (N,) float16 of some rows (N, D) float32."""
    largest = rows.abs().amax(1)
    scale = _as_half(largest / TOP)
    levels = nearest_levels(rows, scale.unsqueeze(1), n_bits)
    if clipping == "none":
        return levels, scale
    error = _squared_error(rows, levels, scale)
    for factor in ROW_CANDIDATES[n_bits]:
        tried = nearest_levels(rows, _as_half(largest * factor / TOP).unsqueeze(1), n_bits)
        fitted = _least_squares_scale(rows, tried)
        tried_error = _squared_error(rows, tried, fitted)
        better = tried_error < error
        scale, error = torch.where(better, fitted, scale), torch.where(better, tried_error, error)
        levels = torch.where(better.unsqueeze(1), tried, levels)
    return levels, scale


def _as_half(scale: Tensor) -> Tensor:
    """The next fp16 number that is not smaller: the largest value of a row then still has a level.

    Codes are chosen after it, so that they make up for the rounding, which is coarse below 6e-5.
    """
    half = scale.clamp(max=LARGEST_SCALE).half()
    larger = (half.view(torch.int16) + 1).view(torch.float16)  # positive floats are ordered as their bits are
    return torch.where(half.float() < scale, larger, half).clamp(max=LARGEST_SCALE)


def _least_squares_scale(rows: Tensor, levels: Tensor) -> Tensor:
    """The scale that fits given levels best: ⟨x, l⟩ / ⟨l, l⟩ of each row."""
    levels = levels.float()
    return _as_half(((rows * levels).sum(1) / levels.square().sum(1).clamp_min(1)).clamp_min(0))


def _squared_error(rows: Tensor, levels: Tensor, scale: Tensor) -> Tensor:
    return (rows - levels.float() * scale.float().unsqueeze(1)).square().sum(1)


def nearest_levels(values: Tensor, scale: Tensor, n_bits: int) -> Tensor:
    """The nearest level of each value, int8; a scale of 0 gives the level nearest to 0.

    At 4 and 2 bits values are rounded to 1/127 of the range on the way.
    """
    step = scale.float()
    inverse = torch.where(step > 0, 1 / step, torch.zeros_like(step))
    grid = (values * inverse).round_().clamp_(-TOP, TOP).to(torch.int8)
    return grid if n_bits == 8 else _translate(grid, _NEAREST[n_bits])


def _translate(values: Tensor, table: bytes) -> Tensor:
    """Look every byte up in a table of 256: bytes.translate is several times faster than an index by int64."""
    translated = bytearray(values.contiguous().numpy().tobytes()).translate(table)
    return torch.frombuffer(translated, dtype=torch.int8).reshape(values.shape) if translated else values.clone()


def _nearest_table(levels: tuple[int, ...]) -> bytes:
    """256 bytes: for each int8 (by its unsigned bit pattern) the nearest level."""
    grid = np.arange(256).astype(np.uint8).view(np.int8).astype(int)
    chosen = np.abs(grid[:, None] - np.array(levels)).argmin(1)
    return np.array(levels, np.int8)[chosen].tobytes()


def _code_table(levels: tuple[int, ...]) -> bytes:
    """256 bytes: for each level (by its unsigned bit pattern) its code."""
    table = np.zeros(256, np.uint8)
    table[np.array(levels, np.int8).view(np.uint8)] = np.arange(len(levels))
    return table.tobytes()


_NEAREST = {bits: _nearest_table(levels) for bits, levels in LEVELS.items()}
_CODES = {bits: _code_table(levels) for bits, levels in LEVELS.items()}


def field_scale(weight: Tensor, *, n_bits: int, clipping: Clipping = "none",
                frequencies: Tensor | np.ndarray | None = None) -> Tensor:
    """One scale () float32 for a table (V, D); searched over a weighted histogram of magnitudes, one pass."""
    largest = max((float(weight[part].abs().max()) for part in _chunks(*weight.shape)), default=0.0)
    scale = torch.tensor(largest / TOP, dtype=torch.float32)
    if clipping == "none" or largest == 0:
        return scale
    weights = torch.ones(len(weight)) if frequencies is None else torch.as_tensor(frequencies).double() + 1
    histogram = torch.zeros(N_BINS, dtype=torch.float64)
    for part in _chunks(*weight.shape):
        bins = (weight[part].abs() * (N_BINS / largest)).long().clamp_(max=N_BINS - 1)
        each = weights[part].double().unsqueeze(1).expand(bins.shape)
        histogram += torch.bincount(bins.flatten(), each.flatten(), minlength=N_BINS)
    centres = (torch.arange(N_BINS) + 0.5) * (largest / N_BINS)
    tried = scale * torch.logspace(0, -2, 101)  # from everything fits to one hundredth of it
    errors = [_weighted_error(centres, histogram, one, n_bits) for one in tried]
    return tried[int(np.argmin(errors))].clone()


def _weighted_error(values: Tensor, weights: Tensor, scale: Tensor, n_bits: int) -> float:
    kept = nearest_levels(values, scale, n_bits).float() * scale
    return float((weights * (values - kept).square()).sum())


def pack(levels: Tensor, n_bits: int) -> Tensor:
    """Levels (N, D) int8 → codes (N, P): themselves at 8 bits, else uint8 with 8 / bits codes a byte."""
    if n_bits == 8:
        return levels
    codes = _translate(levels, _CODES[n_bits])
    missing = -codes.shape[1] % (8 // n_bits)
    if missing:
        codes = torch.nn.functional.pad(codes, (0, missing))
    codes = codes.contiguous()
    if n_bits == 4:  # little endian: a pair of bytes is c0 + 256 c1
        pair = codes.view(torch.int16)
        return (pair | pair >> 4).to(torch.uint8)
    if n_bits == 1:
        bits = codes.unflatten(1, (-1, 8)) << torch.arange(8, dtype=torch.int8)
        return bits.view(torch.uint8).sum(2, dtype=torch.uint8)
    four = codes.view(torch.int32)
    return (four | four >> 6 | four >> 12 | four >> 18).to(torch.uint8)


def unpack(codes: Tensor, n_bits: int, embedding_dim: int) -> Tensor:
    """Codes (…, P) → levels (…, D) int8."""
    if n_bits == 8:
        return codes
    table = torch.from_numpy(byte_levels(n_bits)).to(codes.device)
    return table[codes.int()].flatten(-2)[..., :embedding_dim]
