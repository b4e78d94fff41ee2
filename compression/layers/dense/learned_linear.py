"""Dense layers that train as the codes they will be stored in: weights and inputs are rounded in every pass.

A scale is its start × exp(growth), so that it stays positive and one learning rate suits scales of any size.
Legend: B batch, I inputs, O outputs, S weights of a block, M blocks of an output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compression.layers.dense.binary_linear import BinaryLinear, binary_weight
from compression.layers.dense.block_linear import BlockLinear, in_blocks, round_blocks
from compression.layers.dense.quantized_linear import StaticLinear
from compression.layers.stored_shapes import binary_tensors, block_tensors, dense_tensors
from compression.spec import records

SHARES = torch.linspace(1.0, 0.2, 33).tolist()  # of the scale at which the largest weight just fits
FLOOR = 1e-3  # of the mean scale: a block of zeros can learn to be something else
X_TOP = 255  # levels of an input


def round_to_steps(values: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """level × scale of each value, with the gradients of a learned step size.

    Esser et al. 2020, arXiv:1902.08153, equations 1 to 3: inside the range a value's gradient passes the rounding and
    the scale feels level − value / scale; outside, the value feels nothing and the scale the outermost level.
    """
    ratio = (values / scale).clamp(low, high)
    return (ratio + (ratio.round() - ratio).detach()) * scale


def least_error_scales(groups: Tensor, n_bits: int) -> Tensor:
    """(…, S) weights → (…) scales: of some shares of the largest weight, the one of least squared error."""
    top = 2 ** (n_bits - 1) - 1
    widest = groups.abs().amax(-1, keepdim=True) / top
    widest = widest.clamp_min(max(FLOOR * float(widest.mean()), torch.finfo(torch.float32).tiny * 2 * top))
    best, least = widest, torch.full_like(widest, torch.inf)
    for share in SHARES:
        scale = widest * share
        error = ((groups / scale).round().clamp(-top, top) * scale - groups).square().sum(-1, keepdim=True)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best.squeeze(-1)


def static_scales(weight: Tensor, n_bits: int) -> Tensor:
    """(O, I) → (O,): a scale for each output."""
    return least_error_scales(weight.detach().float(), n_bits)


def block_scales(weight: Tensor, n_bits: int, block_size: int) -> Tensor:
    """(O, I) → (O, M): a scale for each block."""
    return least_error_scales(in_blocks(weight.detach().float(), block_size), n_bits)


class LearnedLinear(nn.Module):
    """What the forms share: the float weight and bias that train. `as_stored()` gives the layer of codes."""

    is_leaf = True

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = nn.Parameter(linear.weight.detach().clone())  # training writes into it
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone())

    def as_stored(self) -> nn.Module:
        raise AssertionError("a layer that trains through its rounding says what it is stored as")

    def as_linear(self) -> nn.Linear:
        """Its float weights in a plain layer."""
        plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        plain.weight, plain.bias = self.weight, self.bias
        return plain


class LearnedStatic(LearnedLinear):
    """Weights in 8 bits by outputs, inputs in 8 bits of one range: trains both scales, and stays at its zero point."""

    def __init__(self, linear: nn.Linear, stored: StaticLinear) -> None:
        super().__init__(linear)
        self.n_bits, self.zero_point = stored.n_bits, stored.zero_point
        self.register_buffer("start", stored.scale.clone())  # (O,)
        self.register_buffer("x_start", stored.scale.new_tensor(stored.x_scale))
        self.growth = nn.Parameter(torch.zeros_like(self.start))
        self.x_growth = nn.Parameter(torch.zeros_like(self.x_start))

    def forward(self, x: Tensor) -> Tensor:
        top = 2 ** (self.n_bits - 1) - 1
        scale, x_scale = self.start * self.growth.exp(), self.x_start * self.x_growth.exp()
        x = round_to_steps(x, x_scale, -self.zero_point, X_TOP - self.zero_point)
        return F.linear(x, round_to_steps(self.weight, scale.unsqueeze(1), -top, top), self._bias(x_scale * scale))

    def _bias(self, step: Tensor) -> Tensor | None:
        """The bias in whole steps of the product, as it is stored."""
        if self.bias is None:
            return None
        return self.bias + ((self.bias / step).round() * step - self.bias).detach()

    @torch.no_grad()
    def as_stored(self) -> StaticLinear:
        x_scale = float(self.x_start * self.x_growth.exp())
        return StaticLinear(self.as_linear(), x_scale=x_scale, zero_point=self.zero_point, n_bits=self.n_bits,
                            scale=self.start * self.growth.exp())

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return dense_tensors(self.in_features, self.out_features, bias=None if self.bias is None else "int32")


class LearnedBlocks(LearnedLinear):
    """Weights in few bits by blocks, whose scales train; inputs are rounded by the largest value of their block."""

    def __init__(self, linear: nn.Linear, stored: BlockLinear) -> None:
        super().__init__(linear)
        self.n_bits, self.block_size = stored.n_bits, stored.block_size
        self.register_buffer("start", stored.scale.clone())  # (O, M)
        self.growth = nn.Parameter(torch.zeros_like(self.start))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        rows = rows + (round_blocks(rows.detach(), self.block_size) - rows.detach())
        top = 2 ** (self.n_bits - 1) - 1
        scale = (self.start * self.growth.exp()).unsqueeze(2)
        weight = round_to_steps(in_blocks(self.weight, self.block_size), scale, -top, top)
        result = F.linear(rows, weight.flatten(1)[:, :self.in_features], self.bias)
        return result.reshape(*x.shape[:-1], self.out_features)

    @torch.no_grad()
    def as_stored(self) -> BlockLinear:
        return BlockLinear(self.weight, self.bias, n_bits=self.n_bits, block_size=self.block_size,
                           scale=self.start * self.growth.exp())

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return block_tensors(self.in_features, self.out_features, n_bits=self.n_bits, block_size=self.block_size,
                             has_bias=self.bias is not None)


class LearnedSigns(LearnedLinear):
    """Signs of float weights times their mean magnitude by outputs: Rastegari et al. 2016, algorithm 1."""

    def __init__(self, linear: nn.Linear, stored: BinaryLinear) -> None:
        super().__init__(linear)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, binary_weight(self.weight), self.bias)

    @torch.no_grad()
    def as_stored(self) -> BinaryLinear:
        return BinaryLinear(self.as_linear())

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return binary_tensors(self.in_features, self.out_features, has_bias=self.bias is not None)


FORMS: dict[type[nn.Module], type[LearnedLinear]] = {
    StaticLinear: LearnedStatic, BlockLinear: LearnedBlocks, BinaryLinear: LearnedSigns}
