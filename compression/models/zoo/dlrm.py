"""DLRM: numbers through a bottom MLP, dot products between all vectors, a top MLP.

Source: Naumov et al. 2019, arXiv:1906.00091. Here: without number inputs there is no bottom MLP and the top reads
the dot products alone, beside the vectors' own values for lack of a bottom output.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compression.models.zoo.fields import Fields, RankingModel, mlp
from compression.models.zoo.params import DLRMParams
from compression.spec.records import Part
from compression.spec.signature import Signature


class DLRM(RankingModel):
    """forward({input: tensor}) → (B,) logits."""

    def __init__(self, signature: Signature, params: DLRMParams) -> None:
        super().__init__()
        dim = params.embedding_dim
        self.numbers = tuple(item.name for item in signature.inputs if item.kind == "number")
        self.tables = Fields(signature, dim, numbers=False)
        n_vectors = len(self.tables.read) + bool(self.numbers)
        if self.numbers:
            hidden = (params.bottom_width,) * (params.n_bottom_layers - 1)
            self.bottom = mlp(len(self.numbers), (*hidden, dim), None)
        # flat positions below the diagonal of (F, F); on the CPU even when the rest is built on the meta device
        rows, columns = torch.tril_indices(n_vectors, n_vectors, -1, device="cpu")
        self.register_buffer("pairs", rows * n_vectors + columns, persistent=False)
        n_pairs = n_vectors * (n_vectors - 1) // 2
        beside = dim if self.numbers else n_vectors * dim
        self.mlp = mlp(beside + n_pairs, (params.width,) * params.n_layers, 1, dropout=params.dropout,
                       batch_norm=params.batch_norm)
        self.declare(bottom=Part.DENSE)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        vectors = self.tables(batch)
        if self.numbers:
            vectors = [self.bottom(torch.stack([batch[name] for name in self.numbers], 1)), *vectors]
        stacked = torch.stack(vectors, 1)  # (B, F, D)
        products = torch.bmm(stacked, stacked.transpose(1, 2))  # (B, F, F)
        pairs = products.flatten(1).index_select(1, self.pairs)  # (B, F·(F−1)/2)
        beside = vectors[0] if self.numbers else stacked.flatten(1)
        return self.mlp(torch.cat([beside, pairs], 1)).squeeze(-1)
