"""A table whose frequent rows are named by more codes than its rare ones: each code refines what the ones before say.

V rows, D columns, K centroids. The row of an id is the shared row plus a centroid for each code it has. Stage k has
codes for the first n_k rows, n_1 ≥ n_2 ≥ …; every other row reads its last code, that of the centroid 0, which is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from compression.layers.rows.padded_rows import PaddedRows
from compression.layers.rows.remapped_rows import RowMap
from compression.layers.stored_shapes import nested_tensors
from compression.spec import records

MAX_TRAINED_ROWS = 65_536  # rows from which centroids are found; all rows are encoded
N_ITERATIONS = 12
CHUNK_ROWS = 65_536


class NestedCodes(PaddedRows):
    """Look up rows of few or many codes: ids (…) int64 → (…, D) float32. Codes are frozen, codebooks are trained."""

    is_leaf = True

    def __init__(self, codes: list[Tensor], codebooks: list[Tensor], shared: Tensor, n_rows: int,
                 ids: RowMap | None = None) -> None:
        """codes: (n_k,) uint8 each; codebooks: (K, D) float32 each; shared (D,)."""
        super().__init__()
        self.n_stages = len(codes)
        for place, (stage, codebook) in enumerate(zip(codes, codebooks, strict=True)):
            column = torch.cat([stage.to(torch.uint8), torch.zeros(1, dtype=torch.uint8)]).unsqueeze(1)
            self.register_buffer(f"codes_{place}", column)  # (n_k + 1, 1)
            self.register_parameter(f"codebook_{place}", nn.Parameter(codebook.detach().clone()))
        self.shared = nn.Parameter(shared.detach().clone())
        self.ids = ids
        self.num_embeddings = n_rows
        self.embedding_dim = len(shared)

    def look_up(self, ids: Tensor) -> Tensor:
        rows = ids if self.ids is None else self.ids(ids)
        found = self.shared.expand(*ids.shape, self.embedding_dim)
        for place in range(self.n_stages):
            codes, codebook = getattr(self, f"codes_{place}"), getattr(self, f"codebook_{place}")
            # a column, so that it exports as a Gather; the cast comes after it and sees only the batch
            code = nn.functional.embedding(rows.clamp(max=len(codes) - 1), codes).squeeze(-1).long()
            found = found + nn.functional.embedding(code, codebook)
        return found

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        lengths = [len(getattr(self, f"codes_{place}")) - 1 for place in range(self.n_stages)]
        centroids = [len(getattr(self, f"codebook_{place}")) for place in range(self.n_stages)]
        stages = tuple(zip(lengths, centroids, strict=True))
        return nested_tensors(self.num_embeddings, self.embedding_dim, stages, mapped=self.ids is not None)

    def dequantized(self) -> Tensor:
        """The table as float32 (V, D)."""
        return self(torch.arange(self.num_embeddings, device=self.shared.device))

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, stages={self.n_stages}"


@dataclass(frozen=True)
class Refined:
    """A table encoded by every stage: codes (S, V) uint8, codebooks (S, K, D), and what each code gains.

    gains (S, V) float64: by how much code s makes a row's weighted squared error smaller; it may be negative.
    """

    codes: np.ndarray
    codebooks: np.ndarray
    gains: np.ndarray

    @property
    def stage_bytes(self) -> int:
        """What a stage costs beside a byte a row: its codebook, and the code of all rows that have none."""
        return 4 * self.codebooks.shape[1] * self.codebooks.shape[2] + 1


def refine(weight: np.ndarray, shared: np.ndarray, weights: np.ndarray, *, n_stages: int, centroids: int,
           random: np.random.Generator) -> Refined:
    """Encode weight (V, D) stage by stage: k-means of what the stages before left, rows counting by weights (V,)."""
    left = weight - shared
    error = np.square(left).sum(1, dtype=np.float64)
    codes = np.zeros((n_stages, len(weight)), np.uint8)
    codebooks = np.zeros((n_stages, centroids, weight.shape[1]), np.float32)
    gains = np.zeros((n_stages, len(weight)))
    sample, counted = _sample(weights.astype(np.float64), random)
    for stage in range(n_stages):
        learned = _centroids(left[sample], counted, centroids - 1, random)
        codebooks[stage, 1:len(learned) + 1] = learned  # centroid 0 stays zero: a row may keep what it has
        codes[stage] = _nearest(left, codebooks[stage])
        left = left - codebooks[stage][codes[stage]]
        after = np.square(left).sum(1, dtype=np.float64)
        gains[stage] = (error - after) * weights
        error = after
    return Refined(codes, codebooks, gains)


def _centroids(values: np.ndarray, counted: np.ndarray, n_centroids: int, random: np.random.Generator) -> np.ndarray:
    """values (N, D), counted (N,) → at most (K, D) by weighted k-means; equal values count together."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    distinct, place = np.unique(values, axis=0, return_inverse=True)
    counted = np.bincount(place.ravel(), weights=counted)
    if len(distinct) <= n_centroids:
        return distinct
    start = distinct[random.choice(len(distinct), n_centroids, replace=False, p=counted / counted.sum())]
    kmeans = faiss.Kmeans(values.shape[1], n_centroids, niter=N_ITERATIONS, seed=0, min_points_per_centroid=1,
                          max_points_per_centroid=len(distinct))
    kmeans.train(np.ascontiguousarray(distinct), weights=(counted / counted.mean()).astype(np.float32),
                 init_centroids=start)
    return kmeans.centroids


