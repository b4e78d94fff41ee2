"""Wide & Deep: a linear part that remembers ids beside a deep part that generalises.

Source: Cheng et al. 2016, arXiv:1606.07792. Here: the wide part reads single ids, as FuxiCTR's does; crossed
columns are the user's to make.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compression.models.zoo.fields import Fields, RankingModel, mlp
from compression.models.zoo.params import WideDeepParams
from compression.spec.signature import Signature


class WideDeep(RankingModel):
    """forward({input: tensor}) → (B,) logits: first order + deep part."""

    joined_by = "mlp.0"
    joined_only = True

    def __init__(self, signature: Signature, params: WideDeepParams) -> None:
        super().__init__()
        self.tables = Fields(signature, params.embedding_dim)
        self.first_order = Fields(signature, 1)
        self.mlp = mlp(len(self.tables.read) * params.embedding_dim, (params.width,) * params.n_layers, 1,
                       dropout=params.dropout, batch_norm=params.batch_norm)
        self.declare()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        deep = self.mlp(self.tables.joined(self.tables(batch))).squeeze(-1)
        return torch.cat(self.first_order(batch), 1).sum(1) + deep
