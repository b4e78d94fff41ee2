"""Transformer blocks whose leaves are plain dense layers and norms, so that every method reaches them.

Packed projections of torch's attention are taken apart; a mask is added by the caller. Source: Vaswani et al. 2017.
Legend: B batch, L length, D width, H heads, W width of a head.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from compression.models.uploaded.chain import ACTIVATIONS
from compression.models.uploaded.params import BlocksParams


class Attention(nn.Module):
    """queries from (B, L, D), keys and values from (B, L, D) → (B, L, D)."""

    def __init__(self, dim: int, params: BlocksParams) -> None:
        super().__init__()
        self.heads, self.width = params.heads, dim // params.heads  # pruning leaves fewer heads of the same width
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=params.attention_bias) for _ in range(3))
        self.out = nn.Linear(dim, dim, bias=params.attention_bias) if params.attention_output else nn.Identity()

    def forward(self, queries: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        rows, length, _ = source.shape
        q, k, v = (part.view(rows, length, self.heads, self.width).transpose(1, 2)  # (B, H, L, W)
                   for part in (self.query(queries), self.key(source), self.value(source)))
        weights = q @ k.transpose(-2, -1) / math.sqrt(self.width)
        weights = (weights if mask is None else weights + mask).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(rows, length, self.heads * self.width))


class Block(nn.Module):
    """Attention and a network of two layers, with the norms where `params.norm` says."""

    unit_pairs = (("widen", "narrow"),)  # between the two every unit is by itself, so that single units may go

    def __init__(self, dim: int, params: BlocksParams) -> None:
        super().__init__()
        self.place = params.norm
        self.attention = Attention(dim, params)
        self.first_norm, self.second_norm = (nn.LayerNorm(dim, eps=params.eps) for _ in range(2))
        self.widen, self.narrow = nn.Linear(dim, params.feed_width), nn.Linear(params.feed_width, dim)
        self.activation = ACTIVATIONS[params.activation]()

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.place == "post":
            x = self.first_norm(x + self.attention(x, x, mask))
            return self.second_norm(x + self._feed(x))
        normed = self.first_norm(x)
        if self.place == "pre":
            x = x + self.attention(normed, normed, mask)
            return x + self._feed(self.second_norm(x))
        x = self.second_norm(normed + self.attention(normed, x, mask))
        return x + self._feed(x)

    def _feed(self, x: Tensor) -> Tensor:
        return self.narrow(self.activation(self.widen(x)))


def blocks(dim: int, params: BlocksParams) -> nn.ModuleList:
    return nn.ModuleList(Block(dim, params) for _ in range(params.n_blocks))
