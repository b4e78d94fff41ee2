"""Dense layers in 8 bits whose input range is measured on every batch.

Source: ONNX Runtime dynamic quantisation (DynamicQuantizeLinear, MatMulInteger). Here: signed weights with one
scale an output, which run several times faster than unsigned ones and lose less than one scale a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from compression.methods.quantize.dense_layers import PARTS, Leaf, estimated, reasons_to_skip
from compression.methods.shared_params import DenseLayers, FloatLayers, Int8Weights
from compression.spec.effects import DENSE, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer

if TYPE_CHECKING:
    from torch import nn


class DynamicParams(FloatLayers, DenseLayers, Int8Weights):
    """Which dense layers are quantised, and how wide their weights are."""


def keeps_float(params: FloatLayers) -> bool:
    """Whether measuring decides which layers stay in float, so that a size estimate is a bound."""
    return params.keep_float > 0


@method("quantize.dynamic", DynamicParams, title="Dynamic int8",
        summary="Multiplies dense layers in 8-bit integers; the input range is measured on every batch.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs=set(), export=ExportForm.QDQ,
        gains={Gain.SMALLER, Gain.FASTER},
        source="Krishnamoorthi 2018, arXiv:1806.08342",
        no_op={"min_features": 4096}, estimate_is_bound=keeps_float,
        effects=Effects(
            makes={Effect.CODES: DENSE, Effect.FROZEN: DENSE, Effect.INT8_PRODUCTS: DENSE, Effect.BATCH_RANGES: DENSE},
            needs_float=DENSE))
def quantize_dynamic(model: "nn.Module", params: DynamicParams, ctx: Context) -> Applied:
    """Replace dense layers by int8 weights."""
    from compression.layers.dense.quantized_linear import DynamicLinear

    return replaced(model, ctx, lambda linear: DynamicLinear(linear, n_bits=params.n_bits),
                    f"{params.n_bits} bits, one scale an output", min_features=params.min_features,
                    skip_output=params.skip_output, keep_float=params.keep_float)


def replaced(model: "nn.Module", ctx: Context, form: "Callable[[nn.Linear], nn.Module]", detail: str, *,
             min_features: int, skip_output: bool, keep_float: float = 0.0) -> Applied:
    """The chosen dense layers as `form` makes them; of the others, why they stay."""
    from compression.methods.quantize.harms import kept_in_float
    from compression.models.structure import replace

    applied = Applied(model)
    reasons = chosen(model, min_features=min_features, skip_output=skip_output)
    linears = {path: model.get_submodule(path) for path, reason in reasons.items() if reason is None}
    layers = {path: form(linear).train(linear.training) for path, linear in linears.items()}
    reasons |= kept_in_float(model, layers, keep_float, ctx)
    for path, reason in reasons.items():
        if reason is not None:
            applied.skipped.append(ctx.skip(path, reason))
            continue
        replace(model, path, layers[path])
        applied.changes.append(ctx.change(path, *bytes_of(linears[path], layers[path]), detail))
    return applied


def chosen(model: "nn.Module", *, min_features: int, skip_output: bool) -> dict[str, str | None]:
    """Path of each leaf that is no table → why it stays in float, or None."""
    from torch import nn

    from compression.models.structure import leaves, part_of

    found = (Leaf(path, type(leaf).__name__, part_of(model, path),
                  tuple(leaf.weight.shape) if isinstance(leaf, nn.Linear) else ()) for path, leaf in leaves(model))
    return reasons_to_skip(list(found), min_features=min_features, skip_output=skip_output)


def bytes_of(linear: "nn.Linear", layer: "nn.Module") -> tuple[int, int]:
    """Stored bytes of the float layer and of what replaces it."""
    before = 4 * sum(tensor.numel() for tensor in linear.parameters())
    return before, sum(tensor.size_bytes for tensor in layer.stored_tensors())


@quantize_dynamic.named
def _named(params: DynamicParams) -> str:
    return "int8 dense"


@quantize_dynamic.estimate
def _estimate(layers: tuple[Layer, ...], params: DynamicParams) -> tuple[Layer, ...]:
    return estimated(layers, kind="DynamicLinear", bias="float32", min_features=params.min_features,
                     skip_output=params.skip_output, keep_float=params.keep_float)
