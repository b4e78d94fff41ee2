"""Weight sharing: the weights of a dense layer become codes into a codebook of 256, 16 or 4 numbers.

Source: Han et al. 2016, arXiv:1510.00149 (Deep Compression: k-means of each layer, shared weights trained on).
Here: k-means of one dimension on sorted values. The runtime decodes a layer once, when it loads the file: the file
shrinks, memory and time don't.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.layers.stored_shapes import shared_tensors
from compression.methods.quantize.dense_layers import PARTS, leaf_of, reasons_to_skip
from compression.methods.shared_params import DenseLayers
from compression.spec.effects import DENSE, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer, Tensor

if TYPE_CHECKING:
    from torch import nn


class ShareParams(DenseLayers):
    """How many different weights a layer has, and which layers."""

    n_bits: Literal[8, 4, 2] = Field(4, description="Bits of a code: a layer has 256, 16 or 4 different weights.")


def no_saving(before: int, after: int) -> str | None:
    """Why a layer stays in float by its bytes; None where it doesn't."""
    return f"would not save bytes: {after:,} with its codebook instead of {before:,}" if after >= before else None


def tensors_of(shape: tuple[int, ...], params: ShareParams, *, has_bias: bool) -> tuple[Tensor, ...]:
    """What a dense layer of shape (out, in) will store."""
    return shared_tensors(shape[1], shape[0], n_bits=params.n_bits, has_bias=has_bias)


@method("share.kmeans", ShareParams, title="Weight sharing (k-means)",
        summary="Gives each dense layer a codebook of few weights and stores codes; the file shrinks, memory doesn't.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER},
        source="Han et al. 2016, arXiv:1510.00149",
        tiny={"n_bits": 4, "min_features": 2}, no_op={"min_features": 4096},
        effects=Effects(makes={Effect.CODES: DENSE}, needs_float=DENSE))
def share_kmeans(model: "nn.Module", params: ShareParams, ctx: Context) -> Applied:
    """Replace dense layers by codes and codebooks."""
    from compression.layers.dense.shared_linear import SharedLinear
    from compression.methods.quantize.dynamic import chosen
    from compression.models.structure import replace

    applied = Applied(model)
    for path, reason in chosen(model, min_features=params.min_features, skip_output=params.skip_output).items():
        linear = model.get_submodule(path)
        before = after = 0
        if reason is None:
            before = 4 * sum(tensor.numel() for tensor in linear.parameters())
            stored = tensors_of(tuple(linear.weight.shape), params, has_bias=linear.bias is not None)
            after = sum(tensor.size_bytes for tensor in stored)
            reason = no_saving(before, after)
        if reason is not None:
            applied.skipped.append(ctx.skip(path, reason))
            continue
        layer = SharedLinear(linear, n_bits=params.n_bits).to(linear.weight.device).train(linear.training)
        replace(model, path, layer)
        applied.changes.append(ctx.change(path, before, after, f"{2**params.n_bits} different weights; the file "
                                                               "shrinks, memory after loading does not"))
    return applied


@share_kmeans.named
def _named(params: ShareParams) -> str:
    return f"{2**params.n_bits} shared weights"


@share_kmeans.estimate
def _estimate(layers: tuple[Layer, ...], params: ShareParams) -> tuple[Layer, ...]:
    reasons = reasons_to_skip(map(leaf_of, layers), min_features=params.min_features, skip_output=params.skip_output)
    return tuple(_shared(layer, params) if reasons.get(layer.name, "not dense") is None else layer for layer in layers)


def _shared(layer: Layer, params: ShareParams) -> Layer:
    has_bias = any(tensor.name.split(".")[-1] == "bias" for tensor in layer.tensors)
    stored = tensors_of(layer.shape, params, has_bias=has_bias)
    if no_saving(layer.size_bytes, sum(tensor.size_bytes for tensor in stored)):
        return layer
    return layer.model_copy(update={"kind": "SharedLinear", "tensors": stored})
