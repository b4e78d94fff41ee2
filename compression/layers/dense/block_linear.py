"""Dense layers of codes of 8, 4 or 2 bits in blocks with a scale each, multiplied without being unpacked.

What ONNX Runtime's MatMulNBits computes at accuracy level 4, repeated in torch: each block of an input row is rounded
to 8 bits by its own largest value, so that a row's score never depends on the rows beside it. Levels are symmetric: at
2 bits −1, 0 and 1.
Legend: B batch, K inputs, N outputs, S block size, M = ceil(K / S) blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compression.layers.stored_shapes import block_tensors
from compression.spec import records

ACCURACY_LEVEL = 4  # inputs in 8 bits; the default computes in float and is many times slower


def block_scales(weight: Tensor, *, n_bits: int, block_size: int) -> Tensor:
    """(N, K) float32 → (N, M) float32: the largest value of a block over the largest level."""
    return in_blocks(weight, block_size).abs().amax(2) / (2 ** (n_bits - 1) - 1)


def encode_blocks(weight: Tensor, scale: Tensor, *, n_bits: int, block_size: int) -> Tensor:
    """(N, K) float32, scales (N, M) → codes (N, M, S · bits / 8) uint8, the middle level standing for 0."""
    top, zero = 2 ** (n_bits - 1) - 1, 2 ** (n_bits - 1)
    levels = in_blocks(weight, block_size) / torch.where(scale > 0, scale, torch.ones_like(scale)).unsqueeze(2)
    codes = (levels.round().clamp(-top, top) + zero).to(torch.uint8)
    per_byte = 8 // n_bits
    packed = codes[..., ::per_byte].clone()
    for place in range(1, per_byte):
        packed |= codes[..., place::per_byte] << (n_bits * place)
    return packed


def block_levels(codes: Tensor, n_bits: int) -> Tensor:
    """Codes → levels (N, M, S) float32 around 0."""
    if n_bits < 8:
        shifts = [codes >> (n_bits * place) for place in range(8 // n_bits)]
        codes = torch.stack(shifts, -1).flatten(-2) & (2**n_bits - 1)
    return codes.float() - 2 ** (n_bits - 1)


def round_blocks(x: Tensor, block_size: int) -> Tensor:
    """(B, K) → (B, K): each block of a row in 255 levels of its own largest value."""
    blocks = in_blocks(x, block_size)
    scale = blocks.abs().amax(2, keepdim=True) / 127
    rounded = (blocks / torch.where(scale > 0, scale, torch.ones_like(scale))).round() * scale
    return rounded.flatten(1)[:, :x.shape[1]]


def in_blocks(values: Tensor, block_size: int) -> Tensor:
    """(…, K) → (…, M, S), the last block filled up with zeros."""
    values = F.pad(values, (0, -values.shape[-1] % block_size))
    return values.unflatten(-1, (-1, block_size))


@torch.library.custom_op("recpress::linear_blocks", mutates_args=())
def linear_blocks(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None, n_bits: int, block_size: int) -> Tensor:
    """x (B, K) → (B, N)."""
    weight = (block_levels(codes, n_bits) * scale.unsqueeze(2)).flatten(1)[:, :x.shape[1]]
    result = round_blocks(x, block_size) @ weight.T
    return result if bias is None else result + bias


@linear_blocks.register_fake
def _(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None, n_bits: int, block_size: int) -> Tensor:
    return x.new_empty(x.shape[0], codes.shape[0])


def _keep(ctx, inputs, output) -> None:
    x, codes, scale, _, n_bits, _ = inputs
    ctx.save_for_backward(codes, scale)
    ctx.n_bits, ctx.n_inputs = n_bits, x.shape[1]


def _straight_through(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradient of the layer without its rounding of inputs, for what lies below it; the weights are frozen."""
    codes, scale = ctx.saved_tensors
    weight = (block_levels(codes, ctx.n_bits) * scale.unsqueeze(2)).flatten(1)[:, :ctx.n_inputs]
    return gradient @ weight, None, None, None, None, None


linear_blocks.register_autograd(_straight_through, setup_context=_keep)


class BlockLinear(nn.Module):
    """A dense layer (B, K) → (B, N) in blocks of codes. Frozen: fine-tuning goes on around it."""

    is_leaf = True
    rounds_activations = True

    def __init__(self, weight: Tensor, bias: Tensor | None, *, n_bits: int, block_size: int,
                 scale: Tensor | None = None) -> None:
        super().__init__()
        weight = weight.detach().float()
        scale = block_scales(weight, n_bits=n_bits, block_size=block_size) if scale is None else scale.detach().float()
        self.out_features, self.in_features = weight.shape
        self.n_bits, self.block_size = n_bits, block_size
        self.register_buffer("codes", encode_blocks(weight, scale, n_bits=n_bits, block_size=block_size))
        self.register_buffer("scale", scale.contiguous())
        self.register_buffer("bias", None if bias is None else bias.detach().float().clone())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features) if x.ndim != 2 else x
        result = linear_blocks(rows, self.codes, self.scale, self.bias, self.n_bits, self.block_size)
        return result if x.ndim == 2 else result.reshape(*x.shape[:-1], self.out_features)

    def dense_weight(self) -> Tensor:
        """The weight as float32 (N, K)."""
        return (block_levels(self.codes, self.n_bits) * self.scale.unsqueeze(2)).flatten(1)[:, :self.in_features]

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return block_tensors(self.in_features, self.out_features, n_bits=self.n_bits, block_size=self.block_size,
                             has_bias=self.bias is not None)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, n_bits={self.n_bits}, block_size={self.block_size}"
