"""Attention over the tokens of a pair, and one score. Source: Nogueira & Cho 2019, arXiv:1901.04085."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compression.models.uploaded.blocks import blocks
from compression.models.uploaded.chain import ACTIVATIONS
from compression.models.uploaded.params import TextEncoderParams
from compression.models.zoo.fields import RankingModel
from compression.spec.errors import ModelError
from compression.spec.records import Part
from compression.spec.signature import Signature


def tokens_of(signature: Signature, length: int) -> tuple[str, int]:
    """Name of the one input of tokens, and the rows of its table. Raises ModelError."""
    if len(signature.inputs) != 1 or signature.inputs[0].max_length != length:
        raise ModelError(f"A model of tokens has one input, a list of {length} ids.")
    return signature.inputs[0].name, signature.inputs[0].cardinality


class TextEncoder(RankingModel):
    """forward({tokens (B, L)}) → (B,) logits."""

    def __init__(self, signature: Signature, params: TextEncoderParams) -> None:
        super().__init__()
        self.tokens, rows = tokens_of(signature, params.length)
        self.params, dim = params, params.embedding_dim
        self.token, self.place = nn.Embedding(rows, dim), nn.Embedding(params.length, dim)
        if params.embedding_norm:
            self.embedding_norm = nn.LayerNorm(dim, eps=params.blocks.eps)
        if params.outer_norm != "none":
            self.outer_norm = nn.LayerNorm(dim, eps=params.blocks.eps)
        self.blocks = blocks(dim, params.blocks)
        if params.final_norm:
            self.final_norm = nn.LayerNorm(dim, eps=params.blocks.eps)
        if params.pool_layer:
            self.pool_layer = nn.Linear(dim, dim)
        self.activation = ACTIVATIONS[params.pool_activation]()
        self.output = nn.Linear(dim, 1)
        self.table_inputs = {"token": self.tokens}
        self.declare(token=Part.EMBEDDING, place=Part.EMBEDDING, output=Part.OUTPUT)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        ids = batch[self.tokens]
        x = self.token(ids) + self.place(torch.arange(self.params.length, device=ids.device))
        if self.params.embedding_norm:
            x = self.embedding_norm(x)
        if self.params.outer_norm == "embedding":
            x = self.outer_norm(x)
        for block in self.blocks:
            x = block(x, None)
        if self.params.final_norm:
            x = self.final_norm(x)
        if self.params.outer_norm == "final":
            x = self.outer_norm(x)
        pooled = x[:, 0] if self.params.pool == "first" else x.mean(1)
        pooled = self.pool_layer(pooled) if self.params.pool_layer else pooled
        return self.output(self.activation(pooled)).squeeze(-1)
