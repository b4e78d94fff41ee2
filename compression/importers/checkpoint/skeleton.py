"""A state dict as the layers it must have come from, by the names and shapes of its tensors alone.

    for leaf in leaves_of(state): leaf.path, leaf.kind, leaf.weight

Kinds: table, linear, batch_norm, layer_norm, conv, attention (torch's packed one), gru, tensor (anything else).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

_TABLE = re.compile(r"emb|table|lookup|factor|vocab")
_NUMBERED_DENSE = re.compile(r"(mlp|dnn|tower|fc|dense|linear|deep|layers?|net|cross)[\w.]*\.\d+$")
_SIDE = re.compile(r"user|item|token|word|movie")
_DENSE = re.compile(r"fc|linear|dense|proj|out|predict|affine|mlp|dnn|deep|tower|kernel|cross|head|cls|logit|query|key|"
                    r"value|dot|hidden")


@dataclass(frozen=True)
class Leaf:
    """A layer of the model that was saved: its path, its kind, its tensors by their last name."""

    path: str
    kind: str
    tensors: dict[str, Tensor] = field(compare=False)

    @property
    def weight(self) -> Tensor:
        return self.tensors.get("weight", next(iter(self.tensors.values())))

    @property
    def n_out(self) -> int:
        return self.weight.shape[0]

    @property
    def n_in(self) -> int:
        return self.weight.shape[1]

    def named(self, words: str) -> bool:
        """Whether the path has one of the words (a pattern), in any case."""
        return re.search(words, self.path.lower()) is not None

    def as_linear(self) -> "Leaf":
        """A convolution of width 1 as the dense layer it is."""
        if self.kind != "conv":
            return self
        return Leaf(self.path, "linear", {**self.tensors, "weight": self.tensors["weight"].squeeze(-1)})


def leaves_of(state: dict[str, Tensor]) -> tuple[Leaf, ...]:
    """The leaves in the order of the state dict. Nothing is left out: what is no layer is a `tensor` of its own."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        path, _, last = name.rpartition(".")
        groups.setdefault(path, {})[last] = tensor
    packed = {path for path, tensors in groups.items() if "in_proj_weight" in tensors}
    found: list[Leaf] = []
    for path, tensors in groups.items():
        if path in packed:
            out = groups.get(f"{path}.out_proj", {})
            found.append(Leaf(path, "attention", tensors | {f"out_{name}": tensor for name, tensor in out.items()}))
        elif not (path.endswith(".out_proj") and path.removesuffix(".out_proj") in packed):
            found += _leaves(path, tensors)
    return tuple(found)


def of_kind(leaves: Iterable[Leaf], *kinds: str) -> list[Leaf]:
    return [leaf for leaf in leaves if leaf.kind in kinds]


def chained(linears: list[Leaf]) -> list[list[Leaf]]:
    """Dense layers in their order, cut where one doesn't read what the one before gives, and behind a width of 1."""
    chains: list[list[Leaf]] = []
    for leaf in linears:
        if chains and chains[-1][-1].n_out == leaf.n_in and chains[-1][-1].n_out > 1:
            chains[-1].append(leaf)
        else:
            chains.append([leaf])
    return chains


def _leaves(path: str, tensors: dict[str, Tensor]) -> list[Leaf]:
    kind = _kind(path, tensors)
    if kind:
        return [Leaf(path, kind, tensors)]
    return [Leaf(f"{path}.{last}" if path else last, _bare_kind(path, last, tensor), {last: tensor})
            for last, tensor in tensors.items() if last != "num_batches_tracked"]


def _kind(path: str, tensors: dict[str, Tensor]) -> str | None:
    names, weight, bias = set(tensors), tensors.get("weight"), tensors.get("bias")
    if "weight_ih_l0" in names and "weight_hh_l0" in names:
        whole = tensors["weight_ih_l0"].dim() == tensors["weight_hh_l0"].dim() == 2
        triple = whole and tensors["weight_hh_l0"].shape[0] == 3 * tensors["weight_hh_l0"].shape[1]
        return "gru" if triple and not any(name.endswith("_reverse") for name in names) else None
    if weight is None or not weight.is_floating_point() or names - {
            "weight", "bias", "running_mean", "running_var", "num_batches_tracked"}:
        return None
    if bias is not None and (bias.dim() != 1 or bias.shape[0] != weight.shape[:1].numel()):
        return None
    if {"running_mean", "running_var"} <= names:
        return "batch_norm" if weight.dim() == 1 and tensors["running_var"].shape == weight.shape else None
    if weight.dim() == 1 and bias is not None:
        return "layer_norm"
    if weight.dim() == 3:
        return "conv"
    if weight.dim() != 2:
        return None
    return "linear" if bias is not None or not _is_table(path, weight) else "table"


def _is_table(path: str, weight: Tensor) -> bool:
    """Whether a matrix without a bias holds rows that are looked up."""
    name = path.lower()
    if weight.shape[0] == 1:
        return "embedding_table" in name  # of a single number, in RecBole
    if weight.shape[1] == 1 or _TABLE.search(name):
        return True
    if _NUMBERED_DENSE.search(name):
        return False
    return bool(_SIDE.search(name)) or not _DENSE.search(name)


def _bare_kind(path: str, last: str, tensor: Tensor) -> str:
    name = f"{path}.{last}"
    rows = tensor.is_floating_point() and tensor.dim() == 2 and tensor.shape[0] > 1
    return "table" if rows and (_TABLE.search(name.lower()) or _SIDE.search(name.lower())) else "tensor"
