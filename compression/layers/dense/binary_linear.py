"""A dense layer whose weights are signs, packed eight to a byte, times one scale an output.

Source: Rastegari et al. 2016, arXiv:1603.05279 (binary-weight networks). Legend: B batch, I inputs, O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compression.layers.stored_shapes import binary_tensors
from compression.spec import records


def binary_weight(weight: Tensor) -> Tensor:
    """(O, I) → (O, I): α · sign(w), α the mean magnitude of an output; the signs' gradient passes where |w| ≤ 1.

    Rastegari et al. 2016, equation 6: no other scale and signs are nearer to the weights by squared error.
    """
    scale = weight.abs().mean(1, keepdim=True)
    passed = weight.clamp(-1, 1)
    return (passed + (signs_of(weight) - passed).detach()) * scale


def signs_of(weight: Tensor) -> Tensor:
    """±1 as float32; zero counts as positive."""
    return torch.where(weight >= 0, 1.0, -1.0)


def pack_signs(weight: Tensor) -> Tensor:
    """(O, I) → (O, ceil(I / 8)) uint8, lowest bit first, 1 for a weight of zero or above."""
    bits = F.pad((weight >= 0).to(torch.uint8), (0, -weight.shape[1] % 8)).unflatten(1, (-1, 8))
    return (bits << torch.arange(8, dtype=torch.uint8, device=weight.device)).sum(2).to(torch.uint8)


def byte_signs() -> Tensor:
    """(256, 8) int8: the signs in each byte, lowest bit first."""
    bits = (torch.arange(256).unsqueeze(1) >> torch.arange(8)) & 1
    return (2 * bits - 1).to(torch.int8)


class BinaryLinear(nn.Module):
    """A dense layer (…, I) → (…, O) of packed signs. Frozen: fine-tuning goes on around it.

    The runtime unpacks the weights once, when it loads the file: the file shrinks, memory and time do not.
    """

    is_leaf = True

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        self.out_features, self.in_features = weight.shape
        self.register_buffer("codes", pack_signs(weight))
        self.register_buffer("scale", weight.abs().mean(1))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float().clone())
        # one table serves all layers of a file, as equal constants are written once
        self.register_buffer("signs", byte_signs().to(weight.device), persistent=False)

    def dense_weight(self) -> Tensor:
        """The weight as float32 (O, I)."""
        signs = F.embedding(self.codes.int(), self.signs).flatten(1)[:, :self.in_features]
        return signs.float() * self.scale.unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.dense_weight(), self.bias)

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return binary_tensors(self.in_features, self.out_features, has_bias=self.bias is not None)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"
