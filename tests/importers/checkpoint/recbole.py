"""Checkpoints and datasets as RecBole leaves them, made by hand: its names, its forward pass, its pickled objects."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.importers.checkpoint.tools import instance, saved, stranger

WORDS = {"uid": [f"u{place}" for place in range(1, 20)], "city": ["c", "b", "a"], "tags": ["x", "y", "z", "w"],
         "iid": [f"i{place}" for place in range(14, 0, -1)]}
KINDS = {"uid": "token", "iid": "token", "click": "float", "city": "token", "age": "float", "tags": "token_seq",
         "income": "float"}
CONTEXT = {"load_col": {"inter": ["uid", "iid", "click"], "user": ["uid", "city", "age", "income"],
                        "item": ["iid", "tags"]},
           "LABEL_FIELD": "click", "RATING_FIELD": "rating", "TIME_FIELD": "timestamp", "USER_ID_FIELD": "uid",
           "ITEM_ID_FIELD": "iid", "LIST_SUFFIX": "_list", "numerical_features": ["income", "age"], "threshold": None,
           "dropout_prob": 0.2, "discretization": None}


class FirstOrder(nn.Module):
    """A weight an id, lists added up."""

    def __init__(self, singles: list[int], lists: list[int], n_numbers: int, dim: int = 1) -> None:
        super().__init__()
        self.starts = np.array((0, *np.cumsum(singles)[:-1]))
        self.token_embedding_table = nn.ModuleDict({"embedding": nn.Embedding(sum(singles), dim)})
        self.float_embedding_table = nn.ModuleDict({"embedding": nn.Embedding(2 * n_numbers, dim)})
        self.token_seq_embedding_table = nn.ModuleList(nn.Embedding(rows, dim) for rows in lists)
        if dim == 1:
            self.bias = nn.Parameter(torch.randn(1))

    def vectors(self, lists: list[Tensor], singles: Tensor, numbers: Tensor, *, mean: bool) -> Tensor:
        """(B, F, D): lists, single ids, numbers."""
        found = []
        for table, ids in zip(self.token_seq_embedding_table, lists, strict=True):
            there = (ids != 0).float().unsqueeze(2)
            total = (there * table(ids)).sum(1)
            found.append(total / (there.sum(1) + 1e-8) if mean else total)
        places = 2 * torch.arange(numbers.shape[1]) + 1
        return torch.cat([torch.stack(found, 1),
                          self.token_embedding_table["embedding"](singles + singles.new_tensor(self.starts)),
                          numbers.unsqueeze(2) * self.float_embedding_table["embedding"](places)], 1)


class Context(FirstOrder):
    """RecBole's LR, FM, DeepFM, WideDeep and DCNV2: all of them keep vectors and first order, read or not."""

    def __init__(self, model: str, dim: int = 4) -> None:
        sizes = [20, 15, 4], [5], 2
        super().__init__(*sizes, dim)
        self.model, width = model, 6 * dim
        self.first_order_linear = FirstOrder(*sizes)
        if model in ("DeepFM", "WideDeep", "DCNV2"):
            norms = [nn.BatchNorm1d(8)] if model == "DCNV2" else []
            self.mlp_layers = nn.ModuleDict({"mlp_layers": nn.Sequential(
                nn.Dropout(0.2), nn.Linear(width, 8), *norms, nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 6), nn.ReLU())})
            if model == "DCNV2":
                self.mlp_layers["mlp_layers"].insert(6, nn.BatchNorm1d(6))
                self.cross_layer_w = nn.ParameterList(torch.randn(width, width) / 5 for _ in range(2))
                self.bias = nn.ParameterList(torch.randn(width, 1) for _ in range(2))
                self.predict_layer = nn.Linear(width + 6, 1)
            else:
                self.deep_predict_layer = nn.Linear(6, 1)

    def forward(self, tags: Tensor, uid: Tensor, iid: Tensor, city: Tensor, age: Tensor, income: Tensor) -> Tensor:
        read = [tags], torch.stack([uid, iid, city], 1), torch.stack([age, income], 1)
        vectors = self.vectors(*read, mean=True)
        if self.model == "DCNV2":
            return self._crossed(vectors.flatten(1)).squeeze(1)
        score = self.first_order_linear.vectors(*read, mean=False).sum((1, 2)) + self.first_order_linear.bias
        if self.model in ("FM", "DeepFM"):
            score = score + (vectors.sum(1) ** 2 - (vectors ** 2).sum(1)).sum(1) / 2
        if self.model in ("DeepFM", "WideDeep"):
            score = score + self.deep_predict_layer(self.mlp_layers["mlp_layers"](vectors.flatten(1))).squeeze(1)
        return score

    def _crossed(self, start: Tensor) -> Tensor:
        x = start
        for matrix, bias in zip(self.cross_layer_w, self.bias, strict=True):
            x = start * (x @ matrix.T + bias.squeeze(1)) + x
        return self.predict_layer(torch.cat([x, self.mlp_layers["mlp_layers"](start)], 1))


def context_rows(n: int = 9) -> tuple[Tensor, ...]:
    """tags, uid, iid, city, age, income, as `Context` reads them."""
    draw = torch.Generator().manual_seed(3)
    tags = torch.randint(1, 5, (n, 3), generator=draw) * (torch.arange(3) < torch.arange(n).unsqueeze(1) % 4)
    return tags, *(torch.randint(0, rows, (n,), generator=draw) for rows in (20, 15, 4)), *torch.randn(
        2, n, generator=draw)


def recbole_checkpoint(model: str, state: dict[str, Tensor], settings: dict[str, Any], **more: Any) -> bytes:
    """What Trainer._save_checkpoint writes: the Config object itself, and what the optimiser holds."""
    with stranger("recbole.config.configurator.Config") as config, stranger(
            "recbole.utils.enum_type.ModelType", __reduce__=lambda self: (type(self), (2,))) as kind:
        final = {"model": model, "dataset": "made", "MODEL_TYPE": kind(), "metrics": ["AUC"], **settings}
        made = instance(config, parameters={"General": ["seed"]}, yaml_loader=dict, final_config_dict=final, **more)
        return saved({"config": made, "epoch": 3, "cur_step": 0, "best_valid_score": np.float64(0.5),
                      "state_dict": state, "other_parameter": None,
                      "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}}, protocol=4)


def recbole_dataset(kinds: dict[str, str], words: dict[str, list[str]], **more: Any) -> bytes:
    """What Dataset.save pickles: kinds as members of enumerations, values as arrays of texts under numpy's texts."""
    def called(self):
        return type(self), (self.value,)

    with stranger("recbole.data.dataset.dataset.Dataset") as dataset, stranger(
            "recbole.utils.enum_type.FeatureType", __reduce__=called) as kind, stranger(
            "recbole.utils.enum_type.FeatureSource", __reduce__=called) as source:
        made = instance(dataset, dataset_name="made", field2type={
            name: instance(kind, value=value) for name, value in kinds.items()},
            field2source={name: instance(source, value="inter") for name in kinds},
            field2id_token={np.str_(name): np.array(["[PAD]", *values]) for name, values in words.items()}, **more)
        return pickle.dumps(made, protocol=4)
