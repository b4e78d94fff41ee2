"""Mixed precision of dense layers: each alone is tried in fewer bits, and bits go where they are missed most.

Source: Dong et al. 2019, arXiv:1905.03696 (bits by sensitivity, which HAWQ reads off the largest eigenvalue of the
Hessian). Here: sensitivity is measured, as the mean squared change of a logit or the rise of the log loss when one
layer alone is quantised; then layers become narrower by least harm for each byte saved, until a budget is met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.quantize.dense_layers import PARTS, leaf_of, reasons_to_skip
from compression.methods.quantize.harms import harm_of
from compression.methods.quantize.weights import has_bias, size_of
from compression.methods.shared_params import ValidationRows, WideLayers
from compression.spec.effects import DENSE, Effect, Effects
from compression.spec.errors import RecipeError
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Stage, method
from compression.spec.records import Layer, Tensor

if TYPE_CHECKING:
    from torch import nn

FLOAT = 32
NARROWER = (8, 4, 2)
Sizes = dict[str, dict[int, int]]  # layer → bits → bytes
Harms = dict[str, dict[int, float]]


class MixedParams(WideLayers, ValidationRows):
    """The bytes of all dense layers together, and what they may become."""

    bits: float = Field(8.0, ge=2, le=32, multiple_of=0.5,
                        description="Bits a weight on average over all layers taken, scales and biases counted.")
    narrowest: Literal[8, 4, 2] = Field(4, description="The fewest bits that a layer may get.")
    block_size: Literal[32, 64, 128] = Field(32, description="Weights of one output that share a scale.")
    judged_by: Literal["scores", "loss"] = Field(
        "scores", description="A layer's harm: the mean squared change of a logit, which needs no labels, or the rise "
                              "of the validation log loss.")


def sizes_of(shape: tuple[int, ...], params: MixedParams, *, biased: bool) -> dict[int, int]:
    """Bits → bytes of a layer (out, in), from float down; only what is smaller than all wider forms."""
    n_out, n_in = shape
    sizes = {FLOAT: 4 * n_out * (n_in + biased)}
    for n_bits in NARROWER:
        size = size_of(shape, n_bits, params.block_size, biased)
        if n_bits >= params.narrowest and size < min(sizes.values()):
            sizes[n_bits] = size
    return sizes


def budget_of(sizes: Sizes, bits: float) -> int:
    """Bytes of all layers together; no fewer than those of their narrowest forms."""
    return max(int(sum(options[FLOAT] for options in sizes.values()) * bits / FLOAT),
               sum(min(options.values()) for options in sizes.values()))


def allot(sizes: Sizes, harms: Harms, budget: int) -> dict[str, int]:
    """Bits of each layer: from float on, the step of least added harm for each byte saved, until the budget is met.

    What the last step saved too much is given back to the layers that it helps most.
    """
    chosen = dict.fromkeys(sizes, FLOAT)
    spent = sum(options[FLOAT] for options in sizes.values())
    while spent > budget:
        steps = [(max(0.0, harms[path][bits] - harms[path][chosen[path]]) / saved, -saved, path, bits)
                 for path, options in sizes.items() for bits, size in options.items()
                 if (saved := options[chosen[path]] - size) > 0]
        _, saved, path, bits = min(steps)
        chosen[path], spent = bits, spent + saved
    for path in sorted(chosen, key=lambda path: -harms[path][chosen[path]]):
        for bits, size in sizes[path].items():  # the widest first
            more = size - sizes[path][chosen[path]]
            if 0 < more <= budget - spent and harms[path][bits] < harms[path][chosen[path]]:
                chosen[path], spent = bits, spent + more
    return chosen


@method("quantize.mixed", MixedParams, title="Mixed precision of dense layers",
        summary="Measures how much each dense layer alone is harmed by fewer bits, and gives bits where they count.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs={Need.CALIBRATION}, export=ExportForm.CONTRIB,
        gains={Gain.SMALLER}, source="Dong et al. 2019, arXiv:1905.03696",
        tiny={"min_features": 4}, no_op={"bits": 32.0}, estimate_is_bound=True,
        effects=Effects(makes={Effect.CODES: DENSE, Effect.FROZEN: DENSE}, needs_float=DENSE))
def quantize_mixed(model: "nn.Module", params: MixedParams, ctx: Context) -> Applied:
    """Replace dense layers by blocks of codes of 8, 4 or 2 bits. Raises RecipeError without validation rows."""
    from compression.methods.quantize.dynamic import chosen as taken
    from compression.models.structure import replace

    applied, sizes = Applied(model), {}
    for path, reason in taken(model, min_features=params.min_features, skip_output=False).items():
        if reason is None:
            linear = model.get_submodule(path)
            options = sizes_of(tuple(linear.weight.shape), params, biased=linear.bias is not None)
            if len(options) > 1:
                sizes[path] = options
                continue
            reason = "would not save bytes: fewer bits with their scales weigh more than float"
        applied.skipped.append(ctx.skip(path, reason))
    budget = budget_of(sizes, params.bits)
    needed = sum(options[FLOAT] for options in sizes.values()) > budget
    harms = _harms(model, sizes, params, ctx) if needed else {path: {FLOAT: 0.0} for path in sizes}
    for path, bits in allot(sizes, harms, budget).items():
        told = _told(harms[path], params)
        if bits == FLOAT:
            applied.skipped.append(ctx.skip(path, f"it fits into the budget in float{told and '; ' + told}"))
            continue
        linear = model.get_submodule(path)
        replace(model, path, _in_blocks(linear, bits, params).train(linear.training))
        applied.changes.append(ctx.change(path, sizes[path][FLOAT], sizes[path][bits], f"{bits} bits; {told}"))
    return applied


def _harms(model: "nn.Module", sizes: Sizes, params: MixedParams, ctx: Context) -> Harms:
    """What each layer alone does at each of its widths, the others in float."""
    from compression.data.batches import drawn_rows

    if ctx.dataset is None:
        raise RecipeError("Mixed precision measures each layer on validation rows; run the recipe with a dataset, or "
                          "choose weight-only quantisation, which needs none.")
    rows = drawn_rows(ctx.dataset.splits["valid"], params.max_rows, ctx.generator)
    harm = harm_of(model, rows, judged_by=params.judged_by)
    return {path: {FLOAT: 0.0} | {bits: harm(path, _in_blocks(model.get_submodule(path), bits, params))
                                  for bits in list(options)[1:]} for path, options in sizes.items()}


def _in_blocks(linear: "nn.Linear", bits: int, params: MixedParams) -> "nn.Module":
    from compression.layers.dense.block_linear import BlockLinear
    from compression.layers.dense.learned_linear import block_scales

    return BlockLinear(linear.weight, linear.bias, n_bits=bits, block_size=params.block_size,
                       scale=block_scales(linear.weight, bits, params.block_size))


def _told(harms: dict[int, float], params: MixedParams) -> str:
    """What was measured, in words; "" where nothing was."""
    found = ", ".join(f"{harm:.2g} at {bits} bits" for bits, harm in harms.items() if bits != FLOAT)
    what = "squared change of a logit" if params.judged_by == "scores" else "rise of the log loss"
    return f"{what} by this layer alone: {found}" if found else ""


@quantize_mixed.named
def _named(params: MixedParams) -> str:
    return f"{params.bits:g}-bit dense"


@quantize_mixed.estimate
def _estimate(layers: tuple[Layer, ...], params: MixedParams) -> tuple[Layer, ...]:
    """The budget is an upper bound for all layers together; how it divides is known once they are measured."""
    reasons = reasons_to_skip(map(leaf_of, layers), min_features=params.min_features, skip_output=False)
    sizes = {layer.name: options for layer in layers if reasons.get(layer.name, "not dense") is None
             and len(options := sizes_of(layer.shape, params, biased=has_bias(layer))) > 1}
    floats = sum(options[FLOAT] for options in sizes.values())
    budget = budget_of(sizes, params.bits)
    if floats <= budget:
        return layers
    share = {path: -(-budget * options[FLOAT] // floats) for path, options in sizes.items()}
    return tuple(layer.model_copy(update={"kind": "BlockLinear", "tensors": (
        Tensor(name="codes", dtype="uint8", shape=(share[layer.name],)),)}) if layer.name in share else layer
        for layer in layers)
