"""Logistic regression over ids: one weight for each, which is the floor other models have to beat.

Source: Richardson et al. 2007, "Predicting clicks", WWW.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compression.models.zoo.fields import Bias, Fields, RankingModel
from compression.models.zoo.params import LRParams
from compression.spec.records import Part
from compression.spec.signature import Signature


class LR(RankingModel):
    """forward({input: tensor}) → (B,) logits: the sum of the weights of a row's ids, and a bias."""

    def __init__(self, signature: Signature, params: LRParams) -> None:
        super().__init__()
        self.first_order = Fields(signature, 1)
        self.bias = Bias()
        self.declare(bias=Part.OUTPUT)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.bias(torch.cat(self.first_order(batch), 1).sum(1))
