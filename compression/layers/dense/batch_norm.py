"""A BatchNorm with fixed statistics is a scale and a shift for each unit, which the layer beside it can hold."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """(H,) each, float64: y = scale · x + shift. Ioffe & Szegedy 2015, algorithm 2, step 11."""
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is None:
        return scale, -mean * scale
    scale = scale * norm.weight.detach().double()
    return scale, norm.bias.detach().double() - mean * scale


def with_norm_behind(layer: nn.Linear | nn.Conv1d, norm: nn.BatchNorm1d) -> nn.Linear | nn.Conv1d:
    """The layer that answers as `layer` and `norm` after it."""
    scale, shift = scale_and_shift(norm)
    weight = layer.weight.detach().double() * scale.reshape(-1, *[1] * (layer.weight.dim() - 1))
    bias = shift if layer.bias is None else layer.bias.detach().double() * scale + shift
    return _with(layer, weight, bias)


def with_norm_before(norm: nn.BatchNorm1d, layer: nn.Linear | nn.Conv1d) -> nn.Linear | nn.Conv1d:
    """The layer that answers as `norm` and then `layer`. A convolution must not pad: zeros come after the norm."""
    scale, shift = scale_and_shift(norm)
    whole = layer.weight.detach().double()
    extra = torch.einsum("oi...,i->o", whole, shift)
    weight = whole * scale.reshape(1, -1, *[1] * (whole.dim() - 2))
    return _with(layer, weight, extra if layer.bias is None else layer.bias.detach().double() + extra)


def _with(layer: nn.Linear | nn.Conv1d, weight: Tensor, bias: Tensor) -> nn.Linear | nn.Conv1d:
    """A layer of the same kind and settings with other weights."""
    with torch.device("meta"):
        if isinstance(layer, nn.Linear):
            new = nn.Linear(layer.in_features, layer.out_features)
        else:
            new = nn.Conv1d(layer.in_channels, layer.out_channels, layer.kernel_size[0], stride=layer.stride[0],
                            padding=layer.padding[0], dilation=layer.dilation[0], groups=layer.groups)
    new.weight = nn.Parameter(weight.to(layer.weight.dtype))
    new.bias = nn.Parameter(bias.to(layer.weight.dtype))
    return new.train(layer.training)
