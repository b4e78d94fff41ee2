"""Dense layers with signed int8 weights, one scale an output, and inputs rounded to 8 bits.

Both repeat the integer arithmetic of ONNX Runtime in torch, so that the exported file can be held against
them closely. Activations are (B, in) float32; weights are stored (in, out), as MatMulInteger reads them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compression.layers.stored_shapes import dense_tensors
from compression.spec import records


def quantize_columns(weight: Tensor, *, n_bits: int = 8, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(in, out) float32 → int8 levels and (out,) float32 scales, symmetric for each output.

    Without a scale the largest weight just fits.
    7 bits keep the sum of two products within 16 bits, for CPUs whose int8 instructions would overflow.
    """
    top = 2 ** (n_bits - 1) - 1
    if scale is None:
        scale = weight.abs().amax(0).clamp_min(torch.finfo(torch.float32).tiny * 2 * top) / top
    return (weight / scale).round().clamp(-top, top).to(torch.int8), scale


def dynamic_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point of all of x, as ONNX DynamicQuantizeLinear has them."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return scale, (-low / scale).round().clamp(0, 255)


def integer_matmul(x: Tensor, scale: Tensor | float, zero_point: Tensor | int, weight: Tensor) -> Tensor:
    """(x in 8 bits) · weight, the exact integer, as float64: sums stay below 2^53."""
    levels = (torch.round(x / scale) + zero_point).clamp(0, 255) - zero_point
    return levels.double() @ weight.double()


@torch.library.custom_op("recpress::linear_dynamic", mutates_args=())
def linear_dynamic(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """x (B, in) → (B, out); the range of x is taken over the whole batch."""
    x_scale, zero_point = dynamic_range(x)
    result = integer_matmul(x, x_scale, zero_point, weight).float() * (x_scale * scale)
    return result if bias is None else result + bias


@linear_dynamic.register_fake
def _(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


@torch.library.custom_op("recpress::linear_static", mutates_args=())
def linear_static(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, x_scale: float,
                  zero_point: int) -> Tensor:
    """x (B, in) → (B, out); bias (out,) int32 in steps of x_scale × scale."""
    step = torch.tensor(x_scale, dtype=torch.float32, device=x.device)
    total = integer_matmul(x, step, zero_point, weight)
    return (total if bias is None else total + bias).float() * (step * scale)


@linear_static.register_fake
def _(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, x_scale: float, zero_point: int) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


def _keep_weight(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[1], inputs[2])


def _straight_through(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradient of the layer without its rounding, for what lies below it; the weights are frozen."""
    weight, scale = ctx.saved_tensors
    return ((gradient * scale) @ weight.float().T, *[None] * ctx.n_frozen)


def _keep_dynamic(ctx, inputs, output) -> None:
    ctx.n_frozen = 3
    _keep_weight(ctx, inputs, output)


def _keep_static(ctx, inputs, output) -> None:
    ctx.n_frozen = 5
    _keep_weight(ctx, inputs, output)


linear_dynamic.register_autograd(_straight_through, setup_context=_keep_dynamic)
linear_static.register_autograd(_straight_through, setup_context=_keep_static)


class QuantizedLinear(nn.Module):
    """What both forms share: int8 weight (in, out), scale (out,) float32 and bias (out,)."""

    is_leaf = True
    rounds_activations = True  # parity allows for an activation that lies on a rounding boundary

    def __init__(self, linear: nn.Linear, *, n_bits: int = 8, scale: Tensor | None = None) -> None:
        super().__init__()
        weight, scale = quantize_columns(linear.weight.detach().float().T.contiguous(), n_bits=n_bits, scale=scale)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float().clone())

    def product(self, x: Tensor) -> Tensor:
        raise AssertionError("a quantised layer says how it multiplies")

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return self.product(x)
        return self.product(x.reshape(-1, self.in_features)).reshape(*x.shape[:-1], self.out_features)

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        bias = None if self.bias is None else str(self.bias.dtype).removeprefix("torch.")
        return dense_tensors(self.in_features, self.out_features, bias=bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"


class DynamicLinear(QuantizedLinear):
    """A dense layer whose input range is measured on every batch."""

    def product(self, x: Tensor) -> Tensor:
        return linear_dynamic(x, self.weight, self.scale, self.bias)


class StaticLinear(QuantizedLinear):
    """A dense layer whose input range was fixed on calibration data: x ≈ (level − zero_point) × x_scale."""

    def __init__(self, linear: nn.Linear, *, x_scale: float, zero_point: int, n_bits: int = 8,
                 scale: Tensor | None = None) -> None:
        super().__init__(linear, n_bits=n_bits, scale=scale)
        self.n_bits = n_bits
        self.x_scale = float(torch.tensor(x_scale, dtype=torch.float32))
        self.zero_point = zero_point
        if self.bias is not None:
            limit = 2.0**31 - 1
            steps = self.bias.double() / (self.x_scale * self.scale.double())
            self.bias = steps.round().clamp(-limit, limit).to(torch.int32)

    def product(self, x: Tensor) -> Tensor:
        return linear_static(x, self.weight, self.scale, self.bias, self.x_scale, self.zero_point)
