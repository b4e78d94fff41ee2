"""What every model of the zoo begins with: one table for each field, numbers as scaled vectors, and plain MLPs.

Legend: B batch, L length of a multi-valued field, F fields, D embedding dim, V vocabulary rows.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from compression.spec.names import attribute_name, free_name
from compression.spec.records import Part
from compression.spec.signature import Input, Signature

EMBEDDING_STD = 0.01


def pool_mean(vectors: Tensor, ids: Tensor) -> Tensor:
    """Mean over the ids that aren't padding: vectors (B, L, D), ids (B, L) → (B, D); all padding gives zeros.

    Written as a masked sum, because EmbeddingBag exports to a Loop that is up to 44 times slower.
    """
    mask = (ids != 0).to(vectors.dtype).unsqueeze(-1)  # (B, L, 1)
    return (vectors * mask).sum(1) / mask.sum(1).clamp(min=1.0)


def mlp(n_in: int, hidden: tuple[int, ...], n_out: int | None, *, dropout: float = 0.0,
        batch_norm: bool = False) -> nn.Sequential:
    """Linear → BatchNorm1d → ReLU → Dropout for each hidden layer, then Linear(n_out) unless `n_out` is None.

    Source: the order of FuxiCTR's MLP_Block and of the papers; Xavier normal weights, zero biases.
    """
    layers: list[nn.Module] = []
    for width in hidden:
        layers.append(_linear(n_in, width))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.ReLU())
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        n_in = width
    if n_out is not None:
        layers.append(_linear(n_in, n_out))
    return nn.Sequential(*layers)


def _linear(n_in: int, n_out: int) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def safe_keys(signature: Signature) -> dict[str, str]:
    """Input name → key of its table in a ModuleDict: letters, digits and _, unique, no attribute of the dict, no
    word of Python."""
    reserved = {"read", *dir(nn.ModuleDict()), *dir(Fields)}
    keys: dict[str, str] = {}
    for index, item in enumerate(signature.inputs):
        key = attribute_name(re.sub(r"[^0-9A-Za-z_]", "_", item.name))
        if not key or key in reserved or not key[0].isalpha():
            key = f"field_{index}_{key}"
        keys[item.name] = free_name(key, keys.values())
    return keys


class NumberVector(nn.Module):
    """A number times a learned vector: values (B,) → (B, D), as FM-type models read numbers."""

    is_leaf = True

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))
        nn.init.normal_(self.weight, std=EMBEDDING_STD)

    def forward(self, values: Tensor) -> Tensor:
        return values.unsqueeze(-1) * self.weight


class Bias(nn.Module):
    """Learned numbers, added to what comes in; one of them for a logit."""

    is_leaf = True

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, values: Tensor) -> Tensor:
        return values + self.bias


class Fields(nn.ModuleDict):
    """A table for each category and multi-valued input and, with `numbers`, a vector for each number.

    forward: {input name: tensor} → list of (B, D), in the order of the signature.
    """

    def __init__(self, signature: Signature, dim: int, *, numbers: bool = True) -> None:
        super().__init__()
        keys = safe_keys(signature)
        self.read: list[tuple[str, Input]] = []
        self.folded: tuple[str, ...] = ()  # keys of constant vectors that the MLP's first bias holds already
        for item in signature.inputs:
            if item.kind == "number" and not numbers:
                continue
            self[keys[item.name]] = NumberVector(dim) if item.kind == "number" else _table(item, dim)
            self.read.append((keys[item.name], item))

    def forward(self, batch: dict[str, Tensor]) -> list[Tensor]:
        vectors = []
        for key, item in self.read:
            found = self[key](batch[item.name])
            vectors.append(pool_mean(found, batch[item.name]) if item.kind == "multi" else found)
        return vectors

    def joined(self, vectors: list[Tensor]) -> Tensor:
        """What the MLP reads, (B, F·D): the vectors side by side, without those that are folded into it."""
        return torch.cat([vector for (key, _), vector in zip(self.read, vectors, strict=True)
                          if key not in self.folded], 1)

    def inputs_of(self, prefix: str) -> dict[str, str]:
        """Path of each table below `prefix` → name of its input."""
        return {f"{prefix}.{key}": item.name for key, item in self.read if item.kind != "number"}


def _table(item: Input, dim: int) -> nn.Embedding:
    """Row 0 (unknown, padding) starts at zero, so that an id never seen in training adds nothing of its own."""
    with torch.no_grad():
        table = nn.Embedding(item.cardinality, dim, _weight=torch.empty(item.cardinality, dim))
        nn.init.normal_(table.weight, std=EMBEDDING_STD)
        table.weight[0].zero_()
    return table


class RankingModel(nn.Module):
    """Base of the zoo: which tables read which inputs, which leaves are which part, which Sequentials are MLPs.

    table_inputs: path of a table → input name. parts: path prefix → Part. mlps: paths of plain Sequentials.
    joined_by: path of the dense layer that reads `tables.joined`, if one does; joined_only: nothing else reads them.
    """

    joined_by: str | None = None
    joined_only: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.table_inputs: dict[str, str] = {}
        self.parts: dict[str, Part] = {}
        self.mlps: tuple[str, ...] = ()

    def declare(self, **parts: Part) -> None:
        """Register what each top-level module is; tables and the last Linear of an MLP are found by themselves."""
        self.parts = dict(parts)
        for name, module in self.named_children():
            if isinstance(module, Fields):
                self.table_inputs |= module.inputs_of(name)
                self.parts[name] = Part.EMBEDDING
            elif isinstance(module, nn.Sequential):
                self.mlps += (name,)
                self.parts.setdefault(name, Part.DENSE)
                last = len(module) - 1
                if isinstance(module[last], nn.Linear) and module[last].out_features == 1:
                    self.parts[f"{name}.{last}"] = Part.OUTPUT

    @torch.no_grad()
    def rescale_tables(self, std: float) -> None:
        """Give fresh vectors and weights of ids and numbers this standard deviation."""
        for fields in self.children():
            if isinstance(fields, Fields):
                for weight in fields.parameters():
                    weight.mul_(std / EMBEDDING_STD)


def pairwise(vectors: list[Tensor]) -> Tensor:
    """Sum of the dot products of all pairs: F × (B, D) → (B,), in time linear in F.

    Source: Rendle 2010, equation 5: ½ ((Σ v)² − Σ v²).
    """
    stacked = torch.stack(vectors, 1)  # (B, F, D)
    return 0.5 * (stacked.sum(1).square() - stacked.square().sum(1)).sum(-1)
