"""Binary dense layers: the sign of each weight, and one scale an output.

Source: Rastegari et al. 2016, arXiv:1603.05279. Here: its binary weights alone; inputs stay in float, as no runtime
that we export for multiplies signs by counting bits. The gradient of the scale is that of its formula.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compression.layers.stored_shapes import binary_tensors
from compression.methods.quantize.dense_layers import PARTS, leaf_of, reasons_to_skip
from compression.methods.quantize.weights import has_bias, no_saving
from compression.methods.shared_params import DenseLayers
from compression.spec.effects import DENSE, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer

if TYPE_CHECKING:
    from torch import nn

TITLE = "Binary dense layers"


class BinaryParams(DenseLayers):
    """Which dense layers become signs."""


@method("quantize.binary", BinaryParams, title=TITLE,
        summary="Stores the signs of dense weights, eight to a byte; the next fine-tuning trains through them.",
        stage=Stage.DURING_TRAINING, parts=set(PARTS), needs=set(), export=ExportForm.PLAIN, gains={Gain.SMALLER},
        source="Rastegari et al. 2016, arXiv:1603.05279",
        tiny={"min_features": 4}, no_op={"min_features": 4096},
        effects=Effects(
            makes={Effect.CODES: DENSE, Effect.FROZEN: DENSE, Effect.ROUNDING: DENSE}, undoes={Effect.ZEROS: DENSE},
            needs_float=DENSE, wants_training="Signs of weights that were trained in float lose much"))
def quantize_binary(model: "nn.Module", params: BinaryParams, ctx: Context) -> Applied:
    """Replace dense layers by packed signs; the hook gives them their float weights back while they train."""
    from compression.layers.dense.binary_linear import BinaryLinear
    from compression.methods.quantize.dynamic import bytes_of, chosen
    from compression.models.structure import replace
    from compression.train.hooks.dense_rounding import DenseRoundingHook

    applied, floats = Applied(model), {}
    for path, reason in chosen(model, min_features=params.min_features, skip_output=params.skip_output).items():
        layer = None
        if reason is None:
            linear = model.get_submodule(path)
            layer = BinaryLinear(linear)
            before, after = bytes_of(linear, layer)
            reason = no_saving(before, after)
        if reason is not None:
            applied.skipped.append(ctx.skip(path, reason))
            continue
        floats[path] = linear
        replace(model, path, layer.train(linear.training))
        applied.changes.append(ctx.change(path, before, after, "signs and a scale an output; the file shrinks, memory "
                                                               "after loading does not"))
    if floats:
        applied.hooks.append(DenseRoundingHook(floats))
    return applied


@quantize_binary.named
def _named(params: BinaryParams) -> str:
    return "binary dense"


@quantize_binary.estimate
def _estimate(layers: tuple[Layer, ...], params: BinaryParams) -> tuple[Layer, ...]:
    reasons = reasons_to_skip(map(leaf_of, layers), min_features=params.min_features, skip_output=params.skip_output)
    return tuple(_in_signs(layer) if reasons.get(layer.name, "not dense") is None else layer for layer in layers)


def _in_signs(layer: Layer) -> Layer:
    stored = binary_tensors(layer.shape[1], layer.shape[0], has_bias=has_bias(layer))
    if no_saving(layer.size_bytes, sum(tensor.size_bytes for tensor in stored)):
        return layer
    return layer.model_copy(update={"kind": "BinaryLinear", "tensors": stored})
