"""Weights, feature map, vocabulary and settings as FuxiCTR leaves them, made by hand under its names."""

from __future__ import annotations

import json
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from tests.importers.checkpoint.tools import saved

FEATURES: dict[str, dict[str, Any]] = {
    "user": {"source": "", "type": "categorical", "padding_idx": 0, "vocab_size": 12},
    "age": {"source": "", "type": "numeric"},
    "tags": {"source": "", "type": "sequence", "feature_encoder": "layers.MaskedAveragePooling()", "padding_idx": 0,
             "max_len": 3, "vocab_size": 7},
    "item": {"source": "", "type": "categorical", "padding_idx": 0, "vocab_size": 9},
    "day": {"source": "", "type": "meta"}}
VOCABULARY = {name: {"__PAD__": 0} | {f"{name}{row}": row for row in range(1, about["vocab_size"] - 1)} | {
    "__OOV__": about["vocab_size"] - 1} for name, about in FEATURES.items() if "vocab_size" in about}


def embedding(dim: int) -> nn.ModuleDict:
    """FeatureEmbedding's own two levels around a layer a feature."""
    layers = nn.ModuleDict({name: nn.Linear(1, dim, bias=False) if about["type"] == "numeric" else
                            nn.Embedding(about["vocab_size"], dim, padding_idx=0)
                            for name, about in FEATURES.items() if about["type"] != "meta"})
    return nn.ModuleDict({"embedding_layer": nn.ModuleDict({"embedding_layers": layers})})


def vectors(layer: nn.ModuleDict, read: dict[str, Tensor], *, mean: bool) -> Tensor:
    """(B, F, D); a list is averaged over its ids, or added up."""
    found = []
    for name, one in layer["embedding_layer"]["embedding_layers"].items():
        vector = one(read[name].view(-1, 1) if FEATURES[name]["type"] == "numeric" else read[name])
        if FEATURES[name]["type"] == "sequence":
            vector = vector.sum(1) / ((read[name] != 0).sum(1, keepdim=True) + 1e-12) if mean else vector.sum(1)
        found.append(vector)
    return torch.stack(found, 1)


class LogisticRegression(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.embedding_layer = embedding(1)
        self.bias = nn.Parameter(torch.randn(1)) if bias else None

    def forward(self, read: dict[str, Tensor]) -> Tensor:
        total = vectors(self.embedding_layer, read, mean=False).sum(1)
        return total if self.bias is None else total + self.bias


def network(width: int, activation: type[nn.Module], *, norm: bool, last: bool) -> nn.ModuleDict:
    norms = ([nn.BatchNorm1d(n)] if norm else [] for n in (8, 6))
    return nn.ModuleDict({"mlp": nn.Sequential(
        nn.Linear(width, 8), *next(norms), activation(), nn.Dropout(0.1), nn.Linear(8, 6), *next(norms), activation(),
        nn.Dropout(0.1), *([nn.Linear(6, 1)] if last else []))})


class Model(nn.Module):
    """LR, FM, DeepFM, WideDeep and DCNv2 in either structure, under FuxiCTR's names."""

    def __init__(self, kind: str, activation: type[nn.Module] = nn.Tanh, dim: int = 4) -> None:
        super().__init__()
        self.kind, width = kind, 4 * dim
        if kind != "LR":
            self.embedding_layer = embedding(dim)
        if kind in ("LR", "WideDeep"):
            self.lr_layer = LogisticRegression(kind == "LR")
        if kind in ("FM", "DeepFM"):
            self.fm = nn.ModuleDict({"lr_layer": LogisticRegression(True)})
        if kind in ("DeepFM", "WideDeep"):
            setattr(self, "mlp" if kind == "DeepFM" else "dnn", network(width, activation, norm=True, last=True))
        if kind.startswith("DCNv2"):
            self.crossnet = nn.ModuleDict({"cross_layers": nn.ModuleList(nn.Linear(width, width) for _ in range(2))})
            self.side = "stacked_dnn" if kind.endswith("stacked") else "parallel_dnn"
            setattr(self, self.side, network(width, activation, norm=False, last=False))
            self.fc = nn.Linear(6 if kind.endswith("stacked") else 6 + width, 1)

    def forward(self, user: Tensor, age: Tensor, tags: Tensor, item: Tensor) -> Tensor:
        read = {"user": user, "age": age, "tags": tags, "item": item}
        if self.kind == "LR":
            return self.lr_layer(read).squeeze(1)
        x = vectors(self.embedding_layer, read, mean=True)
        flat = x.flatten(1)
        if self.kind.startswith("DCNv2"):
            crossed = flat
            for layer in self.crossnet["cross_layers"]:
                crossed = crossed + flat * layer(crossed)
            deep = getattr(self, self.side)["mlp"]
            return self.fc(deep(crossed) if self.side == "stacked_dnn" else torch.cat([crossed, deep(flat)], 1)
                           ).squeeze(1)
        score = self.lr_layer(read) if self.kind == "WideDeep" else self.fm["lr_layer"](read)
        if self.kind != "WideDeep":
            score = score + ((x.sum(1) ** 2 - (x ** 2).sum(1)).sum(1, keepdim=True)) / 2
        if self.kind != "FM":
            score = score + (self.mlp if self.kind == "DeepFM" else self.dnn)["mlp"](flat)
        return score.squeeze(1)


def rows(n: int = 11) -> tuple[Tensor, ...]:
    """user, age, tags, item, with FuxiCTR's rows; the last of each table stands for ids it never saw."""
    draw = torch.Generator().manual_seed(2)
    tags = torch.randint(1, 6, (n, 3), generator=draw) * (torch.arange(3) >= torch.arange(n).unsqueeze(1) % 4)
    user, item = torch.randint(1, 12, (n,), generator=draw), torch.randint(1, 9, (n,), generator=draw)
    user[-1], item[0] = 11, 8
    return user, torch.randn(n, generator=draw), tags, item


def fuxictr_files(weights: nn.Module, /, *, features: dict[str, dict[str, Any]] | None = None,
                  vocabulary: dict[str, Any] | None = None, **settings: Any) -> dict[str, bytes]:
    """The upload: weights, feature map, vocabulary, settings."""
    made = {"dataset_id": "made", "num_fields": 4, "total_features": 28, "input_length": 6, "labels": ["click"],
            "features": [{name: about} for name, about in (features or FEATURES).items()]}
    settings = {"model": "DeepFM", "net_dropout": 0.1, "hidden_activations": "tanh"} | settings
    return {"made.model": saved(weights.state_dict()), "feature_map.json": json.dumps(made).encode(),
            "feature_vocab.json": json.dumps(VOCABULARY if vocabulary is None else vocabulary).encode(),
            "model_config.yaml": yaml.safe_dump({"Base": {"seed": 1}, "made": settings}).encode()}
