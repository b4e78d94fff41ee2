"""Layers split in two factors of rank r. Both factors are ordinary layers, so that later steps find them."""

from __future__ import annotations

from torch import Tensor, nn


class LowRankEmbedding(nn.Module):
    """A table of rank r: ids (…) int64 → (…, D) float32, stored as (V, r) and (D, r)."""

    def __init__(self, factor: nn.Embedding, expand: nn.Linear) -> None:
        super().__init__()
        self.factor = factor
        self.expand = expand

    @property
    def num_embeddings(self) -> int:
        return self.factor.num_embeddings

    @property
    def embedding_dim(self) -> int:
        return self.expand.out_features

    def forward(self, ids: Tensor) -> Tensor:
        return self.expand(self.factor(ids))


class LowRankLinear(nn.Sequential):
    """A dense layer of rank r: (B, in) → (B, r) → (B, out), the bias in the second layer."""

    def __init__(self, reduce: nn.Linear, expand: nn.Linear) -> None:
        super().__init__(reduce, expand)

    @property
    def in_features(self) -> int:
        return self[0].in_features

    @property
    def out_features(self) -> int:
        return self[1].out_features
