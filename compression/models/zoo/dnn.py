"""DNN: a plain deep network over the vectors of all fields, with no part that multiplies them.

Source: Covington et al. 2016, "Deep neural networks for YouTube recommendations", RecSys; FuxiCTR's DNN.
"""

from __future__ import annotations

from torch import Tensor

from compression.models.zoo.fields import Fields, RankingModel, mlp
from compression.models.zoo.params import DNNParams
from compression.spec.signature import Signature


class DNN(RankingModel):
    """forward({input: tensor}) → (B,) logits."""

    joined_by = "deep.0"
    joined_only = True

    def __init__(self, signature: Signature, params: DNNParams) -> None:
        super().__init__()
        self.tables = Fields(signature, params.embedding_dim)
        self.deep = mlp(len(self.tables.read) * params.embedding_dim, (params.width,) * params.n_layers, 1,
                        dropout=params.dropout, batch_norm=params.batch_norm)
        self.declare()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.deep(self.tables.joined(self.tables(batch))).squeeze(-1)
