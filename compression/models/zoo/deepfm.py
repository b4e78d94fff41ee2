"""DeepFM: a factorisation machine and a deep network over the same vectors.

Source: Guo et al. 2017, arXiv:1703.04247. Here: numbers enter as value × learned vector, as in FuxiCTR.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compression.models.zoo.fields import Fields, RankingModel, mlp, pairwise
from compression.models.zoo.params import DeepFMParams
from compression.spec.signature import Signature


class DeepFM(RankingModel):
    """forward({input: tensor}) → (B,) logits: first order + pairwise interactions + deep part."""

    joined_by = "mlp.0"

    def __init__(self, signature: Signature, params: DeepFMParams) -> None:
        super().__init__()
        self.tables = Fields(signature, params.embedding_dim)
        self.has_first_order = params.first_order
        if params.first_order:
            self.first_order = Fields(signature, 1)
        self.mlp = mlp(len(self.tables.read) * params.embedding_dim, (params.width,) * params.n_layers, 1,
                       dropout=params.dropout, batch_norm=params.batch_norm)
        self.declare()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        vectors = self.tables(batch)  # F × (B, D)
        deep = pairwise(vectors) + self.mlp(self.tables.joined(vectors)).squeeze(-1)
        return torch.cat(self.first_order(batch), 1).sum(1) + deep if self.has_first_order else deep
