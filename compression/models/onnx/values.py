"""Values that flow through the interpreter: tensors, and short lists of whole numbers for shape arithmetic.

Shapes stay Python numbers (symbolic ones while torch traces), so that Shape → Gather → Concat → Reshape chains leave no
operators behind when the model is exported again, and the batch stays free.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_INTS = 64  # longer constants stay tensors


@dataclass(frozen=True)
class Ints:
    """A list of whole numbers, or one number (`scalar`), as int64 in ONNX."""

    values: tuple[Any, ...]  # int, or torch.SymInt while tracing
    scalar: bool = False

    def __len__(self) -> int:
        return len(self.values)


Value = Tensor | Ints | None


class Unsupported(ValueError):
    """An operator, or a way of using it, that the interpreter doesn't know; the file can still be measured as it is."""


def constant_value(array: np.ndarray) -> Value:
    """Short integer arrays of at most one axis as Ints, everything else as a tensor of its own memory."""
    if array.dtype in (np.int64, np.int32) and array.ndim <= 1 and array.size <= MAX_INTS:
        return Ints(tuple(int(value) for value in array.reshape(-1)), scalar=array.ndim == 0)
    return torch.from_numpy(np.array(array))


def tensor(value: Value, like: Tensor | None = None) -> Tensor:
    """The value as a tensor, on the device of `like`."""
    if isinstance(value, Tensor):
        return value
    if value is None:
        raise Unsupported("an input that the operator needs is left out")
    device = like.device if like is not None else None
    if all(type(item) is int for item in value.values):
        made = torch.tensor(value.values, dtype=torch.int64, device=device)
    else:
        made = torch.stack([torch.full((), item, dtype=torch.int64, device=device) for item in value.values])
    return made[0] if value.scalar else made


def tensors(values: list[Value]) -> list[Tensor]:
    """All values as tensors on one device."""
    like = next((value for value in values if isinstance(value, Tensor)), None)
    return [tensor(value, like) for value in values]


def ints(value: Value, what: str) -> list[Any]:
    """The whole numbers of a value that has to be known beforehand. Raises Unsupported for computed ones."""
    if isinstance(value, Ints):
        return list(value.values)
    raise Unsupported(f"{what} is computed from the data")


def _zipped(function: Callable[..., Any]) -> Callable[[list[Ints], dict], Value]:
    """An element-by-element operator on Ints, with one number spread over a list."""

    def apply(values: list[Ints], attributes: dict) -> Value:
        length = max(len(value) for value in values)
        spread = [value.values * length if len(value) == 1 else value.values for value in values]
        if any(len(item) != length for item in spread):
            return None
        return Ints(tuple(function(*items) for items in zip(*spread, strict=True)),
                    scalar=all(value.scalar for value in values))

    return apply


def _gather(values: list[Ints], attributes: dict) -> Value:
    source, index = values
    return None if source.scalar else Ints(tuple(source.values[place] for place in index.values), index.scalar)


def _slice(values: list[Ints], attributes: dict) -> Value:
    numbers = [item.values for item in values[1:]]
    if len(values) < 3 or any(len(item) != 1 or type(item[0]) is not int for item in numbers):
        return None
    step = numbers[3][0] if len(numbers) > 3 else 1
    return Ints(values[0].values[numbers[0][0]:numbers[1][0]:step]) if step > 0 else None


def _cast(values: list[Ints], attributes: dict) -> Value:
    return values[0] if attributes.get("to") in (6, 7) else None


def _reshape(values: list[Ints], attributes: dict) -> Value:
    return Ints(values[0].values, scalar=len(values[1]) == 0) if len(values[1]) <= 1 else None


def _squeeze(values: list[Ints], attributes: dict) -> Value:
    return Ints(values[0].values, scalar=True) if len(values[0]) == 1 else None


def _unsqueeze(values: list[Ints], attributes: dict) -> Value:
    return Ints(values[0].values) if values[0].scalar else None


def _expand(values: list[Ints], attributes: dict) -> Value:
    count = values[1].values
    if len(values[0]) == 1 and len(count) == 1 and type(count[0]) is int and 0 < count[0] <= MAX_INTS:
        return Ints(values[0].values * count[0])
    return None


def _equal(values: list[Ints], attributes: dict) -> Value:
    """1 where equal, else 0; lengths that are free equal no −1, and other comparisons of them stay in the graph."""
    if len(values[0]) != len(values[1]):
        return None
    pairs = list(zip(values[0].values, values[1].values, strict=True))
    if any(type(a) is not int and b != -1 for pair in pairs for a, b in (pair, pair[::-1])):
        return None
    return Ints(tuple(int(type(a) is type(b) is int and a == b) for a, b in pairs), values[0].scalar)


def _where(values: list[Ints], attributes: dict) -> Value:
    if len({len(value) for value in values}) > 1 or not all(type(item) is int for item in values[0].values):
        return None
    return Ints(tuple(a if chosen else b for chosen, a, b in zip(*(value.values for value in values), strict=True)),
                values[0].scalar)


def _product(values: list[Ints], attributes: dict) -> Value:
    return Ints((math.prod(values[0].values),), scalar=not attributes.get("keepdims", 1)) if len(values) == 1 else None


SHAPE_ARITHMETIC: dict[str, Callable[[list[Ints], dict], Value]] = {
    "Add": _zipped(lambda a, b: a + b),
    "Sub": _zipped(lambda a, b: a - b),
    "Mul": _zipped(lambda a, b: a * b),
    "Div": _zipped(lambda a, b: a // b),
    "Mod": _zipped(lambda a, b: a % b),
    "Max": _zipped(max),
    "Min": _zipped(min),
    "Concat": lambda values, attributes: Ints(tuple(item for value in values for item in value.values)),
    "Cast": _cast,
    "Equal": _equal,
    "Gather": _gather,
    "Identity": lambda values, attributes: values[0],
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "ReduceProd": _product,
    "Where": _where,
}
