"""Weights without a config.json, as repositories leave them, and a short way through the importer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compression.importers.checkpoint.bound import bound
from compression.importers.checkpoint.catalogue import recognise
from compression.importers.checkpoint.choose import assembled, decided
from compression.importers.checkpoint.recognised import Settings
from compression.models.folder import LoadedModel
from compression.spec.records import Question


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * 0.4


def imported(state: dict[str, Tensor], answers: dict[str, Any] | None = None, *, came: dict[str, Any] | None = None,
             data_folder: Path | None = None) -> tuple[LoadedModel, dict[str, Question]]:
    """The model that weights are read as, and its questions by key."""
    settings = Settings(answers or {}, came)
    found = recognise(state, "model.pth", settings)
    signature = bound(found.fields, {}, vocabularies={}, data_folder=data_folder)
    config, questions = decided(found, settings, signature, vocabularies={}, data_folder=data_folder)
    module = assembled(found, config, signature)
    return LoadedModel(module, signature, {}, found.architecture, config), {one.key: one for one in questions}


def apart(loaded: LoadedModel, expected: Callable[..., Tensor], *inputs: Tensor) -> float:
    """The largest difference of logits; inputs in the order of the signature."""
    batch = dict(zip((item.name for item in loaded.signature.inputs), inputs, strict=True))
    with torch.no_grad():
        return float((loaded.module(batch) - expected(*inputs)).abs().max())


class SASRec(nn.Module):
    """Names and forward pass of github.com/pmixer/SASRec.pytorch: zeros in front, norms on queries.

    `timeline`: its first years, with places from 0 and the states of padding set to zero; later ones count places from
    1 and have no mask.
    """

    def __init__(self, n_items: int = 40, dim: int = 12, length: int = 6, n_blocks: int = 2, heads: int = 2, *,
                 timeline: bool = False) -> None:
        super().__init__()
        self.timeline = timeline
        self.item_emb = nn.Embedding(n_items + 1, dim, padding_idx=0)
        self.pos_emb = nn.Embedding(length, dim) if timeline else nn.Embedding(length + 1, dim, padding_idx=0)
        self.attention_layernorms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-8) for _ in range(n_blocks))
        self.attention_layers = nn.ModuleList(nn.MultiheadAttention(dim, heads) for _ in range(n_blocks))
        self.forward_layernorms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-8) for _ in range(n_blocks))
        self.forward_layers = nn.ModuleList(Feed(dim) for _ in range(n_blocks))
        self.last_layernorm = nn.LayerNorm(dim, eps=1e-8)

    def forward(self, history: Tensor, item: Tensor) -> Tensor:
        length = history.shape[1]
        x = self.item_emb(history) * self.item_emb.embedding_dim ** 0.5
        there = (history != 0).unsqueeze(-1)
        if self.timeline:
            x = (x + self.pos_emb(torch.arange(length))) * there
        else:
            x = x + self.pos_emb(torch.arange(1, length + 1) * (history != 0))
        later = torch.ones(length, length).triu(1).bool()
        for norm, attention, after, feed in zip(self.attention_layernorms, self.attention_layers,
                                                self.forward_layernorms, self.forward_layers, strict=True):
            x = x.transpose(0, 1)
            query = norm(x)
            x = (query + attention(query, x, x, attn_mask=later)[0]).transpose(0, 1)
            x = feed(after(x))
            x = x * there if self.timeline else x
        return (self.last_layernorm(x)[:, -1] * self.item_emb(item)).sum(-1)


class Feed(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(dim, dim, 1), nn.Conv1d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.conv1(x.transpose(1, 2)))).transpose(1, 2)


class GMF(nn.Module):
    """Names of the GMF of github.com/yihong-chen/neural-collaborative-filtering."""

    def __init__(self, n_users: int = 30, n_items: int = 50, dim: int = 8) -> None:
        super().__init__()
        self.embedding_user, self.embedding_item = nn.Embedding(n_users, dim), nn.Embedding(n_items, dim)
        self.affine_output = nn.Linear(dim, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return self.affine_output(self.embedding_user(user) * self.embedding_item(item)).squeeze(-1)


class NCF(nn.Module):
    """Names of the NeuMF of that repository: the network is read first."""

    def __init__(self, n_users: int = 30, n_items: int = 50, dim: int = 8) -> None:
        super().__init__()
        self.embedding_user_mlp, self.embedding_item_mlp = nn.Embedding(n_users, dim), nn.Embedding(n_items, dim)
        self.embedding_user_mf, self.embedding_item_mf = nn.Embedding(n_users, dim), nn.Embedding(n_items, dim)
        self.fc_layers = nn.ModuleList([nn.Linear(2 * dim, 16), nn.Linear(16, 8)])
        self.affine_output = nn.Linear(16, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        x = torch.cat([self.embedding_user_mlp(user), self.embedding_item_mlp(item)], -1)
        for layer in self.fc_layers:
            x = torch.relu(layer(x))
        both = [x, self.embedding_user_mf(user) * self.embedding_item_mf(item)]
        return self.affine_output(torch.cat(both, -1)).squeeze(-1)
