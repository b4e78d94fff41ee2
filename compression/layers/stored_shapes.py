"""What quantised layers store, by shapes alone: shared by the layers and by the size estimates, free of torch."""

from __future__ import annotations

import math

from compression.records import Tensor


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
