"""LightGCN: tables are averaged over the layers of an interaction graph before users and items are compared.

A checkpoint holds the tables from before. The graph is that of the bound dataset's train rows of label 1.
Source: He et al. 2020, arXiv:2002.02126.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from compression.spec.errors import ModelError
from compression.spec.records import Question

MAX_LAYERS = 4
_NAMED = re.compile(r"(lgn|mf)-.+?(?:-(\d+))?-(\d+)\.pth\.tar")
_TABLES = {"embedding_user.weight", "embedding_item.weight"}


def graph_question(guess: int = 0) -> Question:
    return Question(key="graph_layers", choices=tuple(range(MAX_LAYERS + 1)), answer=guess,
                    text="Over how many layers of the interaction graph are the tables averaged before the comparison "
                         "(LightGCN; 0 for matrix factorisation)?")


def layers_by_name(name: str, state: dict[str, Tensor]) -> dict[str, int]:
    """What LightGCN-PyTorch says in a file's name: lgn-gowalla-3-64.pth.tar has 3 layers, mf-gowalla-64.pth.tar none.

    Source: github.com/gusye1234/LightGCN-PyTorch, code/utils.py, getFileName.
    """
    found = _NAMED.fullmatch(name)
    if found is None or set(state) != _TABLES or {one.shape[-1] for one in state.values()} != {int(found[3])}:
        return {}
    n_layers = 0 if found[1] == "mf" else int(found[2] or MAX_LAYERS + 1)
    return {"graph_layers": n_layers} if n_layers <= MAX_LAYERS else {}


def propagated(user: Tensor, item: Tensor, users: Tensor, items: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Both tables, (U, D) and (I, D), after as many layers as there are `weights`, less one.

    users, items (E,): the edges. weights (K + 1,): what each layer counts for, the tables themselves first.
    """
    edges = torch.unique(torch.stack([users, items]), dim=1)
    users, items = edges[0], edges[1]
    by_user, by_item = (torch.bincount(ids, minlength=len(table)).double()
                        for ids, table in ((users, user), (items, item)))
    share = (by_user[users] * by_item[items]).rsqrt().unsqueeze(1)  # (E, 1)
    sides = user.double(), item.double()
    sums = [side * weights[0] for side in sides]
    for weight in weights[1:]:
        sides = (torch.zeros_like(sides[0]).index_add_(0, users, share * sides[1][items]),
                 torch.zeros_like(sides[1]).index_add_(0, items, share * sides[0][users]))
        sums = [found + weight * side for found, side in zip(sums, sides, strict=True)]
    return sums[0].to(user.dtype), sums[1].to(item.dtype)


def mean_weights(n_layers: int) -> Tensor:
    return torch.full((n_layers + 1,), 1 / (n_layers + 1), dtype=torch.float64)


def needs_graph(n_layers: int) -> ModelError:
    return ModelError(f"The tables are those from before {n_layers} layers of a graph (LightGCN), and only the "
                      "interactions that the model was trained on can propagate them. Choose that dataset, with users "
                      "and items bound to its columns, or save the propagated tables (the output of the model's "
                      "forward pass) and upload those.")
