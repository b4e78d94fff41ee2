"""A one-dimensional convolution as two cheaper ones: both are ordinary layers, so that later steps find them.

Legend: O output channels, I input channels, T length of the kernel, M multiplier, S squeezed channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SplitConv1d(nn.Sequential):
    """(B, I, L) → (B, O, L'): two convolutions without anything between them, the bias in the second."""


def depthwise_factors(weight: Tensor, multiplier: int) -> tuple[Tensor, Tensor, float]:
    """weight (O, I, T) → filters (I·M, 1, T), mixture (O, I·M, 1) and the share of the squared weights they keep.

    No others of that form are nearer in squared error.

    Channels are apart, so the best is the M strongest singular directions of each (O, T) slice; M = T is exact.
    Source: Howard et al. 2017, arXiv:1704.04861, for the form.
    """
    n_out, n_in, length = weight.shape
    slices = weight.detach().cpu().double().permute(1, 0, 2)  # (I, O, T)
    u, values, v = torch.linalg.svd(slices, full_matrices=False)
    share = values[:, :multiplier].sqrt()
    filters = share.unsqueeze(2) * v[:, :multiplier]  # (I, M, T)
    mixture = u[:, :, :multiplier] * share.unsqueeze(1)  # (I, O, M)
    signs = filters.gather(2, filters.abs().argmax(2, keepdim=True)).sign()  # whatever the linear algebra library
    signs = signs.masked_fill(signs == 0, 1)
    filters, mixture = filters * signs, mixture * signs.permute(0, 2, 1)
    return (filters.reshape(n_in * multiplier, 1, length).to(weight),
            mixture.permute(1, 0, 2).reshape(n_out, n_in * multiplier, 1).to(weight),
            _share(values[:, :multiplier].square().sum(), values.square().sum()))


def squeezed_factors(weight: Tensor, squeezed: int) -> tuple[Tensor, Tensor, float]:
    """weight (O, I, T) → squeeze (S, I, 1), expand (O, S, T) and the share of the squared weights they keep.

    No others of that form are nearer in squared error.

    Source: Iandola et al. 2016, arXiv:1602.07360, for the form; without the activation between the two.
    """
    n_out, n_in, length = weight.shape
    matrix = weight.detach().cpu().double().permute(0, 2, 1).reshape(n_out * length, n_in)
    squares, basis = torch.linalg.eigh(matrix.T @ matrix)
    top = basis.flip(1)[:, :squeezed]  # (I, S)
    signs = top.gather(0, top.abs().argmax(0, keepdim=True)).sign()
    top = top * signs.masked_fill(signs == 0, 1)
    expand = (matrix @ top).reshape(n_out, length, squeezed).permute(0, 2, 1)
    return (top.T.unsqueeze(2).to(weight), expand.to(weight),
            _share(squares.flip(0)[:squeezed].sum(), squares.sum()))


def _share(part: Tensor, whole: Tensor) -> float:
    return float(part / whole.clamp(min=1e-300))


def split_conv(conv: nn.Conv1d, first: Tensor, second: Tensor, *, depthwise: bool) -> SplitConv1d:
    """The two convolutions with these weights; the one as long as the kernel keeps stride and padding."""
    kept = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation,
            "padding_mode": conv.padding_mode}
    layers = ((_conv(first, None, groups=conv.in_channels, **kept), _conv(second, conv.bias)) if depthwise
              else (_conv(first, None), _conv(second, conv.bias, **kept)))
    return SplitConv1d(*layers).train(conv.training)


def _conv(weight: Tensor, bias: Tensor | None, *, groups: int = 1, **options) -> nn.Conv1d:
    new = nn.Conv1d(weight.shape[1] * groups, weight.shape[0], weight.shape[2], groups=groups, bias=bias is not None,
                    device="meta", **options)
    new.weight = nn.Parameter(weight.contiguous())
    if bias is not None:
        new.bias = nn.Parameter(bias.detach().clone())
    return new
