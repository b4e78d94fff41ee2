"""Layers whose numbers are stored in 16 or 8 bits of floating point and computed in float32, or multiplied in fp16.

A table is looked up as it is stored, so that its memory shrinks with its file. A dense weight is converted once, when
the runtime loads the file. 8 bits are float8 e4m3 (Micikevicius et al. 2022, arXiv:2209.05433), with one scale.
Legend: V rows, D columns; ids (…) int64 → (…, D) float32; x (…, in) → (…, out).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compression.layers.rows.padded_rows import PaddedRows
from compression.layers.stored_shapes import half_tensors
from compression.spec import records

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
LARGEST_FP8 = 448.0


def scale_of(weight: Tensor, form: str) -> Tensor | None:
    """The scale that brings the largest value to the largest float8; None for 16 bits, which need none."""
    if form != "fp8":
        return None
    return (weight.abs().amax() / LARGEST_FP8).clamp_min(torch.finfo(torch.float32).tiny)


def stored(weight: Tensor, scale: Tensor | None, form: str) -> Tensor:
    """The weight in its stored type; float8 as the bytes of it, which every runtime can look up."""
    if scale is None:
        top = torch.finfo(DTYPES[form]).max
        return weight.detach().clamp(-top, top).to(DTYPES[form])
    return (weight.detach() / scale).clamp(-LARGEST_FP8, LARGEST_FP8).to(DTYPES[form]).view(torch.uint8)


def byte_values() -> Tensor:
    """(256, 1) float32: what each byte is as float8 e4m3; the two NaN count as 0 and never occur."""
    return torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().nan_to_num(0.0).unsqueeze(1)


class HalfLayer(nn.Module):
    """What both have in common: the stored weight, and for float8 its scale and the values of its bytes."""

    is_leaf = True

    def __init__(self, weight: Tensor, form: str) -> None:
        super().__init__()
        self.form = form
        scale = scale_of(weight.detach().float(), form)
        self.register_buffer("weight", stored(weight.float(), scale, form))
        self.register_buffer("scale", scale)
        self.register_buffer("values", byte_values().to(weight.device) if form == "fp8" else None, persistent=False)

    def as_float(self, weight: Tensor) -> Tensor:
        """Stored numbers (…) as float32."""
        if self.scale is None:
            return weight.float()
        return F.embedding(weight.int(), self.values).squeeze(-1) * self.scale

    def dense_weight(self) -> Tensor:
        return self.as_float(self.weight)


class HalfTable(PaddedRows, HalfLayer):
    """Look up rows in 16 or 8 bits. Frozen: fine-tuning goes on around it."""

    def __init__(self, table: nn.Embedding, form: str) -> None:
        super().__init__(table.weight, form)
        self.num_embeddings, self.embedding_dim = table.weight.shape

    def look_up(self, ids: Tensor) -> Tensor:
        return self.as_float(F.embedding(ids, self.weight))

    def dequantized(self) -> Tensor:
        """The table as float32 (V, D)."""
        return self.dense_weight()

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return half_tensors((self.num_embeddings, self.embedding_dim), self.form, has_bias=False)


class HalfLinear(HalfLayer):
    """A dense layer stored in 16 or 8 bits; its bias stays in float."""

    def __init__(self, linear: nn.Linear, form: str) -> None:
        super().__init__(linear.weight, form)
        self.out_features, self.in_features = linear.weight.shape
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float().clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.dense_weight(), self.bias)

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return half_tensors((self.out_features, self.in_features), self.form, has_bias=self.bias is not None)


class HalfProduct(HalfLinear):
    """A dense layer stored and multiplied in fp16. Inputs beyond 65,504 are cut; sums beyond it are infinite."""

    rounds_activations = True

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear, "fp16")

    def forward(self, x: Tensor) -> Tensor:
        top = torch.finfo(torch.float16).max
        product = F.linear(x.clamp(-top, top).half(), self.weight).float()
        return product if self.bias is None else product + self.bias
