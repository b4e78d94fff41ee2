"""Tables in which ids share rows by arithmetic on the id: nothing but smaller tables is stored.

V ids, D columns. The tables inside stay ordinary nn.Embedding, so that training and later steps find them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compression.layers.id_digits import id_digit

N_SWEEPS = 20
PRIME = 2_147_483_647  # 2³¹ − 1; with a factor below it and ids below it, the product stays within int64
FACTOR = 1_103_515_245


class HashedRows(nn.Module):
    """One shared row an id: ids (…) int64 → (…, D) float32, row id mod m."""

    def __init__(self, weights: list[Tensor], num_embeddings: int) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = weights[0].shape[1]
        for name, weight in zip(self.names(), weights, strict=True):
            self.add_module(name, nn.Embedding.from_pretrained(weight.contiguous(), freeze=False))

    @staticmethod
    def names() -> tuple[str, ...]:
        return ("table",)

    @staticmethod
    def rows(ids: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, ...]:
        """The row of each id in each of the tables, which have so many rows."""
        return (ids % lengths[0],)

    @property
    def tables(self) -> tuple[nn.Embedding, ...]:
        return tuple(self.get_submodule(name) for name in self.names())

    def forward(self, ids: Tensor) -> Tensor:
        rows = self.rows(ids, tuple(table.num_embeddings for table in self.tables))
        return self.combine(*[table(row) for table, row in zip(self.tables, rows, strict=True)])

    @staticmethod
    def combine(*vectors: Tensor) -> Tensor:
        return vectors[0]


class QuotientRemainderRows(HashedRows):
    """The product of a row for id // m and one for id mod m: no two ids read the same pair.

    Source: Shi et al. 2020, arXiv:1909.02107.
    """

    @staticmethod
    def names() -> tuple[str, ...]:
        return ("quotient", "remainder")

    @staticmethod
    def rows(ids: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, ...]:
        return id_digit(ids, lengths[1], 0), ids % lengths[1]

    @staticmethod
    def combine(*vectors: Tensor) -> Tensor:
        return vectors[0] * vectors[1]


class DoubleHashedRows(HashedRows):
    """The sum of two rows by two hash functions.

    The first is id mod m: where ids stand in the order of their frequency, it keeps the frequent ones apart.
    """

    @staticmethod
    def names() -> tuple[str, ...]:
        return ("first", "second")

    @staticmethod
    def rows(ids: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, ...]:
        return ids % lengths[0], (ids * FACTOR + 12_345) % PRIME % lengths[1]

    @staticmethod
    def combine(*vectors: Tensor) -> Tensor:
        return vectors[0] + vectors[1]


KINDS = {"modulo": HashedRows, "quotient-remainder": QuotientRemainderRows, "double-hash": DoubleHashedRows}


def hash_table(weight: Tensor, weights: Tensor, kind: str, lengths: tuple[int, ...]) -> HashedRows:
    """Small tables whose combination is near the table (V, D) in squared error weighted by row, `weights` (V,).

    One table: the weighted mean of the rows that share one. Two: each in turn set to its least squares while the
    other stands; every sweep lowers the error.
    """
    chosen = KINDS[kind]
    places = chosen.rows(torch.arange(len(weight)), lengths)
    target, weights = weight.detach().cpu().double(), weights.double().unsqueeze(1)
    ones = torch.ones_like(target)
    if kind == "modulo":
        found = [_solve(target, ones, weights, places[0], lengths[0])]
    elif kind == "quotient-remainder":
        found = [torch.ones(length, target.shape[1], dtype=torch.float64) for length in lengths]
        for _ in range(N_SWEEPS):
            for this, other in ((0, 1), (1, 0)):
                found[this] = _solve(target, found[other][places[other]], weights, places[this], lengths[this])
    else:
        found = [torch.zeros(length, target.shape[1], dtype=torch.float64) for length in lengths]
        for _ in range(N_SWEEPS):
            for this, other in ((0, 1), (1, 0)):
                rest = target - found[other][places[other]]
                found[this] = _solve(rest, ones, weights, places[this], lengths[this])
    return chosen([table.to(weight.dtype) for table in found], len(weight))


def _solve(target: Tensor, factor: Tensor, weights: Tensor, place: Tensor, length: int) -> Tensor:
    """(length, D): the t of least Σ weights · (target − factor · t[place])² in each column; 0 where nothing reads."""
    shape = (length, target.shape[1])
    above = torch.zeros(shape, dtype=torch.float64).index_add_(0, place, weights * factor * target)
    below = torch.zeros(shape, dtype=torch.float64).index_add_(0, place, weights * factor.square())
    return above / below.clamp_min(1e-30)
