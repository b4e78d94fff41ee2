"""What quantised layers store, by shapes alone: shared by the layers and by the size estimates, free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from compression.spec.records import Tensor


def packed_width(embedding_dim: int, n_bits: int) -> int:
    """Bytes of a row's codes; columns that don't fill the last byte are padded."""
    return math.ceil(embedding_dim * n_bits / 8)


def bits_that_fit(embedding_dim: int, n_bits: int) -> int:
    """The widest codes that need no more bytes: a single column takes a byte anyway, so it gets 8 bits."""
    width = packed_width(embedding_dim, n_bits)
    return max(bits for bits in (8, 4, 2, 1) if packed_width(embedding_dim, bits) <= width)


def has_scale_per_row(embedding_dim: int, granularity: str) -> bool:
    """One column shares a scale over the table: a scale a row would outweigh its code."""
    return granularity == "row" and embedding_dim > 1


def row_tensors(n_rows: int, embedding_dim: int, *, n_bits: int, scale_per_row: bool) -> tuple[Tensor, ...]:
    """A table of quantised rows: its codes and its scales."""
    codes = Tensor(name="codes", dtype="int8" if n_bits == 8 else "uint8",
                   shape=(n_rows, packed_width(embedding_dim, n_bits)))
    if scale_per_row:
        return (codes, Tensor(name="scale", dtype="float16", shape=(n_rows,)))
    return (codes, Tensor(name="scale", dtype="float32", shape=()))


def dense_tensors(in_features: int, out_features: int, *, bias: str | None) -> tuple[Tensor, ...]:
    """A quantised dense layer: weights, a scale an output, and its bias in the dtype `bias`, where it has one."""
    stored = (Tensor(name="weight", dtype="int8", shape=(in_features, out_features)),
              Tensor(name="scale", dtype="float32", shape=(out_features,)))
    return stored if bias is None else (*stored, Tensor(name="bias", dtype=bias, shape=(out_features,)))


def half_tensors(shape: tuple[int, ...], form: str, *, has_bias: bool) -> tuple[Tensor, ...]:
    """A weight in fp16, bf16 or fp8 (as bytes, with one scale), and a bias in float."""
    stored = [Tensor(name="weight", dtype={"fp16": "float16", "bf16": "bfloat16"}.get(form, "uint8"), shape=shape)]
    if form == "fp8":
        stored.append(Tensor(name="scale", dtype="float32", shape=()))
    return (*stored, Tensor(name="bias", dtype="float32", shape=(shape[0],))) if has_bias else tuple(stored)


def block_tensors(in_features: int, out_features: int, *, n_bits: int, block_size: int,
                  has_bias: bool) -> tuple[Tensor, ...]:
    """A dense layer in blocks of codes: the last block is filled up, each has a float scale."""
    n_blocks = math.ceil(in_features / block_size)
    stored = (Tensor(name="codes", dtype="uint8", shape=(out_features, n_blocks, block_size * n_bits // 8)),
              Tensor(name="scale", dtype="float32", shape=(out_features, n_blocks)))
    return (*stored, Tensor(name="bias", dtype="float32", shape=(out_features,))) if has_bias else stored


def binary_tensors(in_features: int, out_features: int, *, has_bias: bool) -> tuple[Tensor, ...]:
    """A dense layer of signs, eight to a byte, with a scale an output, and its bias in float."""
    stored = (Tensor(name="codes", dtype="uint8", shape=(out_features, packed_width(in_features, 1))),
              Tensor(name="scale", dtype="float32", shape=(out_features,)))
    return (*stored, Tensor(name="bias", dtype="float32", shape=(out_features,))) if has_bias else stored


def slices_that_fit(embedding_dim: int, n_slices: int) -> int:
    """The most slices of equal width, at most `n_slices`: a divisor of the columns."""
    return max(count for count in range(1, min(n_slices, embedding_dim) + 1) if embedding_dim % count == 0)


def product_tensors(n_rows: int, embedding_dim: int, *, n_slices: int, centroids: int) -> tuple[Tensor, ...]:
    """A table in codes of a byte for each slice of its columns, and the codebooks one below the other."""
    return (Tensor(name="codes", dtype="uint8", shape=(n_rows, n_slices)),
            Tensor(name="codebooks", dtype="float32", shape=(n_slices * centroids, embedding_dim // n_slices)))


def shared_tensors(in_features: int, out_features: int, *, n_bits: int, has_bias: bool) -> tuple[Tensor, ...]:
    """A dense layer in packed codes, its codebook, and its bias in float."""
    stored = (Tensor(name="codes", dtype="uint8", shape=(out_features, packed_width(in_features, n_bits))),
              Tensor(name="codebook", dtype="float32", shape=(2**n_bits, 1)))
    return (*stored, Tensor(name="bias", dtype="float32", shape=(out_features,))) if has_bias else stored


def nested_tensors(n_rows: int, dim: int, stages: tuple[tuple[int, int], ...], *,
                   mapped: bool) -> tuple[Tensor, ...]:
    """What a table stores with `stages` of (rows with that code, centroids)."""
    stored = [Tensor(name="shared", dtype="float32", shape=(dim,))]
    if mapped:
        stored.append(Tensor(name="ids.rows", dtype="int32", shape=(n_rows, 1)))
    for place, (length, centroids) in enumerate(stages):
        stored.append(Tensor(name=f"codes_{place}", dtype="uint8", shape=(length + 1, 1)))
        stored.append(Tensor(name=f"codebook_{place}", dtype="float32", shape=(centroids, dim)))
    return tuple(stored)


def centroids_for(n_rows: int, dim: int) -> int:
    """Entries of a codebook that weighs no more than half a byte a row: a power of two from 16 to 256."""
    fitting = n_rows // (8 * dim)
    return 2 ** min(8, max(4, fitting.bit_length() - 1))


@dataclass(frozen=True)
class TrainShape:
    """A table as a tensor train: a digit of the id and a slice of the columns for each core, and the ranks between."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    ranks: tuple[int, ...]  # one fewer than cores

    def names(self) -> tuple[str, ...]:
        return tuple(f"core_{place}" for place in range(len(self.rows)))

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The rank before and after each core."""
        return tuple(zip((1, *self.ranks), (*self.ranks, 1), strict=True))

    def tables(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each core as a table."""
        return tuple((rows, before * columns * after) for rows, columns, (before, after)
                     in zip(self.rows, self.columns, self.pairs(), strict=True))


