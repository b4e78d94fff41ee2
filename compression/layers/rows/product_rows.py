"""A table whose rows are named by codes into small codebooks, one for each slice of the columns.

V rows, D columns, M slices of D / M columns, K centroids in each codebook (at most 256, so that a code is a byte).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from compression.layers.rows.padded_rows import PaddedRows
from compression.layers.stored_shapes import product_tensors
from compression.spec import records

MAX_TRAINED_ROWS = 65_536  # rows from which the centroids are found; all rows are encoded
N_ITERATIONS = 15
CHUNK_ROWS = 65_536


class ProductRows(PaddedRows):
    """Look up rows by codes: ids (…) int64 → (…, D) float32. The codes are frozen, the codebooks are trained."""

    is_leaf = True

    def __init__(self, codes: Tensor, codebooks: Tensor) -> None:
        """codes (V, M) uint8; codebooks (M, K, D / M) float32."""
        super().__init__()
        n_slices, self.centroids, width = codebooks.shape
        self.register_buffer("codes", codes)
        self.codebooks = nn.Parameter(codebooks.reshape(-1, width).contiguous())  # one below the other, for one Gather
        self.register_buffer("first", torch.arange(n_slices) * self.centroids, persistent=False)
        self.embedding_dim = n_slices * width

    @property
    def num_embeddings(self) -> int:
        return len(self.codes)

    def look_up(self, ids: Tensor) -> Tensor:
        # embedding exports as a Gather; the cast comes after it and sees only the batch
        rows = nn.functional.embedding(ids, self.codes).long() + self.first  # (…, M)
        return nn.functional.embedding(rows, self.codebooks).flatten(-2)

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        n_slices = self.codes.shape[1]
        return product_tensors(self.num_embeddings, self.embedding_dim, n_slices=n_slices, centroids=self.centroids)

    def dequantized(self) -> Tensor:
        """The table as float32 (V, D)."""
        return self(torch.arange(self.num_embeddings, device=self.codes.device))

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, slices={self.codes.shape[1]}, centroids={self.centroids}"


def encode_product(weight: Tensor, weights: np.ndarray, *, n_slices: int, centroids: int,
                   random: np.random.Generator) -> ProductRows:
    """The table (V, D) by weighted k-means in each slice; `weights` (V,) say how much a row's error counts.

    Centroids begin at rows drawn by weight. Beyond 65,536 rows they are found from the heaviest half of that many and
    as many of the others, drawn evenly and counted for all that were not.
    """
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    table = weight.detach().cpu().float().numpy()
    rows, counted = _sample(weights.astype(np.float64), random)
    width = table.shape[1] // n_slices
    codes = np.empty((len(table), n_slices), dtype=np.uint8)
    codebooks = np.empty((n_slices, centroids, width), dtype=np.float32)
    for place in range(n_slices):
        part = slice(place * width, (place + 1) * width)
        codebooks[place] = _centroids(table[rows, part], counted, centroids, random)
        nearest = faiss.IndexFlatL2(width)
        nearest.add(codebooks[place])
        for first in range(0, len(table), CHUNK_ROWS):
            chunk = np.ascontiguousarray(table[first:first + CHUNK_ROWS, part])
            codes[first:first + CHUNK_ROWS, place] = nearest.search(chunk, 1)[1][:, 0]
    return ProductRows(torch.from_numpy(codes), torch.from_numpy(codebooks))


def _centroids(values: np.ndarray, counted: np.ndarray, centroids: int, random: np.random.Generator) -> np.ndarray:
    """values (N, d), counted (N,) → (K, d) by weighted k-means; equal values count together, few are all kept."""
    import faiss

    distinct, place = np.unique(values, axis=0, return_inverse=True)
    counted = np.bincount(place.ravel(), weights=counted)
    if len(distinct) <= centroids:
        return distinct[np.arange(centroids) % len(distinct)]
    start = distinct[random.choice(len(distinct), centroids, replace=False, p=counted / counted.sum())]
    kmeans = faiss.Kmeans(values.shape[1], centroids, niter=N_ITERATIONS, seed=0, min_points_per_centroid=1,
                          max_points_per_centroid=len(distinct))
    kmeans.train(distinct, weights=(counted / counted.mean()).astype(np.float32), init_centroids=start)
    return kmeans.centroids


def _sample(weights: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and what each counts."""
    if len(weights) <= MAX_TRAINED_ROWS:
        return np.arange(len(weights)), weights
    half = MAX_TRAINED_ROWS // 2
    order = np.argsort(-weights, kind="stable")
    others = random.choice(order[half:], half, replace=False)
    scaled = weights[others] * ((len(weights) - half) / half)
    return np.concatenate([order[:half], others]), np.concatenate([weights[order[:half]], scaled])
