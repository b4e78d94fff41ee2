"""FinalMLP: two deep networks over the same vectors, each with gates of its own, whose outputs are multiplied.

Source: Mao et al. 2023, arXiv:2304.00902: w₁ᵀx + w₂ᵀy + Σ over heads xₕᵀ Wₕ yₕ. Here: a gate is 2σ(g) for a learned g
a column, which is what the paper's gate network gives for a learned context without features.
Legend: B batch, F fields, D embedding dim, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compression.models.zoo.fields import Fields, RankingModel, mlp
from compression.models.zoo.params import FinalMLPParams
from compression.spec.records import Part
from compression.spec.signature import Signature


class Gate(nn.Module):
    """Each column times a learned factor between 0 and 2: (B, F·D) → (B, F·D); 1 before training."""

    is_leaf = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * (2 * torch.sigmoid(self.weight))


class FinalMLP(RankingModel):
    """forward({input: tensor}) → (B,) logits."""

    def __init__(self, signature: Signature, params: FinalMLPParams) -> None:
        super().__init__()
        self.tables = Fields(signature, params.embedding_dim)
        n_in, width = len(self.tables.read) * params.embedding_dim, params.width
        self.gates = nn.ModuleList(Gate(n_in) for _ in range(2 * params.gates))
        self.first, self.second = (mlp(n_in, (width,) * params.n_layers, None, dropout=params.dropout,
                                       batch_norm=params.batch_norm) for _ in range(2))
        self.first_output, self.second_output = nn.Linear(width, 1), nn.Linear(width, 1, bias=False)
        part = width // params.n_heads
        # by name, not by number: layers side by side are no chain
        self.products = nn.ModuleDict({f"head_{head}": nn.Linear(part, part, bias=False)
                                       for head in range(params.n_heads)})
        for layer in (self.first_output, self.second_output, *self.products.values()):
            nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(self.first_output.bias)
        self.declare(gates=Part.INTERACTION, products=Part.OUTPUT, first_output=Part.OUTPUT,
                     second_output=Part.OUTPUT)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        vectors = torch.cat(self.tables(batch), 1)  # (B, F·D)
        gated = [gate(vectors) for gate in self.gates] or [vectors, vectors]
        x, y = self.first(gated[0]), self.second(gated[1])
        logits = (self.first_output(x) + self.second_output(y)).squeeze(-1)
        size = x.shape[1] // len(self.products)
        for product, left, right in zip(self.products.values(), x.split(size, 1), y.split(size, 1), strict=True):
            logits = logits + (product(left) * right).sum(1)
        return logits
