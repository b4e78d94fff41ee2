"""Factorisation machine: a weight for each id, a dot product for each pair of fields.

Source: Rendle 2010, "Factorization machines", ICDM. Here: numbers enter as value × learned vector.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compression.models.zoo.fields import Bias, Fields, RankingModel, pairwise
from compression.models.zoo.params import FMParams
from compression.spec.records import Part
from compression.spec.signature import Signature


class FM(RankingModel):
    """forward({input: tensor}) → (B,) logits: bias + first order + pairwise interactions."""

    def __init__(self, signature: Signature, params: FMParams) -> None:
        super().__init__()
        self.tables = Fields(signature, params.embedding_dim)
        self.first_order = Fields(signature, 1)
        self.bias = Bias()
        self.declare(bias=Part.OUTPUT)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        first = torch.cat(self.first_order(batch), 1).sum(1)
        return self.bias(first + pairwise(self.tables(batch)))
