"""A table as a tensor train: an id is cut into digits, each digit reads a matrix, and the row is their product.

V rows, D columns, K cores; v_k values of the k-th digit, d_k columns of the k-th core, r_k ranks between the cores
(r_0 = r_K = 1). A core is an ordinary nn.Embedding (v_k, r_{k−1}·d_k·r_k), so that training and later steps find it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from compression.layers.rows.id_digits import id_digit
from compression.layers.rows.padded_rows import PaddedRows
from compression.layers.stored_shapes import TrainShape

N_ROUNDS = 5  # of the fit by frequency; each costs as much as the first decomposition


class TensorTrainRows(PaddedRows):
    """ids (…) int64 → (…, D) float32, the product of one matrix (r_{k−1}, d_k · r_k) a core."""

    def __init__(self, cores: list[Tensor], shape: TrainShape, num_embeddings: int) -> None:
        """cores: one (v_k, r_{k−1}·d_k·r_k) each."""
        super().__init__()
        self.shape = shape
        self.num_embeddings, self.embedding_dim = num_embeddings, math.prod(shape.columns)
        for name, core in zip(shape.names(), cores, strict=True):
            self.add_module(name, nn.Embedding.from_pretrained(core.contiguous(), freeze=False))

    def digits(self, ids: Tensor) -> list[Tensor]:
        """The digits of each id, the most significant first."""
        found, step = [], math.prod(self.shape.rows)
        for place, length in enumerate(self.shape.rows):
            step //= length
            found.append(id_digit(ids, step, length if place else 0))
        return found

    def look_up(self, ids: Tensor) -> Tensor:
        digits = self.digits(ids.flatten())  # (N,): every product below is of three axes
        shapes = zip(self.shape.columns, self.shape.pairs(), strict=True)
        found, width = None, 1
        for name, digit, (columns, (before, after)) in zip(self.shape.names(), digits, shapes, strict=True):
            core = self.get_submodule(name)(digit)
            width *= columns
            if found is not None:
                core = found @ core.reshape(-1, before, columns * after)
            found = core.reshape(-1, width, after)  # (N, d₁⋯d_k, r_k)
        rows = found.flatten(1)
        return rows if ids.dim() == 1 else rows.unflatten(0, ids.shape)


def decompose(weight: Tensor, shape: TrainShape, weights: Tensor | None = None) -> TensorTrainRows:
    """The table (V, D) as a tensor train near it; `weights` (V,) say how much a row's error counts.

    TT-SVD (Oseledets 2011, algorithm 1): one singular value decomposition after another; the error is at most √(K − 1)
    times the least possible. With weights, what the train says of light rows is put in their place and
    the whole is decomposed anew (Srebro & Jaakkola 2003, weighted low rank); the best of the rounds is kept.
    """
    target = weight.detach().cpu().double()
    best = train_of(target, shape)
    if weights is not None:
        share = (weights.double() / weights.max()).unsqueeze(1)
        here = table_of(best)[:len(target)]
        least = _error(here, target, share)
        for _ in range(N_ROUNDS):
            found = train_of(share * target + (1 - share) * here, shape)
            here = table_of(found)[:len(target)]
            if (error := _error(here, target, share)) < least:
                least, best = error, found
    cores = [core.permute(1, 0, 2, 3).flatten(1).to(weight.dtype) for core in _balanced(best)]
    return TensorTrainRows(cores, shape, len(weight))


def train_of(table: Tensor, shape: TrainShape) -> list[Tensor]:
    """(V, D) → cores (r_{k−1}, v_k, d_k, r_k), by TT-SVD from the left; rows that fill the digits up are zeros."""
    missing = math.prod(shape.rows) - len(table)
    rest = nn.functional.pad(table, (0, 0, 0, missing)).reshape(*shape.rows, *shape.columns)
    count = len(shape.rows)
    order = [axis for place in range(count) for axis in (place, count + place)]
    rest = rest.permute(order).reshape(1, -1)
    cores = []
    for rows, columns, (before, after) in zip(shape.rows[:-1], shape.columns, shape.pairs(), strict=False):
        left, rest = _halves(rest.reshape(before * rows * columns, -1), after)
        cores.append(left.reshape(before, rows, columns, after))
    return [*cores, rest.reshape(-1, shape.rows[-1], shape.columns[-1], 1)]


def table_of(cores: list[Tensor]) -> Tensor:
    """The whole table of the cores, with the rows that fill the digits up."""
    found = torch.ones(1, 1, 1, dtype=cores[0].dtype)  # (rows, columns, rank)
    for core in cores:
        found = torch.einsum("vda,awec->vwdec", found, core).flatten(0, 1).flatten(1, 2)
    return found.squeeze(-1)


def _halves(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The nearest product (m, r) · (r, n), by the eigenvectors of the smaller of both Gram matrices."""
    wide = matrix.shape[0] <= matrix.shape[1]
    _, basis = torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    top = basis[:, -rank:].flip(1)
    largest = top.gather(0, top.abs().argmax(0, keepdim=True)).sign()
    top = top * largest.masked_fill(largest == 0, 1)  # signs that do not depend on the linear algebra library
    return (top, top.T @ matrix) if wide else (matrix @ top, top.T)


def _error(found: Tensor, target: Tensor, share: Tensor) -> float:
    return float((share * (found - target).square()).sum())


def _balanced(cores: list[Tensor]) -> list[Tensor]:
    """The same train with cores of equal mean square, so that one learning rate suits all of them."""
    sizes = [float(core.square().mean().sqrt()) for core in cores]
    if min(sizes) == 0:
        return cores
    mean = math.prod(sizes) ** (1 / len(sizes))
    return [core * (mean / size) for core, size in zip(cores, sizes, strict=True)]
