"""A model that no longer reads some of its inputs: each is a constant inside it, and its table one row.

    drop_input(model, item, rows, value)      # item is an Input of the signature
    read_signature(model, signature)          # (compression.models.structure) the inputs that are left

Legend: B batch, L length of a multi-valued input, D embedding dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compression.models.example import TORCH_DTYPES
from compression.models.structure import replace, table_inputs
from compression.models.zoo.fields import Fields
from compression.spec import records
from compression.spec.signature import Input


class ConstantRow(nn.Module):
    """A table whose every id reads the same row: ids (…) int64 → (…, D) float32, stored as D numbers, trained on."""

    is_leaf = True

    def __init__(self, row: Tensor) -> None:
        super().__init__()
        self.row = nn.Parameter(row.detach().clone().float())

    def forward(self, ids: Tensor) -> Tensor:
        return self.row.expand(*ids.shape, self.row.shape[0])

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return (records.Tensor(name="row", dtype="float32", shape=tuple(self.row.shape)),)


@dataclass(frozen=True)
class Constant:
    """What stands in for one input: `width` 0 gives (B,), otherwise (B, width)."""

    name: str
    dtype: str
    width: int
    value: float


@dataclass(frozen=True)
class ConstantInputs:
    """Fills the dropped inputs in before a model runs, whether the batch still has them or not."""

    constants: tuple[Constant, ...]

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[dict[str, Tensor]]:
        dropped = {one.name for one in self.constants}
        batch = {name: values for name, values in args[0].items() if name not in dropped}
        read = next(iter(batch.values()))
        for one in self.constants:
            shape = (read.shape[0], one.width) if one.width else (read.shape[0],)
            batch[one.name] = torch.full(shape, one.value, dtype=TORCH_DTYPES[one.dtype], device=read.device)
        return (batch,)


def drop_input(model: nn.Module, item: Input, rows: dict[str, Tensor], value: float) -> None:
    """Let `model` read `item` no more, in place: its tables give `rows` (path → (D,)), a number is `value`.

    Ids become 1 and not 0, which stands for padding. The modules of a copied structure are replaced, no tensor of
    them is written. A dense layer of the zoo that reads the constant loses its columns, and its bias takes them up.
    """
    width = 0 if item.kind != "multi" else (item.max_length if item.fixed_length and item.max_length else 1)
    constant = Constant(item.name, item.dtype, width, value if item.kind == "number" else 1)
    for path, row in rows.items():
        replace(model, path, ConstantRow(row))
        _fold_vector(model, path, row)
    _fold_number(model, item, value)
    model.table_inputs = {path: name for path, name in table_inputs(model).items()
                          if not any(path == gone or path.startswith(gone + ".") for gone in rows)}
    known: tuple[Constant, ...] = ()
    for key, hook in list(model._forward_pre_hooks.items()):
        if isinstance(hook, ConstantInputs):
            known = hook.constants
            del model._forward_pre_hooks[key]
    model.register_forward_pre_hook(ConstantInputs((*known, constant)))
    model.dropped_inputs = (*getattr(model, "dropped_inputs", ()), item.name)


def _fold_vector(model: nn.Module, path: str, row: Tensor) -> None:
    """Take a constant vector out of what the first dense layer reads, where the model says which one that is."""
    group_path, _, key = path.rpartition(".")
    reader_path = getattr(model, "joined_by", None)
    fields = model.get_submodule(group_path)
    if reader_path is None or not isinstance(fields, Fields) or group_path != "tables":
        return
    reader = model.get_submodule(reader_path)
    keys = [known for known, _ in fields.read if known not in fields.folded]
    first = keys.index(key) * len(row)
    if type(reader) is not nn.Linear or reader.bias is None or reader.in_features != len(keys) * len(row):
        return  # quantised, or in two factors: it goes on reading the constant
    replace(model, reader_path, without_columns(reader, first, row))
    fields.folded = (*fields.folded, key)
    if model.joined_only:
        fields.read = [one for one in fields.read if one[0] != key]
        del fields[key]


def _fold_number(model: nn.Module, item: Input, value: float) -> None:
    """Take a number out of those that enter a bottom MLP side by side; the last one stays, as a constant."""
    numbers: tuple[str, ...] = getattr(model, "numbers", ())
    if item.name not in numbers or len(numbers) < 2:
        return
    reader = model.get_submodule("bottom.0")
    if type(reader) is nn.Linear and reader.bias is not None and reader.in_features == len(numbers):
        replace(model, "bottom.0", without_columns(reader, numbers.index(item.name), torch.tensor([value])))
        model.numbers = tuple(name for name in numbers if name != item.name)


@torch.no_grad()
def without_columns(linear: nn.Linear, first: int, constant: Tensor) -> nn.Linear:
    """The same layer for inputs whose columns from `first` on are `constant` (C,) and no longer come in."""
    last = first + len(constant)
    weight = linear.weight
    new = nn.Linear(linear.in_features - len(constant), linear.out_features, device="meta")
    new.weight = nn.Parameter(torch.cat([weight[:, :first], weight[:, last:]], 1))
    new.bias = nn.Parameter(linear.bias + weight[:, first:last] @ constant.to(weight))
    return new.train(linear.training)


def tables_of(model: nn.Module, item: Input) -> tuple[str, ...]:
    """Paths of what turns an input into vectors: tables, factors and maps counted whole, and vectors of numbers."""
    found = [f"{path}.{key}" for path, module in model.named_modules() if isinstance(module, Fields)
             for key, known in module.read if known.name == item.name]
    for path, name in table_inputs(model).items():
        if name == item.name and not any(path == one or path.startswith(one + ".") for one in found):
            parts = path.split(".")
            ancestors = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
            found.append(next((one for one in ancestors if hasattr(model.get_submodule(one), "num_embeddings")), path))
    return tuple(found)


@torch.no_grad()
def mean_rows(model: nn.Module, paths: tuple[str, ...], ids: Tensor, *, batch_rows: int = 8192) -> dict[str, Tensor]:
    """What each table gives on average over `ids` (N,) or (N, L), lists as the mean of their rows: path → (D,).

    For a number's vector `ids` are its values (N,).
    """
    means = {}
    for path in paths:
        table = model.get_submodule(path)
        total: Tensor | None = None
        for start in range(0, len(ids), batch_rows):
            part = ids[start : start + batch_rows]
            found = table(part).double()
            if part.dim() == 2:
                mask = (part != 0).double().unsqueeze(-1)
                found = (found * mask).sum(1) / mask.sum(1).clamp(min=1)
            total = found.sum(0) if total is None else total + found.sum(0)
        means[path] = (total / max(1, len(ids))).float()
    return means
