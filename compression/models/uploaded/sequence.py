"""Attention over a history, its last state against the candidate, whose vector comes from the same table.

Source: Kang & McAuley 2018, arXiv:1808.09781. Here: one candidate a row, as every model of ours scores; lists come with
zeros behind, and are moved to the end first where the model was trained with zeros in front.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from compression.models.uploaded.blocks import blocks
from compression.models.uploaded.params import SequenceParams
from compression.models.zoo.fields import RankingModel
from compression.spec.errors import ModelError
from compression.spec.records import Part
from compression.spec.signature import Signature

FAR = -1e9  # added to the weight of a place that is not looked at


def history_and_item(signature: Signature, length: int) -> tuple[str, str, int]:
    """Names of the two inputs, and the rows of the item table. Raises ModelError."""
    kinds = {item.kind: item for item in signature.inputs}
    if len(signature.inputs) != 2 or set(kinds) != {"multi", "category"}:
        raise ModelError("A model of histories has two inputs: a list (the history) and a category (the candidate).")
    if kinds["multi"].max_length != length:
        raise ModelError(f"The history of this model has {length} places; the signature says "
                         f"{kinds['multi'].max_length}.")
    return kinds["multi"].name, kinds["category"].name, max(item.cardinality for item in signature.inputs)


def filled(history: Tensor) -> Tensor:
    """(B, L) ids → (B,): places up to the last id, at least 1."""
    places = torch.arange(1, history.shape[1] + 1, device=history.device)
    return ((history != 0) * places).amax(1).clamp(min=1)


def moved_to_end(history: Tensor) -> Tensor:
    """Ids (B, L) with the zeros behind them moved in front; rows that end in an id stay."""
    length = history.shape[1]
    places = torch.arange(length, device=history.device) + filled(history).unsqueeze(1)  # (B, L)
    return history.gather(1, places % length)


def last_state(states: Tensor, history: Tensor, padding: str) -> Tensor:
    """(B, L, D) → (B, D): the state at the last id."""
    if padding == "front":
        return states[:, -1]
    place = (filled(history) - 1).view(-1, 1, 1).expand(-1, 1, states.shape[2])
    return states.gather(1, place).squeeze(1)


class Sequence(RankingModel):
    """forward({history (B, L), item (B,)}) → (B,) logits."""

    def __init__(self, signature: Signature, params: SequenceParams) -> None:
        super().__init__()
        self.history, self.candidate, rows = history_and_item(signature, params.length)
        self.params, dim = params, params.embedding_dim
        self.item, self.place = nn.Embedding(rows, dim), nn.Embedding(params.place_rows, dim)
        if params.embedding_norm:
            self.embedding_norm = nn.LayerNorm(dim, eps=params.blocks.eps)
        if params.outer_norm != "none":
            self.outer_norm = nn.LayerNorm(dim, eps=params.blocks.eps)
        self.blocks = blocks(dim, params.blocks)
        if params.final_norm:
            self.final_norm = nn.LayerNorm(dim, eps=params.blocks.eps)
        self.table_inputs = {"item": self.history}
        self.declare(item=Part.EMBEDDING, place=Part.EMBEDDING)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        params, history = self.params, batch[self.history]
        if params.padding == "front":
            history = moved_to_end(history)
        x = self.item(history)
        if params.scale == "root":
            x = x * math.sqrt(params.embedding_dim)
        there = (history != 0).to(x.dtype)  # (B, L)
        places = torch.arange(params.length, device=history.device) + params.position_from
        if params.position_from:
            places = places * (history != 0)  # row 0 is the place of padding
        x = x + self.place(places)
        if params.embedding_norm:
            x = self.embedding_norm(x)
        if params.outer_norm == "embedding":
            x = self.outer_norm(x)
        x, mask = self._masked(x, there), self._far(there)
        for block in self.blocks:
            x = self._masked(block(x, mask), there)
        if params.final_norm:
            x = self.final_norm(x)
        if params.outer_norm == "final":
            x = self.outer_norm(x)
        return (self._read(x, there, history) * self.item(batch[self.candidate])).sum(-1)

    def _read(self, x: Tensor, there: Tensor, history: Tensor) -> Tensor:
        """States (B, L, D) → (B, D): what is compared with the candidate."""
        if self.params.read_from == "last":
            return last_state(x, history, self.params.padding)
        if self.params.read_from == "places":
            return x.mean(1)
        return (x * there.unsqueeze(-1)).sum(1) / there.sum(1, keepdim=True).clamp(min=1)

    def _masked(self, x: Tensor, there: Tensor) -> Tensor:
        """States (B, L, D), those of padding as zeros where the model sets them so."""
        return x * there.unsqueeze(-1) if self.params.mask in ("states", "both") else x

    def _far(self, there: Tensor) -> Tensor:
        """What is added to the weights of the attention, (L, L) or (B, 1, L, L)."""
        length = self.params.length
        seen = torch.ones(length, length, device=there.device)
        seen = seen.tril() if self.params.causal else seen
        if self.params.mask in ("keys", "both"):
            seen = seen * there[:, None, None, :]
        return (1 - seen) * FAR
