"""Dense layers in 8 or 4 bits by blocks of weights, each block with a scale of its own.

Source: Dettmers & Zettlemoyer 2023, arXiv:2212.09720 (blocks of weights at low bit widths). Here: symmetric levels,
rounded to the nearest; written as MatMulNBits, which multiplies the codes and rounds inputs to 8 bits by blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.layers.stored_shapes import block_tensors
from compression.methods.quantize.dense_layers import PARTS, leaf_of, reasons_to_skip
from compression.methods.shared_params import DenseLayers
from compression.spec.effects import DENSE, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer, Tensor

if TYPE_CHECKING:
    from torch import nn


class WeightsParams(DenseLayers):
    """How wide a weight's code is, how many weights share a scale, and which layers are taken."""

    n_bits: Literal[8, 4] = Field(4, description="Bits of a weight.")
    block_size: Literal[16, 32, 64, 128] = Field(
        32, description="Weights of one output that share a scale: fewer are more exact and weigh more.")


@method("quantize.weights", WeightsParams, title="Weight-only 8 or 4 bits",
        summary="Stores dense weights in 8 or 4 bits by small blocks and multiplies the codes.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs=set(), export=ExportForm.CONTRIB, gains={Gain.SMALLER},
        source="Dettmers & Zettlemoyer 2023, arXiv:2212.09720",
        tiny={"min_features": 4, "block_size": 16}, no_op={"min_features": 4096},
        effects=Effects(makes={Effect.CODES: DENSE, Effect.FROZEN: DENSE}, needs_float=DENSE))
def quantize_weights(model: "nn.Module", params: WeightsParams, ctx: Context) -> Applied:
    """Replace dense layers by blocks of codes."""
    from compression.layers.dense.block_linear import BlockLinear
    from compression.methods.quantize.dynamic import chosen
    from compression.models.structure import replace

    applied = Applied(model)
    for path, reason in chosen(model, min_features=params.min_features, skip_output=params.skip_output).items():
        linear = model.get_submodule(path)
        before = after = 0
        if reason is None:
            before = 4 * sum(tensor.numel() for tensor in linear.parameters())
            after = size_of(tuple(linear.weight.shape), params.n_bits, params.block_size, linear.bias is not None)
            reason = no_saving(before, after)
        if reason is not None:
            applied.skipped.append(ctx.skip(path, reason))
            continue
        layer = BlockLinear(linear.weight, linear.bias, n_bits=params.n_bits, block_size=params.block_size)
        replace(model, path, layer.train(linear.training))
        applied.changes.append(ctx.change(path, before, after, f"{params.n_bits} bits, a scale for each "
                                                               f"{params.block_size} weights of an output"))
    return applied


def no_saving(before: int, after: int) -> str | None:
    """Why a layer stays in float by its bytes; None where it doesn't."""
    return f"would not save bytes: {after:,} with its scales instead of {before:,}" if after >= before else None


def tensors_of(shape: tuple[int, ...], n_bits: int, block_size: int, has_bias: bool) -> tuple[Tensor, ...]:
    """What a dense layer of shape (out, in) will store."""
    return block_tensors(shape[1], shape[0], n_bits=n_bits, block_size=block_size, has_bias=has_bias)


def size_of(shape: tuple[int, ...], n_bits: int, block_size: int, has_bias: bool) -> int:
    return sum(tensor.size_bytes for tensor in tensors_of(shape, n_bits, block_size, has_bias))


def has_bias(layer: Layer) -> bool:
    return any(tensor.name.split(".")[-1] == "bias" for tensor in layer.tensors)


@quantize_weights.named
def _named(params: WeightsParams) -> str:
    return f"int{params.n_bits} weights"


@quantize_weights.estimate
def _estimate(layers: tuple[Layer, ...], params: WeightsParams) -> tuple[Layer, ...]:
    reasons = reasons_to_skip(map(leaf_of, layers), min_features=params.min_features, skip_output=params.skip_output)
    return tuple(in_blocks(layer, params.n_bits, params.block_size)
                 if reasons.get(layer.name, "not dense") is None else layer for layer in layers)


def in_blocks(layer: Layer, n_bits: int, block_size: int) -> Layer:
    """The layer as blocks of codes; the very same where that would save no bytes."""
    stored = tensors_of(layer.shape, n_bits, block_size, has_bias(layer))
    if no_saving(layer.size_bytes, sum(tensor.size_bytes for tensor in stored)):
        return layer
    return layer.model_copy(update={"kind": "BlockLinear", "tensors": stored})