def _nearest(values: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """The number of each row's nearest centroid, (V,) uint8."""
    import faiss

    index = faiss.IndexFlatL2(codebook.shape[1])
    index.add(codebook)
    found = [index.search(np.ascontiguousarray(values[first:first + CHUNK_ROWS]), 1)[1][:, 0]
             for first in range(0, len(values), CHUNK_ROWS)]
    return np.concatenate(found).astype(np.uint8)


def _sample(weights: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and what each counts: the heaviest, and as many others drawn evenly for all that were not."""
    if len(weights) <= MAX_TRAINED_ROWS:
        return np.arange(len(weights)), weights
    half = MAX_TRAINED_ROWS // 2
    order = np.argsort(-weights, kind="stable")
    others = random.choice(order[half:], half, replace=False)
    scaled = weights[others] * ((len(weights) - half) / half)
    return np.concatenate([order[:half], others]), np.concatenate([weights[order[:half]], scaled])


def share_budget(tables: dict[str, Refined], budget: int) -> dict[str, list[int]]:
    """How far down the rows each stage of each table reaches, so that all codes and codebooks fit `budget` bytes.

    At a price for a byte a stage takes the first rows as long as they gain more than they cost, never more rows than
    the stage before it; a stage whose gain doesn't pay for its codebook falls away with those behind it. The
    price is the lowest at which everything fits.
    """
    sums = {path: np.concatenate([np.zeros((len(table.gains), 1)), table.gains.cumsum(1)], axis=1)
            for path, table in tables.items()}

    def lengths_at(price: float) -> dict[str, list[int]]:
        return {path: _reach(sums[path], price, tables[path].stage_bytes) for path in tables}

    def weighs(lengths: dict[str, list[int]]) -> int:
        return sum(sum(found) + len(found) * tables[path].stage_bytes for path, found in lengths.items())

    low, high = 0.0, max((float(table.gains.max()) for table in tables.values()), default=0.0) + 1e-30
    for _ in range(50):
        price = (low + high) / 2
        low, high = (price, high) if weighs(lengths_at(price)) > budget else (low, price)
    return lengths_at(high)


def _reach(sums: np.ndarray, price: float, stage_bytes: int) -> list[int]:
    """sums (S, V + 1) of gains from 0 on → rows of each stage in use."""
    lengths: list[int] = []
    end = sums.shape[1] - 1
    for stage in sums:
        profit = stage[:end + 1] - price * np.arange(end + 1)
        end = int(profit.argmax())
        if end == 0 or profit[end] <= price * stage_bytes:
            break
        lengths.append(end)
    return lengths
