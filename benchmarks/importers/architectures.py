"""Ten ranking models in plain torch, with positional inputs, as a stranger would have trained them elsewhere.

Each scores one candidate a row: forward(*inputs) → (B,) logits. Sources are named with each.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

USERS, ITEMS, GENRES, LENGTH = 200, 300, 20, 12


@dataclass(frozen=True)
class Foreign:
    """A model, example inputs of 5 rows, the columns its wide inputs are bound to, and what weights alone don't say."""

    key: str
    title: str
    make: Callable[[], nn.Module]
    inputs: dict[str, Tensor]
    binding: dict[str, object] = field(default_factory=dict)
    answers: dict[str, object] = field(default_factory=dict)


def ids(high: int, *shape: int) -> Tensor:
    return torch.randint(1, high, shape, generator=torch.Generator().manual_seed(high + len(shape)))


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class MF(nn.Module):
    """Matrix factorisation with biases. Koren et al. 2009."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(USERS, dim), nn.Embedding(ITEMS, dim)
        self.user_bias, self.item_bias = nn.Embedding(USERS, 1), nn.Embedding(ITEMS, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return (self.user(user) * self.item(item)).sum(-1) + (self.user_bias(user) + self.item_bias(item)).squeeze(-1)


class NeuMF(nn.Module):
    """A product and a network side by side. He et al. 2017, arXiv:1708.05031."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.user_gmf, self.item_gmf = nn.Embedding(USERS, dim), nn.Embedding(ITEMS, dim)
        self.user_mlp, self.item_mlp = nn.Embedding(USERS, dim), nn.Embedding(ITEMS, dim)
        self.tower, self.out = mlp(2 * dim, 16, dim), nn.Linear(2 * dim, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        deep = self.tower(torch.cat([self.user_mlp(user), self.item_mlp(item)], 1))
        return self.out(torch.cat([self.user_gmf(user) * self.item_gmf(item), deep], 1)).squeeze(-1)


class DLRM(nn.Module):
    """Bags of ids, numbers through an MLP, dot products. Naumov et al. 2019, arXiv:1906.00091."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.bottom, self.user = mlp(2, 16, dim), nn.Embedding(USERS, dim)
        self.genres = nn.EmbeddingBag(GENRES, dim, mode="sum")
        self.top = mlp(dim + 3, 16, 1)
        self.register_buffer("pairs", torch.tril_indices(3, 3, -1), persistent=False)

    def forward(self, dense: Tensor, user: Tensor, genres: Tensor) -> Tensor:
        x = self.bottom(dense)
        vectors = torch.stack([x, self.user(user), self.genres(genres)], 1)
        dots = vectors @ vectors.transpose(1, 2)
        return self.top(torch.cat([x, dots[:, self.pairs[0], self.pairs[1]]], 1)).squeeze(-1)


class DeepFM(nn.Module):
    """One table for all fields, offsets inside. Guo et al. 2017, arXiv:1703.04247."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.table, self.linear = nn.Embedding(USERS + ITEMS, dim), nn.Embedding(USERS + ITEMS, 1)
        self.deep = nn.Sequential(nn.Linear(2 * dim, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
        self.register_buffer("offsets", torch.tensor([0, USERS]))

    def forward(self, ids: Tensor) -> Tensor:
        places = ids + self.offsets
        vectors = self.table(places)
        pairs = 0.5 * (vectors.sum(1) ** 2 - (vectors ** 2).sum(1)).sum(1)
        return pairs + self.linear(places).sum((1, 2)) + self.deep(vectors.flatten(1)).squeeze(-1)


class DCNv2(nn.Module):
    """Cross layers beside a deep network. Wang et al. 2021, arXiv:2008.13535."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(USERS, dim), nn.Embedding(ITEMS, dim)])
        width = 2 * dim + 2
        self.cross = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])
        self.deep, self.out = mlp(width, 16, 8), nn.Linear(width + 8, 1)

    def forward(self, cat: Tensor, dense: Tensor) -> Tensor:
        start = torch.cat([*(table(cat[:, place]) for place, table in enumerate(self.tables)), dense], 1)
        x = start
        for layer in self.cross:
            x = start * layer(x) + x
        return self.out(torch.cat([x, self.deep(start)], 1)).squeeze(-1)


class SASRec(nn.Module):
    """Self-attention over the history, the candidate in the same table. Kang & McAuley 2018, arXiv:1808.09781."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.item, self.place = nn.Embedding(ITEMS, dim, padding_idx=0), nn.Embedding(LENGTH, dim)
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(3)])
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.feed = mlp(dim, dim, dim)
        self.register_buffer("later", torch.ones(LENGTH, LENGTH).triu(1).bool(), persistent=False)

    def forward(self, history: Tensor, item: Tensor) -> Tensor:
        x = self.item(history) * 4.0 + self.place.weight
        normed = self.norms[0](x)
        weights = self.query(normed) @ self.key(normed).transpose(1, 2) / 4.0
        weights = weights.masked_fill(self.later, -1e9).softmax(-1)
        x = x + weights @ self.value(normed)
        x = self.norms[2](x + self.feed(self.norms[1](x)))
        return (x[:, -1] * self.item(item)).sum(-1)


class TwoTower(nn.Module):
    """A tower for the user, one for the item, their cosine. Huang et al. 2013 (DSSM)."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(USERS, dim), nn.Embedding(ITEMS, dim)
        self.user_tower, self.item_tower = mlp(dim, 16, 8), mlp(dim, 16, 8)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        left, right = self.user_tower(self.user(user)), self.item_tower(self.item(item))
        return 5.0 * (F.normalize(left, dim=-1) * F.normalize(right, dim=-1)).sum(-1)


class GRU4Rec(nn.Module):
    """A recurrent network over the history. Hidasi et al. 2016, arXiv:1511.06939."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.item = nn.Embedding(ITEMS, dim, padding_idx=0)
        self.gru, self.out = nn.GRU(dim, 24, batch_first=True), nn.Linear(24, dim)

    def forward(self, history: Tensor, item: Tensor) -> Tensor:
        states, _ = self.gru(self.item(history))
        return (self.out(states[:, -1]) * self.item(item)).sum(-1)


class CrossEncoder(nn.Module):
    """A transformer over the tokens of a pair, torch's own encoder layers. Nogueira & Cho 2019, arXiv:1901.04085."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(ITEMS, dim), nn.Embedding(LENGTH, dim)
        layer = nn.TransformerEncoderLayer(dim, 2, 32, 0.0, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.out = nn.Linear(dim, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(torch.tanh(self.encoder(self.token(tokens) + self.place.weight)[:, 0])).squeeze(-1)


class TextCNN(nn.Module):
    """Convolutions over tokens, the largest of each filter. Kim 2014, arXiv:1408.5882."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.token = nn.Embedding(ITEMS, dim)
        self.filters, self.out = nn.Conv1d(dim, 16, 3, padding=1), nn.Linear(16, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(torch.relu(self.filters(self.token(tokens).transpose(1, 2))).amax(-1)).squeeze(-1)


PAIR = {"user": ids(USERS, 5), "item": ids(ITEMS, 5)}
HISTORY = {"history": ids(ITEMS, 5, LENGTH), "item": ids(ITEMS, 5)}
LIST = {"kind": "multi", "column": "history", "ids": "as-is"}
ARCHITECTURES = (
    Foreign("mf", "MF", MF, PAIR),
    Foreign("neumf", "NeuMF", NeuMF, PAIR, answers={"mlp.last": "plain"}),
    Foreign("dlrm", "DLRM (EmbeddingBag)", DLRM,
            {"dense": torch.randn(5, 2), "user": ids(USERS, 5), "genres": ids(GENRES, 5, 4)},
            {"inputs": {"dense": {"columns": ["age", "price"]}, "genres": LIST | {"column": "genres"}}},
            {"fields": ["user", "genres"], "numbers": ["age", "price"], "lists": ["genres"], "pooling": "sum",
             "skip_padding": False, "bottom.last": "plain"}),
    Foreign("deepfm", "DeepFM (one table)", DeepFM, {"ids": torch.stack([ids(USERS, 5), ids(ITEMS, 5)], 1)},
            {"inputs": {"ids": {"columns": ["user", "item"], "ids": "as-is"}}}, {"fields": ["user", "item"]}),
    Foreign("dcnv2", "DCN v2", DCNv2,
            {"cat": torch.stack([ids(USERS, 5), ids(ITEMS, 5)], 1), "dense": torch.randn(5, 2)},
            {"inputs": {"cat": {"columns": ["user", "item"]}, "dense": {"columns": ["age", "price"]}}},
            {"fields": ["user", "item"], "numbers": ["age", "price"], "mlp.last": "plain"}),
    Foreign("sasrec", "SASRec (tied table)", SASRec, HISTORY, {"inputs": {"history": LIST}}),
    Foreign("twotower", "Two towers", TwoTower, PAIR, answers={"scale": 5.0}),
    Foreign("gru4rec", "GRU4Rec", GRU4Rec, HISTORY, {"inputs": {"history": LIST}}, {"length": LENGTH}),
    Foreign("cross", "Cross-encoder", CrossEncoder, {"tokens": ids(ITEMS, 5, LENGTH)}, {"inputs": {
        "tokens": LIST}}, {"blocks.heads": 2}),
    Foreign("textcnn", "Text CNN", TextCNN, {"tokens": ids(ITEMS, 5, LENGTH)}, {"inputs": {"tokens": LIST}},
            {"length": LENGTH}),
)