def train_shape(n_rows: int, dim: int, *, n_cores: int, rank: int) -> TrainShape:
    """Digits and slices as equal as they come, the least of each in the middle, where both ranks meet.

    No rank is above what the whole table could need there.
    """
    rows, columns = _inner_least(_digits(n_rows, n_cores)), _inner_least(_slices(dim, n_cores))
    sizes = [length * width for length, width in zip(rows, columns, strict=True)]
    ranks = tuple(min(rank, math.prod(sizes[:place]), math.prod(sizes[place:])) for place in range(1, n_cores))
    return TrainShape(rows, columns, ranks)


def _digits(n_rows: int, count: int) -> list[int]:
    """`count` numbers whose product is at least `n_rows`, as equal as they come."""
    found: list[int] = []
    for left in range(count, 0, -1):
        needed = -(-n_rows // math.prod(found))
        found.append(next(root for root in range(int(needed ** (1 / left)), needed + 1) if root ** left >= needed))
    return found


def _slices(dim: int, count: int) -> list[int]:
    """`count` divisors whose product is `dim`, each the nearest to an equal share of what is left."""
    found: list[int] = []
    for left in range(count, 1, -1):
        rest = dim // math.prod(found)
        divisors = [number for number in range(1, rest + 1) if rest % number == 0]
        found.append(min(divisors, key=lambda number: abs(math.log(number) - math.log(rest) / left)))
    return [*found, dim // math.prod(found)]


def _inner_least(numbers: list[int]) -> tuple[int, ...]:
    """The two largest at the ends, the others between."""
    first, *rest = sorted(numbers, reverse=True)
    return (first, *rest[1:], rest[0])
