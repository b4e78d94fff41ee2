"""A BERT-like encoder of texts, pooled to a vector or a score.

Sources: Devlin et al. 2019, arXiv:1810.04805; Reimers & Gurevych 2019, arXiv:1908.10084. Here: places are counted from
the first token, as with padding behind the text. Legend: B texts, L tokens, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compression.models.uploaded.blocks import blocks
from compression.models.uploaded.chain import ACTIVATIONS, chain
from compression.models.uploaded.params import SentenceEncoderParams, StaticEncoderParams
from compression.models.uploaded.sequence import FAR
from compression.models.zoo.fields import RankingModel
from compression.spec.errors import ModelError
from compression.spec.records import Part
from compression.spec.signature import Input, Signature

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
TEXTS = ("query_", "document_")  # before the names of a pair's inputs


def input_names(params: SentenceEncoderParams | StaticEncoderParams) -> tuple[str, ...]:
    """Names of the inputs in their order. In a pair every token is of the first type."""
    if params.output == "pair":
        return tuple(f"{text}{name}" for text in TEXTS for name in (IDS, MASK))
    return (IDS, MASK, TYPES) if params.type_rows else (IDS, MASK)


def ids_of(signature: Signature, params: SentenceEncoderParams | StaticEncoderParams) -> Input:
    """The input that reads the table of tokens. Raises ModelError for a signature of other inputs."""
    names = input_names(params)
    if tuple(item.name for item in signature.inputs) != names:
        raise ModelError(f"This encoder of texts has the inputs {', '.join(names)}; the signature names "
                         f"{', '.join(item.name for item in signature.inputs)}.")
    return next(item for item in signature.inputs if item.name.endswith(IDS))


def pair_score(vector: Callable[[Tensor, Tensor], Tensor], batch: dict[str, Tensor]) -> Tensor:
    """The cosine of the two texts of each row, (B,)."""
    query, document = (F.normalize(vector(batch[text + IDS], batch[text + MASK]), dim=-1) for text in TEXTS)
    return (query * document).sum(-1)


def mean_of_tokens(x: Tensor, seen: Tensor) -> Tensor:
    """x (B, L, D) and seen (B, L, 1) → (B, D): the mean over what is seen; zeros where nothing is."""
    return (x * seen).sum(1) / seen.sum(1).clamp(min=1e-9)


class SentenceEncoder(RankingModel):
    """forward({input_ids, attention_mask[, token_type_ids]: (B, L)}) → (B, D) vectors or (B,) logits; see `output`."""

    def __init__(self, signature: Signature, params: SentenceEncoderParams) -> None:
        super().__init__()
        ids, dim = ids_of(signature, params), params.embedding_dim
        self.params, self.output_form = params, "vector" if params.output == "vector" else "logit"
        self.token, self.place = nn.Embedding(ids.cardinality, dim), nn.Embedding(params.place_rows, dim)
        self.table_inputs = {"token": ids.name}
        if params.type_rows:
            self.kind = nn.Embedding(params.type_rows, dim)
            if TYPES in input_names(params):
                self.table_inputs["kind"] = TYPES
        self.embedding_norm = nn.LayerNorm(dim, eps=params.blocks.eps)
        self.blocks = blocks(dim, params.blocks)
        if params.pool_layer:
            self.pool_layer, self.activation = nn.Linear(dim, dim), ACTIVATIONS[params.pool_activation]()
        self.dense = nn.ModuleList()
        for one in params.dense:
            self.dense.append(chain(dim, one))
            dim = one.widths[-1]
        if params.output == "score":
            self.output = nn.Linear(dim, 1)
        self.declare(token=Part.EMBEDDING, place=Part.EMBEDDING, kind=Part.EMBEDDING, output=Part.OUTPUT)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        if self.params.output == "pair":
            return self.params.scale * pair_score(self.vector, batch)
        vector = self.vector(batch[IDS], batch[MASK], batch.get(TYPES))
        return self.output(vector).squeeze(-1) if self.params.output == "score" else vector

    def vector(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
        """ids, mask (1 for a token, 0 for padding) and types, each (B, L) → (B, D)."""
        params = self.params
        x = self.token(ids) + self.place(torch.arange(ids.shape[1], device=ids.device) + params.place_from)
        if params.type_rows:
            x = x + (self.kind.weight[0] if types is None else self.kind(types))
        x, seen = self.embedding_norm(x), mask.to(x.dtype)
        for block in self.blocks:
            x = block(x, (1 - seen)[:, None, None, :] * FAR)
        vector = self._pooled(x, seen.unsqueeze(-1))
        if params.pool_layer:
            vector = self.activation(self.pool_layer(vector))
        for layer in self.dense:
            vector = layer(vector)
        return F.normalize(vector, dim=-1) if params.normalize else vector

    def _pooled(self, x: Tensor, seen: Tensor) -> Tensor:
        if self.params.pool == "first":
            return x[:, 0]
        if self.params.pool == "max":
            return (x + (1 - seen) * FAR).amax(1)
        return mean_of_tokens(x, seen)
