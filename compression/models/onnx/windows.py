"""Operators of the interpreter whose window slides over an axis or two: convolutions and pools.

Definitions follow the ONNX operator reference; onnx_settings has bounded widths, steps and paddings beforehand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from compression.models.onnx.shapes import Attributes
from compression.models.onnx.values import Unsupported, Value, tensor, tensors

_CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d}
_MAX_POOLS = {3: F.max_pool1d, 4: F.max_pool2d}
_MEAN_POOLS = {3: F.avg_pool1d, 4: F.avg_pool2d}


def conv(v: list[Value], a: Attributes) -> Tensor:
    x, weight, *bias = tensors([value for value in v if value is not None])
    if weight.dim() not in _CONVOLUTIONS:
        raise Unsupported(f"it slides over {weight.dim() - 2} axes; one or two are read")
    strides, dilations, pads = window(a, list(weight.shape[2:]))
    starts, ends = pads[:len(pads) // 2], pads[len(pads) // 2:]
    if starts != ends:
        x, starts = _padded(x, starts, ends, 0.0), [0] * len(starts)
    return _CONVOLUTIONS[weight.dim()](x, weight, bias[0] if bias else None, strides, starts, dilations,
                                       a.get("group", 1))


def window(a: Attributes, widths: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Strides, dilations and paddings (all starts, then all ends) of a window of these widths."""
    strides = list(a.get("strides") or [1] * len(widths))
    dilations = list(a.get("dilations") or [1] * len(widths))
    kind = a.get("auto_pad", "NOTSET")
    if kind in ("NOTSET", ""):
        pads = list(a.get("pads") or [0] * (2 * len(widths)))
    elif kind == "VALID":
        pads = [0] * (2 * len(widths))
    elif kind in ("SAME_UPPER", "SAME_LOWER") and all(stride == 1 for stride in strides):
        total = [dilation * (width - 1) for width, dilation in zip(widths, dilations, strict=True)]
        less, more = [one // 2 for one in total], [one - one // 2 for one in total]
        pads = less + more if kind == "SAME_UPPER" else more + less
    else:
        raise Unsupported(f"its padding ({str(kind)[:20]}) depends on the length; export it with pads")
    if not len(strides) == len(dilations) == len(widths) == len(pads) // 2:
        raise Unsupported("its settings are not one for each axis of the window")
    return strides, dilations, pads


def max_pool(v: list[Value], a: Attributes) -> Tensor:
    if a.get("n_outputs", 1) > 1 or a.get("storage_order", 0):
        raise Unsupported("the places of the largest values are asked for")
    x, widths, strides, dilations, starts = _pool(v, a, -torch.inf)
    return _MAX_POOLS[x.dim()](x, widths, strides, 0 if starts is None else starts, dilations,
                               bool(a.get("ceil_mode", 0)))


def average_pool(v: list[Value], a: Attributes) -> Tensor:
    counts_padding = bool(a.get("count_include_pad", 0))
    x, widths, strides, dilations, starts = _pool(v, a, 0.0 if counts_padding else None)
    if any(dilation != 1 for dilation in dilations):
        raise Unsupported("it averages with gaps (dilations)")
    return _MEAN_POOLS[x.dim()](x, widths, strides, 0 if starts is None else starts, bool(a.get("ceil_mode", 0)),
                                counts_padding)


def global_pool(kind: str) -> Any:
    """The largest or the mean of all that lies behind the second axis, whose axes stay with length 1."""
    def apply(v: list[Value], a: Attributes) -> Tensor:
        x = tensor(v[0])
        axes = list(range(2, x.dim()))
        return x.amax(axes, True) if kind == "max" else x.mean(axes, True)

    return apply


def _pool(v: list[Value], a: Attributes, fill: float | None
          ) -> tuple[Tensor, list[int], list[int], list[int], list[int] | None]:
    """x, padded where the two sides differ, and the window's widths, strides, dilations and paddings."""
    x, widths = tensor(v[0]), list(a["kernel_shape"])
    if x.dim() not in _MAX_POOLS or len(widths) != x.dim() - 2:
        raise Unsupported(f"it slides over {len(widths)} axes of a value of {x.dim()}; one or two are read")
    strides, dilations, pads = window(a, widths)
    starts, ends = pads[:len(widths)], pads[len(widths):]
    if starts == ends and all(start <= width // 2 for start, width in zip(starts, widths, strict=True)):
        return x, widths, strides, dilations, starts
    if fill is None or a.get("ceil_mode", 0):
        raise Unsupported("it is padded more on one side than on the other")
    return _padded(x, starts, ends, fill), widths, strides, dilations, None


def _padded(x: Tensor, starts: list[int], ends: list[int], fill: float) -> Tensor:
    pairs = [width for start, end in zip(reversed(starts), reversed(ends), strict=True) for width in (start, end)]
    return F.pad(x, pairs, value=fill)
