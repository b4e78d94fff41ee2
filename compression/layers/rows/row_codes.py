"""Rows of a table as 8, 4, 2 or 1-bit codes with one scale a row or one for the table.

A value is `level × scale`. At 8 bits the code is the level itself, −127 … 127. At 4 and 2 bits the code
names one of 16 or 4 levels spaced for a normal distribution (Lloyd 1982), packed low bits first, so that
byte p of a row holds the codes of columns 2p and 2p + 1 (4p … 4p + 3 at 2 bits). At 1 bit it is the sign, and the
scale stands for the mean magnitude, which is best in squared error (Rastegari et al. 2016, arXiv:1603.05279).

Why symmetric: a second fp16 number a row buys little. Relative squared error of normal rows at 4 bits, with
a searched scale, D = 16: these levels 0.0048 in 10 bytes, minimum and step 0.0040 in 12; D = 64: 0.0070 and
0.0074. docs/decisions/030-row-codes.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
PACKED_ROWS = 1 << 12  # at most so many: narrow rows go through more steps, whose results stay in the cache as well
NARROW = 32  # below so many columns a reduction finds their maxima several times slower than steps over all rows
LARGEST_SCALE, SMALLEST_NORMAL = 65504.0, 2.0**-14  # fp16


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
    # numpy asks for huge pages: a large table's codes then cost the kernel few page faults instead of one in 4 KiB
    codes = torch.from_numpy(np.empty((n_rows, packed_width(dim, n_bits)), np.int8 if n_bits == 8 else np.uint8))
    per_row = has_scale_per_row(dim, granularity)
    scales = torch.empty(n_rows, dtype=torch.float16) if per_row else field_scale(
        weight, n_bits=n_bits, clipping=clipping, frequencies=frequencies)
    if per_row and clipping == "search" and n_bits > 1:
        for part in _chunks(n_rows, dim):
            levels, scales[part] = encode_chunk(weight[part], n_bits=n_bits, clipping=clipping)
            codes[part] = pack(levels, n_bits)
        return RowCodes(codes, scales, n_bits, dim)
    encoder = Encoder(0, dim, n_bits)
    for part in _chunks(n_rows, dim, most_rows=PACKED_ROWS):
        rows = weight[part]
        if encoder.n_rows != len(rows):
            encoder = Encoder(len(rows), dim, n_bits)
        if per_row:
            scales[part] = encoder.scales(rows)
        encoder.encode(rows, None if per_row else scales, into=codes[part])
    return RowCodes(codes, scales, n_bits, dim)


def _chunks(n_rows: int, dim: int, most_rows: int = CHUNK_VALUES) -> Iterator[slice]:
    step = min(max(1, CHUNK_VALUES // dim), most_rows)
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def encode_chunk(rows: Tensor, *, n_bits: int, clipping: Clipping = "none") -> tuple[Tensor, Tensor]:
    """Levels (N, D) int8 and scales (N,) float16 of some rows (N, D) float32."""
    scale = Encoder(*rows.shape, n_bits).scales(rows).half()
    levels = nearest_levels(rows, scale.unsqueeze(1), n_bits)
    if clipping == "none" or n_bits == 1:
        return levels, scale
    largest, error = rows.abs().amax(1), _squared_error(rows, levels, scale)
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
    scale = scale.clamp(max=LARGEST_SCALE)
    half = scale.half()
    half.view(torch.int16).add_(half < scale)  # positive floats are ordered as their bits are
    return half


def _round_up_to_half(scale: Tensor) -> bool:
    """The same in place, in float32; whether all of them are normal numbers of fp16, which takes fewer steps."""
    least, most = torch.aminmax(scale)
    if float(least) >= SMALLEST_NORMAL and float(most) <= LARGEST_SCALE:
        scale.view(torch.int32).add_(_CUT_BITS).bitwise_and_(~_CUT_BITS)
        return True
    scale.copy_(_as_half(scale))
    return False


def _least_squares_scale(rows: Tensor, levels: Tensor) -> Tensor:
    """The scale that fits given levels best: ⟨x, l⟩ / ⟨l, l⟩ of each row."""
    levels = levels.float()
    return _as_half(((rows * levels).sum(1) / levels.square().sum(1).clamp_min(1)).clamp_min(0))


def _squared_error(rows: Tensor, levels: Tensor, scale: Tensor) -> Tensor:
    return (rows - levels.float() * scale.float().unsqueeze(1)).square().sum(1)


def nearest_levels(values: Tensor, scale: Tensor, n_bits: int) -> Tensor:
    """The nearest level of each value, int8; at a scale of 0 all levels are 0, and any is given. At 1 bit 0 is below.

    At 4 and 2 bits values are rounded to 1/127 of the range on the way.
    """
    if n_bits == 1:
        return torch.where(values > 0, TOP, -TOP).to(torch.int8)
    grid = (values * _inverse(scale)).round_().clamp_(-TOP, TOP).to(torch.int8)
    return grid if n_bits == 8 else _translate(grid, _NEAREST[n_bits])


def _inverse(scale: Tensor) -> Tensor:
    """1 / scale, float32; where it is 0, all values are 0 and any number does."""
    return scale.float().clamp(min=torch.finfo(torch.float32).tiny).reciprocal_()


def _signs(values: Tensor) -> Tensor:
    """(N, P) uint8: a bit for each value (N, D), set where it is above 0; the columns that are missing are 0."""
    above = values.numpy() > 0
    missing = -above.shape[1] % 8
    if missing:
        above = np.pad(above, ((0, 0), (0, missing)))
    return torch.from_numpy(np.packbits(above.ravel(), bitorder="little").reshape(len(above), -1))


def _translate(values: Tensor, table: bytes) -> Tensor:
    """Look every byte up in a table of 256: bytes.translate is several times faster than an index by int64."""
    translated = bytearray(values.contiguous().numpy().tobytes()).translate(table)
    return torch.frombuffer(translated, dtype=torch.int8).reshape(values.shape) if translated else values.clone()


def _nearest_table(levels: tuple[int, ...]) -> bytes:
    """256 bytes: for each int8 (by its unsigned bit pattern) the nearest level."""
    return np.array(levels, np.int8)[_nearest_codes(levels)].tobytes()


def _nearest_codes(levels: tuple[int, ...]) -> np.ndarray:
    """(256,): for each int8 (by its unsigned bit pattern) the code of the nearest level."""
    grid = np.arange(256).astype(np.uint8).view(np.int8).astype(int)
    return np.abs(grid[:, None] - np.array(levels)).argmin(1)


def _pair_table() -> np.ndarray:
    """(65536,) uint8: for two neighbouring int8 as one little-endian number, both 4-bit codes beside each other."""
    codes = _nearest_codes(LEVELS[4]).astype(np.uint8)
    return (codes[None, :] | codes[:, None] << 4).flatten()


_NEAREST = {bits: _nearest_table(LEVELS[bits]) for bits in (4, 2)}
_PAIRS = pa.array(_pair_table())
_CUT_BITS = (1 << 13) - 1  # of a float32 that fp16 has no room for
_HALFWAY = sum(LEVELS[2][2:]) / 2  # between the two levels above 0
_TWO = torch.tensor(2.0).nextafter(torch.tensor(0.0))  # what is cut to a whole number then is the code, 0 … 3
_QUARTERS = np.uint32(1 << 24 | 1 << 18 | 1 << 12 | 1 << 6)  # moves the low bits of four bytes beside one another


def field_scale(weight: Tensor, *, n_bits: int, clipping: Clipping = "none",
                frequencies: Tensor | np.ndarray | None = None) -> Tensor:
    """One scale () float32 for a table (V, D); searched over a weighted histogram of magnitudes, one pass."""
    largest = max((float(weight[part].abs().max()) for part in _chunks(*weight.shape)), default=0.0)
    scale = torch.tensor(largest / TOP, dtype=torch.float32)
    if (clipping == "none" and n_bits > 1) or largest == 0:
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
    """Levels (N, D) int8 → codes (N, P): themselves at 8 bits, else uint8 with 8 / bits codes a byte.

    A number between two levels takes the code of the nearest.
    """
    if n_bits == 8:
        return levels
    if n_bits == 1:
        return _signs(levels)
    codes = torch.empty(len(levels), packed_width(levels.shape[1], n_bits), dtype=torch.uint8)
    Packer(*levels.shape, n_bits).pack(levels.to("cpu", torch.float32, copy=True), into=codes)
    return codes


class Encoder:
    """Encodes chunk after chunk of so many rows in buffers that stay in a core's cache: fresh memory would cost more in
    page faults than the work.
    """

    def __init__(self, n_rows: int, dim: int, n_bits: int) -> None:
        self.n_rows, self.dim, self.n_bits = n_rows, dim, n_bits
        self.values = torch.empty(n_rows, dim)  # magnitudes, then values over their scale
        self.scale, self.plain = torch.empty(n_rows), False
        self.packer = Packer(n_rows, dim, n_bits) if n_bits in (4, 2) else None
        halvings = (dim & -dim).bit_length() - 1 if dim < NARROW else 0
        self.halves = [np.empty(n_rows * dim >> place, np.float32) for place in range(1, halvings + 1)]

    def scales(self, rows: Tensor) -> Tensor:
        """(N,) float32, numbers of fp16: the largest value of a row has the largest level; at 1 bit the mean has it."""
        magnitudes = torch.abs(rows, out=self.values)
        if self.n_bits == 1:
            return self.scale.copy_((magnitudes.mean(1) / TOP).clamp(max=LARGEST_SCALE).half())
        if self.n_rows and self.dim < NARROW:
            torch.div(self._narrow_maxima(magnitudes), TOP, out=self.scale)
        else:
            torch.amax(magnitudes, 1, out=self.scale).div_(TOP)
        self.plain = self.n_rows > 0 and _round_up_to_half(self.scale)
        return self.scale

    def _narrow_maxima(self, magnitudes: Tensor) -> Tensor:
        """The largest of each row, of few columns: halved as often as they can be, all rows at once, then pooled."""
        flat = magnitudes.numpy().ravel()
        for half in self.halves:
            flat = np.maximum(flat[0::2], flat[1::2], out=half)
        left, found = self.dim >> len(self.halves), torch.from_numpy(flat)
        return found if left == 1 else torch.nn.functional.max_pool1d(found.view(1, -1), left).view(-1)

    def encode(self, rows: Tensor, scale: Tensor | None, *, into: Tensor) -> None:
        """Codes (N, P) of rows (N, D) by one scale () or by those that `scales` found last, which are overwritten."""
        if self.n_bits == 1:
            into.copy_(_signs(rows))
            return
        if scale is not None:
            values = torch.mul(rows, _inverse(scale), out=self.values).clamp_(-TOP, TOP)
        elif self.plain:  # no row's largest value was cut
            values = torch.mul(rows, self.scale.reciprocal_().unsqueeze(1), out=self.values)
        else:
            values = torch.mul(rows, _inverse(self.scale).unsqueeze(1), out=self.values).clamp_(-TOP, TOP)
        if self.packer is not None:
            self.packer.pack(values, into=into)
        else:
            into.copy_(values.round_())


class Packer:
    """Packs chunk after chunk of so many rows into codes of 4 or 2 bits; its buffers are kept."""

    def __init__(self, n_rows: int, dim: int, n_bits: int) -> None:
        self.n_bits = n_bits
        width = packed_width(dim, n_bits) * (8 // n_bits)
        self.grid = np.full((n_rows, width), -TOP if n_bits == 4 else 0, np.int8)  # missing columns are code 0
        self.given = torch.from_numpy(self.grid)[:, :dim]
        pairs = self.grid.view("<u2").ravel()
        self.pairs = pa.Array.from_buffers(pa.uint16(), pairs.size, [None, pa.py_buffer(pairs)])
        self.four = np.empty((n_rows, width // 4 if n_bits == 2 else 0), np.uint32)

    def pack(self, values: Tensor, *, into: Tensor) -> None:
        """Numbers (N, D) float of −127 … 127, which are overwritten, → codes (N, P)."""
        if self.n_bits == 4:
            self.given.copy_(values.round_())
            self._look_up(into.numpy())
        else:
            # thresholds are −halfway, 0 and halfway; 0 itself falls below
            self.given.copy_(torch.add(_TWO, values, alpha=1 / _HALFWAY, out=values))
            self._side_by_side(into.numpy())

    def _look_up(self, codes: np.ndarray) -> None:
        """Two values at once in a table of 64 KiB, packed on the way. Arrow takes indices of 16 bits as they are: twice
        as fast as numpy. None lies outside the table.
        """
        found = pc.take(_PAIRS, self.pairs, boundscheck=False)
        codes[:] = np.frombuffer(found.buffers()[1], np.uint8, codes.size).reshape(codes.shape)

    def _side_by_side(self, codes: np.ndarray) -> None:
        """c₀ + 2⁸ c₁ + 2¹⁶ c₂ + 2²⁴ c₃, times _QUARTERS, has all four codes in its highest byte."""
        np.multiply(self.grid.view("<u4"), _QUARTERS, out=self.four)
        np.copyto(codes, np.right_shift(self.four, 24, out=self.four), casting="unsafe")


def unpack(codes: Tensor, n_bits: int, embedding_dim: int) -> Tensor:
    """Codes (…, P) → levels (…, D) int8."""
    if n_bits == 8:
        return codes
    table = torch.from_numpy(byte_levels(n_bits)).to(codes.device)
    return table[codes.int()].flatten(-2)[..., :embedding_dim]
