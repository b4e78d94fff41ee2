"""Tables in which ids share rows by arithmetic on the id: nothing but smaller tables is stored.

V ids, D columns. The tables inside stay ordinary nn.Embedding, so that training and later steps find them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compression.layers.rows.id_digits import id_digit
from compression.layers.rows.padded_rows import PaddedRows

N_SWEEPS = 20
PRIME = 2_147_483_647  # 2³¹ − 1; with a factor below it and ids below it, the product stays within int64
FACTOR = 1_103_515_245


class HashedRows(PaddedRows):
    """One shared row an id: ids (…) int64 → (…, D) float32, row id mod m."""

    def __init__(self, weights: list[Tensor], num_embeddings: int) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = weights[0].shape[1]  # the first table has whole rows; others may have single numbers
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

    def look_up(self, ids: Tensor) -> Tensor:
        rows = self.rows(ids, tuple(table.num_embeddings for table in self.tables))
        return self.combine(*[table(row) for table, row in zip(self.tables, rows, strict=True)])

    @staticmethod
    def combine(*vectors: Tensor) -> Tensor:
        return vectors[0]

    @staticmethod
    def fit(target: Tensor, weights: Tensor, places: tuple[Tensor, ...], lengths: tuple[int, ...]) -> list[Tensor]:
        """The small tables that come nearest to the table (V, D), errors weighted by row, `weights` (V, 1).

        Here the weighted mean of the rows that share one. Where there are several tables, each in turn is set to its
        least squares while the others stand, so that every sweep lowers the error.
        """
        return [_solve(target, torch.ones_like(target), weights, places[0], lengths[0])]


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

    @staticmethod
    def fit(target: Tensor, weights: Tensor, places: tuple[Tensor, ...], lengths: tuple[int, ...]) -> list[Tensor]:
        found = [torch.ones(length, target.shape[1], dtype=target.dtype) for length in lengths]
        for _ in range(N_SWEEPS):
            for this, other in ((0, 1), (1, 0)):
                found[this] = _solve(target, found[other][places[other]], weights, places[this], lengths[this])
        return found


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

    @staticmethod
    def fit(target: Tensor, weights: Tensor, places: tuple[Tensor, ...], lengths: tuple[int, ...]) -> list[Tensor]:
        found = [torch.zeros(length, target.shape[1], dtype=target.dtype) for length in lengths]
        for _ in range(N_SWEEPS):
            for this, other in ((0, 1), (1, 0)):
                rest = target - found[other][places[other]]
                found[this] = _solve(rest, torch.ones_like(target), weights, places[this], lengths[this])
        return found


class ScaledRows(HashedRows):
    """A row shared by id mod m, times a number of the id's own: no two ids need to be the same.

    Source: Pansare et al. 2022, arXiv:2203.10135 (MEmCom without bias).
    """

    @staticmethod
    def names() -> tuple[str, ...]:
        return ("table", "scale")

    @staticmethod
    def rows(ids: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, ...]:
        return (ids % lengths[0], *(ids for _ in lengths[1:]))

    @staticmethod
    def combine(*vectors: Tensor) -> Tensor:
        return vectors[0] * vectors[1]

    @staticmethod
    def fit(target: Tensor, weights: Tensor, places: tuple[Tensor, ...], lengths: tuple[int, ...]) -> list[Tensor]:
        scale = torch.ones(len(target), 1, dtype=target.dtype)
        for _ in range(N_SWEEPS):
            shared = _solve(target, scale.expand_as(target), weights, places[0], lengths[0])
            scale = _slope(shared[places[0]], target)
        return [shared, scale]


class ShiftedRows(ScaledRows):
    """A row shared by id mod m, times one number of the id's own plus another one.

    Source: Pansare et al. 2022, arXiv:2203.10135 (MEmCom with bias).
    """

    @staticmethod
    def names() -> tuple[str, ...]:
        return ("table", "scale", "shift")

    @staticmethod
    def combine(*vectors: Tensor) -> Tensor:
        return vectors[0] * vectors[1] + vectors[2]

    @staticmethod
    def fit(target: Tensor, weights: Tensor, places: tuple[Tensor, ...], lengths: tuple[int, ...]) -> list[Tensor]:
        scale = torch.ones(len(target), 1, dtype=target.dtype)
        shift, mean = torch.zeros_like(scale), target.mean(1, keepdim=True)
        for _ in range(N_SWEEPS):
            shared = _solve(target - shift, scale.expand_as(target), weights, places[0], lengths[0])
            read = shared[places[0]]
            centre = read.mean(1, keepdim=True)
            scale = _slope(read - centre, target - mean)
            shift = mean - scale * centre
        return [shared, scale, shift]


KINDS = {"modulo": HashedRows, "quotient-remainder": QuotientRemainderRows, "double-hash": DoubleHashedRows,
         "memcom": ScaledRows, "memcom-bias": ShiftedRows}


def hash_table(weight: Tensor, weights: Tensor, kind: str, lengths: tuple[int, ...]) -> HashedRows:
    """Small tables of so many rows whose combination is near the table (V, D), errors weighted by row, (V,)."""
    chosen = KINDS[kind]
    places = chosen.rows(torch.arange(len(weight)), lengths)
    found = chosen.fit(weight.detach().cpu().double(), weights.double().unsqueeze(1), places, lengths)
    return chosen([table.to(weight.dtype) for table in found], len(weight))


def _solve(target: Tensor, factor: Tensor, weights: Tensor, place: Tensor, length: int) -> Tensor:
    """(length, D): the t of least Σ weights · (target − factor · t[place])² in each column; 0 where nothing reads."""
    shape = (length, target.shape[1])
    above = torch.zeros(shape, dtype=torch.float64).index_add_(0, place, weights * factor * target)
    below = torch.zeros(shape, dtype=torch.float64).index_add_(0, place, weights * factor.square())
    return above / below.clamp_min(1e-30)


def _slope(read: Tensor, target: Tensor) -> Tensor:
    """(V, 1): the number a row of least squared error of target − a · read; 0 where a row reads zeros."""
    return (read * target).sum(1, keepdim=True) / read.square().sum(1, keepdim=True).clamp_min(1e-30)
