"""Deep & Cross Network, version 2: full-matrix cross layers with a deep network beside or above them.

Source: Wang et al. 2021, arXiv:2008.13535: x' = x₀ ⊙ (W x + b) + x; with a rank, W = U Vᵀ, and with experts a gated sum
of such products (DCN-Mix, here without nonlinearities between the factors). Here: in the parallel structure the final
linear layer over [cross, deep] is written as two, one for each side; their sum is the same function, and the
deep side stays a plain Sequential.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compression.layers.dense.low_rank import LowRankLinear, MixtureLinear
from compression.models.zoo.fields import Fields, RankingModel, mlp
from compression.models.zoo.params import DCNv2Params
from compression.spec.records import Part
from compression.spec.signature import Signature


def cross(x0: Tensor, layers: nn.ModuleList, added: nn.ModuleList | None = None) -> Tensor:
    """Apply cross layers: (B, F·D) → (B, F·D); each raises the highest order of interaction by one.

    `added`: a bias for each layer that is added to its product with x₀, as in the first version (arXiv:1708.05123).
    """
    x = x0
    for place, layer in enumerate(layers):
        x = x0 * layer(x) + x
        x = added[place](x) if added else x
    return x


class DCNv2(RankingModel):
    """forward({input: tensor}) → (B,) logits."""

    def __init__(self, signature: Signature, params: DCNv2Params) -> None:
        super().__init__()
        self.structure = params.structure
        self.tables = Fields(signature, params.embedding_dim)
        n_in = len(self.tables.read) * params.embedding_dim
        self.cross = nn.ModuleList(_cross_layer(n_in, params.shared_rank, params.n_experts)
                                   for _ in range(params.n_cross_layers))
        self.mlp = mlp(n_in, (params.width,) * params.n_layers, 1, dropout=params.dropout,
                       batch_norm=params.batch_norm)
        if params.structure == "parallel":
            self.joined_by = "mlp.0"
            self.cross_output = nn.Linear(n_in, 1, bias=False)
        self.declare(cross=Part.INTERACTION, cross_output=Part.OUTPUT)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        vectors = self.tables(batch)
        x0 = torch.cat(vectors, 1)  # (B, F·D)
        crossed = cross(x0, self.cross)
        if self.structure == "stacked":
            return self.mlp(crossed).squeeze(-1)
        return (self.cross_output(crossed) + self.mlp(self.tables.joined(vectors))).squeeze(-1)


def _cross_layer(n: int, rank: int, n_experts: int) -> nn.Module:
    if not rank:
        return _linear(n, n)
    factors = _linear(n, rank, bias=False), _linear(rank, n)
    if n_experts == 1:
        return LowRankLinear(*factors)
    return MixtureLinear(*factors, _linear(n, n_experts, bias=False))


def _linear(n_in: int, n_out: int, *, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.xavier_normal_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
