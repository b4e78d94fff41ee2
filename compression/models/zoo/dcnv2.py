"""Deep & Cross Network, version 2: full-matrix cross layers with a deep network beside or above them.

Source: Wang et al. 2021, arXiv:2008.13535: x' = x₀ ⊙ (W x + b) + x. Here: in the parallel structure the final
linear layer over [cross, deep] is written as two, one for each side; their sum is the same function, and the
deep side stays a plain Sequential.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compression.models.signature import Signature
from compression.models.zoo.fields import Fields, RankingModel, mlp
from compression.models.zoo.params import DCNv2Params
from compression.records import Part


def cross(x0: Tensor, layers: nn.ModuleList) -> Tensor:
    """Apply cross layers: (B, F·D) → (B, F·D); each raises the highest order of interaction by one."""
    x = x0
    for layer in layers:
        x = x0 * layer(x) + x
    return x


class DCNv2(RankingModel):
    """forward({input: tensor}) → (B,) logits."""

    def __init__(self, signature: Signature, params: DCNv2Params) -> None:
        super().__init__()
        self.structure = params.structure
        self.tables = Fields(signature, params.embedding_dim)
        n_in = len(self.tables.read) * params.embedding_dim
        self.cross = nn.ModuleList(_cross_layer(n_in) for _ in range(params.n_cross_layers))
        self.mlp = mlp(n_in, (params.width,) * params.n_layers, 1, dropout=params.dropout,
                       batch_norm=params.batch_norm)
        if params.structure == "parallel":
            self.cross_output = nn.Linear(n_in, 1, bias=False)
        self.declare(cross=Part.INTERACTION, cross_output=Part.OUTPUT)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x0 = torch.cat(self.tables(batch), 1)  # (B, F·D)
        crossed = cross(x0, self.cross)
        if self.structure == "stacked":
            return self.mlp(crossed).squeeze(-1)
        return (self.cross_output(crossed) + self.mlp(x0)).squeeze(-1)


def _cross_layer(n: int) -> nn.Linear:
    layer = nn.Linear(n, n)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
