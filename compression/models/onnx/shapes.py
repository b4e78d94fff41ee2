"""Operators of the interpreter that only arrange values: shapes, slices, parts. Their names are in onnx_operators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compression.models.onnx.values import MAX_INTS, Ints, Unsupported, Value, ints, tensor

Attributes = dict[str, Any]


def _axes(v: list[Value], a: Attributes) -> list[int] | None:
    """Axes of Squeeze and Unsqueeze: an attribute before opset 13, an input since."""
    if "axes" in a:
        return list(a["axes"])
    return ints(v[1], "axes") if len(v) > 1 and v[1] is not None else None


def shape(v: list[Value], a: Attributes) -> Ints:
    sizes = list(tensor(v[0]).shape)
    return Ints(tuple(sizes[a.get("start", 0):a.get("end")]))


def reshape(v: list[Value], a: Attributes) -> Tensor:
    x, sizes = tensor(v[0]), ints(v[1], "the new shape")
    if not a.get("allowzero", 0):
        sizes = [x.shape[place] if type(size) is int and size == 0 else size for place, size in enumerate(sizes)]
    return x.reshape(sizes)


def expand(v: list[Value], a: Attributes) -> Tensor:
    x, sizes = tensor(v[0]), ints(v[1], "the new shape")
    missing = len(sizes) - x.dim()
    x = x.reshape([1] * max(0, missing) + list(x.shape))
    sizes = [1] * max(0, -missing) + sizes
    return x.expand([old if type(new) is int and new == 1 else new for old, new in zip(x.shape, sizes, strict=True)])


def flatten(v: list[Value], a: Attributes) -> Tensor:
    x, axis = tensor(v[0]), a.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return x.flatten(1) if axis == 1 else x.reshape(math.prod(x.shape[:axis]), -1)


def unsqueeze(v: list[Value], a: Attributes) -> Tensor:
    x, axes = tensor(v[0]), _axes(v, a) or []
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(v: list[Value], a: Attributes) -> Tensor:
    x, axes = tensor(v[0]), _axes(v, a)
    if axes is None:  # never the batch, whose length is free
        axes = [axis for axis, size in enumerate(x.shape) if type(size) is int and size == 1]
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.squeeze(axis)
    return x


def slice_(v: list[Value], a: Attributes) -> Tensor:
    x = tensor(v[0])
    if "starts" in a:  # before opset 10
        starts, ends, axes, steps = a["starts"], a["ends"], a.get("axes"), None
    else:
        starts, ends = ints(v[1], "the start"), ints(v[2], "the end")
        axes = ints(v[3], "the axis") if len(v) > 3 and v[3] is not None else None
        steps = ints(v[4], "the step") if len(v) > 4 and v[4] is not None else None
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        step = steps[place] if steps else 1
        if type(step) is not int or step < 1:
            raise Unsupported("it walks backwards")
        end = min(end, 2**62) if type(end) is int else end
        x = torch.ops.aten.slice.Tensor(x, axes[place] if axes else place, start, end, step)
    return x


def pad(v: list[Value], a: Attributes) -> Tensor:
    """Constant padding; before opset 11 widths and value are attributes."""
    x = tensor(v[0])
    if a.get("mode", "constant") != "constant" or (len(v) > 3 and v[3] is not None):
        raise Unsupported("only constant padding of all axes is read")
    widths = list(a["pads"]) if "pads" in a else ints(v[1], "the widths")
    value = float(tensor(v[2], x)) if len(v) > 2 and v[2] is not None else a.get("value", 0.0)
    starts, ends = widths[:x.dim()], widths[x.dim():]
    pairs = [width for axis in reversed(range(x.dim())) for width in (starts[axis], ends[axis])]
    return torch.nn.functional.pad(x, pairs, value=value)


def split(v: list[Value], a: Attributes) -> tuple[Tensor, ...]:
    x, axis = tensor(v[0]), a.get("axis", 0)
    sizes = ints(v[1], "the parts") if len(v) > 1 and v[1] is not None else a.get("split")
    if sizes:
        return tuple(x.split(list(sizes), axis))
    parts = a.get("num_outputs") or a["n_outputs"]
    return tuple(x.split(-(-x.shape[axis] // parts), axis))


def constant_of_shape(v: list[Value], a: Attributes) -> Value:
    fill, sizes = a.get("value", np.zeros(1, np.float32)), ints(v[0], "the shape")
    number = fill.reshape(-1)[0].item()
    if fill.dtype == np.int64 and len(sizes) == 1 and type(sizes[0]) is int and sizes[0] <= MAX_INTS:
        return Ints((number,) * sizes[0])
    return torch.full(sizes, number, dtype=torch.from_numpy(fill.copy()).dtype)


def arange(v: list[Value], a: Attributes) -> Tensor:
    start, end, step = (ints(value, "the range")[0] for value in v)
    return torch.arange(start, end, step)
