"""Quantised training of dense layers: the next fine-tuning sees them as they are stored, and learns their scales.

Source: Esser et al. 2020, arXiv:1902.08153 (learned step size, straight-through rounding). Here: a step for each
output or block where the paper has one a layer, learned as a factor, which keeps it positive; the paper's scaling of
the step's gradient is left out, as Adam divides by it. At 2 bits the levels are −1, 0 and 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.quantize.dense_layers import PARTS, estimated, leaf_of, reasons_to_skip
from compression.methods.quantize.dynamic import bytes_of, chosen
from compression.methods.quantize.weights import in_blocks, no_saving, size_of
from compression.methods.shared_params import DenseLayers
from compression.spec.effects import DENSE, NO_PARTS, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Stage, method
from compression.spec.records import Layer

if TYPE_CHECKING:
    from torch import nn

N_BATCHES = 16  # to start the ranges of inputs from
TITLE = "Quantised training of dense layers"


class TrainDenseParams(DenseLayers):
    """How wide a weight's code is, how many share a scale, and which layers are taken."""

    n_bits: Literal[8, 7, 4, 2] = Field(
        4, description="Bits of a weight. At 8 a layer multiplies in int8 with one learned range of its inputs (7 are "
                       "stored in 8, for CPUs without VNNI); 4 and 2 are blocks of codes.")
    block_size: Literal[32, 64, 128] = Field(
        32, description="Weights of one output that share a scale, at 4 and 2 bits.")


def _effects(params: TrainDenseParams) -> Effects:
    return Effects(makes={Effect.CODES: DENSE, Effect.FROZEN: DENSE, Effect.ROUNDING: DENSE,
                          Effect.INT8_PRODUCTS: DENSE if params.n_bits >= 7 else NO_PARTS}, needs_float=DENSE)


@method("quantize.train_dense", TrainDenseParams, title=TITLE,
        summary="Stores dense weights in 8, 4 or 2 bits and lets the next fine-tuning learn weights and scales through "
                "the rounding.",
        stage=Stage.DURING_TRAINING, parts=set(PARTS), needs={Need.LABELS, Need.FINE_TUNE},
        export=ExportForm.CONTRIB, gains={Gain.SMALLER},
        source="Esser et al. 2020, arXiv:1902.08153",
        tiny={"min_features": 4}, no_op={"min_features": 4096},
        effects=_effects)
def train_dense(model: "nn.Module", params: TrainDenseParams, ctx: Context) -> Applied:
    """Put codes in the place of dense layers now; the hook gives them their float weights back while they train.

    Raises RecipeError at 8 bits without training rows.
    """
    from compression.models.structure import replace
    from compression.train.hooks.dense_rounding import DenseRoundingHook

    applied, floats = Applied(model), {}
    reasons = chosen(model, min_features=params.min_features, skip_output=params.skip_output)
    linears = {path: model.get_submodule(path) for path, reason in reasons.items() if reason is None}
    stored = (_by_blocks if params.n_bits < 7 else _by_outputs)(model, linears, params, ctx)
    for path, reason in reasons.items():
        layer = stored.get(path, reason)
        if isinstance(layer, str):
            applied.skipped.append(ctx.skip(path, layer))
            continue
        floats[path] = linears[path]
        replace(model, path, layer.train(linears[path].training))
        what = "a scale an output, one range of inputs" if params.n_bits >= 7 else (
            f"a scale for each {params.block_size} weights of an output")
        applied.changes.append(ctx.change(path, *bytes_of(linears[path], layer),
                                          f"{params.n_bits} bits, {what}; trained through the rounding"))
    if floats:
        applied.hooks.append(DenseRoundingHook(floats))
    return applied


def _by_outputs(model: "nn.Module", linears: "dict[str, nn.Linear]", params: TrainDenseParams,
                ctx: Context) -> "dict[str, nn.Module | str]":
    """Path → the layer in int8 with the range that its inputs start from, or why it stays in float."""
    from compression.layers.dense.learned_linear import static_scales
    from compression.layers.dense.quantized_linear import StaticLinear
    from compression.observe.calibration import calibration_batches, levels_of, observe

    batches = calibration_batches(model, N_BATCHES, ctx, title=TITLE, instead="4 bits") if linears else []
    ranges = observe(model, linears, batches, ctx.generator)
    found: "dict[str, nn.Module | str]" = {}
    for path, linear in linears.items():
        if path not in ranges:
            found[path] = "no calibration row reached it"
            continue
        x_scale, zero_point = levels_of(ranges[path], "mse")
        found[path] = StaticLinear(linear, x_scale=x_scale, zero_point=zero_point, n_bits=params.n_bits,
                                   scale=static_scales(linear.weight, params.n_bits))
    return found


def _by_blocks(model: "nn.Module", linears: "dict[str, nn.Linear]", params: TrainDenseParams,
               ctx: Context) -> "dict[str, nn.Module | str]":
    """Path → the layer in blocks of codes, or why it stays in float."""
    from compression.layers.dense.block_linear import BlockLinear
    from compression.layers.dense.learned_linear import block_scales

    bits, size = params.n_bits, params.block_size
    found: "dict[str, nn.Module | str]" = {}
    for path, linear in linears.items():
        before = 4 * sum(tensor.numel() for tensor in linear.parameters())
        after = size_of(tuple(linear.weight.shape), bits, size, linear.bias is not None)
        found[path] = no_saving(before, after) or BlockLinear(
            linear.weight, linear.bias, n_bits=bits, block_size=size, scale=block_scales(linear.weight, bits, size))
    return found


@train_dense.named
def _named(params: TrainDenseParams) -> str:
    return f"trained int{params.n_bits} dense"


@train_dense.estimate
def _estimate(layers: tuple[Layer, ...], params: TrainDenseParams) -> tuple[Layer, ...]:
    if params.n_bits >= 7:
        return estimated(layers, kind="StaticLinear", bias="int32", min_features=params.min_features,
                         skip_output=params.skip_output)
    reasons = reasons_to_skip(map(leaf_of, layers), min_features=params.min_features, skip_output=params.skip_output)
    return tuple(in_blocks(layer, params.n_bits, params.block_size)
                 if reasons.get(layer.name, "not dense") is None else layer for layer in layers)
