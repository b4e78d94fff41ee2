"""What sparse layers store, by shapes and numbers of zeros alone, free of torch.

Legend: n weights of a layer, k of them not zero, V rows, D columns.
"""

from __future__ import annotations

from compression.spec.records import Tensor

LARGEST_GAP = 255  # weights from one entry to the next that a byte can say


def n_zeros(n_weights: int, sparsity: float) -> int:
    """How many of n weights a share of zeros makes: floor, but 0.29 · 100 is 28.999… and means 29."""
    return int(sparsity * n_weights + 1e-6)


def bitmap_tensors(n_weights: int, n_values: int) -> tuple[Tensor, ...]:
    """A bit for each weight, and those that are not zero; at least one value, so that there is one to look up."""
    return (Tensor(name="bits", dtype="uint8", shape=(-(-n_weights // 8),)),
            Tensor(name="values", dtype="float32", shape=(max(1, n_values), 1)))


def gap_tensors(n_entries: int) -> tuple[Tensor, ...]:
    """A byte for the way to each value; a longer one takes entries of value 0."""
    return (Tensor(name="gaps", dtype="uint8", shape=(max(1, n_entries),)),
            Tensor(name="values", dtype="float32", shape=(max(1, n_entries),)))


def most_gap_entries(n_weights: int, n_values: int) -> int:
    """Entries that k values take at most, wherever they lie."""
    return n_values + n_weights // LARGEST_GAP


def row_bitmap_tensors(n_rows: int, embedding_dim: int, n_values: int) -> tuple[Tensor, ...]:
    """For each row a bit a column and where its values begin; then all values."""
    return (Tensor(name="bits", dtype="uint8", shape=(n_rows, -(-embedding_dim // 8))),
            Tensor(name="starts", dtype="int32", shape=(n_rows, 1)),
            Tensor(name="values", dtype="float32", shape=(max(1, n_values), 1)))


def bytes_of(tensors: tuple[Tensor, ...]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)
