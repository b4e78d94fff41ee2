"""Filters over tokens, the largest answer of each. Source: Kim 2014, arXiv:1408.5882."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compression.models.uploaded.chain import ACTIVATIONS, chain
from compression.models.uploaded.params import TextCNNParams
from compression.models.uploaded.text_encoder import tokens_of
from compression.models.zoo.fields import RankingModel
from compression.spec.records import Part
from compression.spec.signature import Signature


class TextCNN(RankingModel):
    """forward({tokens (B, L)}) → (B,) logits."""

    def __init__(self, signature: Signature, params: TextCNNParams) -> None:
        super().__init__()
        self.tokens, rows = tokens_of(signature, params.length)
        self.token = nn.Embedding(rows, params.embedding_dim)
        self.filters = nn.ModuleList(
            nn.Conv1d(params.embedding_dim, n_filters, width, padding=width // 2 if params.same_length else 0)
            for n_filters, width in params.filters)
        self.activation, self.pool = ACTIVATIONS[params.activation](), params.pool
        self.mlp = chain(sum(n_filters for n_filters, _ in params.filters), params.mlp)
        self.table_inputs = {"token": self.tokens}
        self.declare(token=Part.EMBEDDING, filters=Part.INTERACTION)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = self.token(batch[self.tokens]).transpose(1, 2)  # (B, D, L)
        answers = [self.activation(one(x)) for one in self.filters]
        pooled = [one.amax(-1) if self.pool == "max" else one.mean(-1) for one in answers]
        return self.mlp(torch.cat(pooled, 1)).squeeze(-1)
