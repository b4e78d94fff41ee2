"""Dense layers in 8 bits whose input range is fixed beforehand, on calibration rows.

Sources: Krishnamoorthi 2018, arXiv:1806.08342; Migacz 2017 (entropy). Here: ranges from training rows by extremes,
percentile, least squared error or least divergence; signed weights with one scale an output; written as QuantizeLinear
and DequantizeLinear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.quantize.dense_layers import PARTS, estimated
from compression.methods.quantize.dynamic import bytes_of, chosen, keeps_float
from compression.methods.shared_params import DenseLayers, FloatLayers, Int8Weights
from compression.spec.effects import DENSE, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Stage, method
from compression.spec.records import Layer

if TYPE_CHECKING:
    from torch import nn


class StaticParams(FloatLayers, DenseLayers, Int8Weights):
    """Which dense layers are quantised, and how their input ranges are found."""

    calibrator: Literal["minmax", "percentile", "mse", "entropy"] = Field(
        "mse", description="Range of the inputs: their extremes, all but the outermost share, least squared error, or "
                           "least Kullback–Leibler divergence.")
    percentile: float = Field(99.99, ge=90, le=100, multiple_of=0.01,
                              description="Share of values inside the range; used by the percentile calibrator.")
    n_batches: int = Field(16, ge=1, le=256, description="Batches of 512 training rows to calibrate on.")


@method("quantize.static", StaticParams, title="Static int8",
        summary="Multiplies dense layers in 8-bit integers, with input ranges fixed on training rows.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs={Need.CALIBRATION}, export=ExportForm.QDQ,
        gains={Gain.SMALLER, Gain.FASTER},
        source="Krishnamoorthi 2018, arXiv:1806.08342; Migacz 2017, GTC S7310",
        no_op={"min_features": 4096}, estimate_is_bound=keeps_float,
        effects=Effects(
            makes={Effect.CODES: DENSE, Effect.FROZEN: DENSE, Effect.INT8_PRODUCTS: DENSE}, needs_float=DENSE))
def quantize_static(model: "nn.Module", params: StaticParams, ctx: Context) -> Applied:
    """Observe what enters each dense layer, then replace it by int8 weights. Raises RecipeError without rows."""
    from compression.layers.dense.quantized_linear import StaticLinear
    from compression.methods.quantize.harms import kept_in_float
    from compression.models.structure import replace
    from compression.observe.calibration import calibration_batches, levels_of, observe

    applied = Applied(model)
    reasons = chosen(model, min_features=params.min_features, skip_output=params.skip_output)
    linears = {path: model.get_submodule(path) for path, reason in reasons.items() if reason is None}
    batches = calibration_batches(model, params.n_batches, ctx, title="Static int8",
                                  instead="Dynamic int8") if linears else []
    ranges = observe(model, linears, batches, ctx.generator)
    reasons |= dict.fromkeys(linears.keys() - ranges, "no calibration row reached it")
    layers: dict[str, nn.Module] = {}
    for path, seen in ranges.items():
        scale, zero_point = levels_of(seen, params.calibrator, percentile=params.percentile)
        layer = StaticLinear(linears[path], x_scale=scale, zero_point=zero_point, n_bits=params.n_bits)
        layers[path] = layer.train(linears[path].training)
    reasons |= kept_in_float(model, layers, params.keep_float, ctx)
    for path, reason in reasons.items():
        if reason is not None:
            applied.skipped.append(ctx.skip(path, reason))
            continue
        layer = layers[path]
        replace(model, path, layer)
        low, high = (step * layer.x_scale for step in (-layer.zero_point, 255 - layer.zero_point))
        applied.changes.append(ctx.change(path, *bytes_of(linears[path], layer),
                                          f"{params.n_bits} bits, inputs in [{low:.3g}, {high:.3g}]"))
    return applied


@quantize_static.named
def _named(params: StaticParams) -> str:
    return "static int8 dense"


@quantize_static.estimate
def _estimate(layers: tuple[Layer, ...], params: StaticParams) -> tuple[Layer, ...]:
    return estimated(layers, kind="StaticLinear", bias="int32", min_features=params.min_features,
                     skip_output=params.skip_output, keep_float=params.keep_float)
