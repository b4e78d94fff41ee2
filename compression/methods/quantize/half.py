"""Tables and dense layers stored in 16 or 8 bits of floating point, computed in float32.

Sources: Micikevicius et al. 2018, arXiv:1710.03740 (fp16); Kalamkar et al. 2019, arXiv:1905.12322 (bf16);
Micikevicius et al. 2022, arXiv:2209.05433 (fp8 e4m3). Here: storage alone; a dense weight is float again once loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.layers.stored_shapes import half_tensors
from compression.spec.effects import DENSE, Effect, Effects, parts_of
from compression.spec.method import Applied, Context, ExportForm, Gain, Params, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    from torch import nn

KINDS = {"Embedding": "HalfTable", "Linear": "HalfLinear"}


class HalfParams(Params):
    """The floating-point type that is stored, and where."""

    form: Literal["fp16", "bf16", "fp8"] = Field(
        "fp16", description="fp16 is exact to 3 digits, bf16 to 2 with a wider range, fp8 to 1 in half of the bytes.")
    weights: Literal["dense", "tables", "both"] = Field(
        "both", description="Store the dense layers, the embedding tables, or both that way.")
    min_size: int = Field(256, ge=1, le=1_000_000, description="Layers of fewer numbers stay in float32.")


def _effects(params: HalfParams) -> Effects:
    stored = parts_of(params.weights)
    return Effects(makes={Effect.CODES: stored, Effect.FROZEN: stored}, needs_float=stored & DENSE or stored)


@method("quantize.half", HalfParams, title="Half and quarter precision",
        summary="Stores tables and dense layers as fp16, bf16 or fp8; computing stays in float32.",
        stage=Stage.AFTER_TRAINING, parts=set(Part), needs=set(), export=ExportForm.PLAIN, gains={Gain.SMALLER},
        source="Micikevicius et al. 2018, arXiv:1710.03740; Kalamkar et al. 2019, arXiv:1905.12322; "
               "Micikevicius et al. 2022, arXiv:2209.05433",
        tiny={"min_size": 1}, no_op={"min_size": 1_000_000},
        effects=_effects)
def quantize_half(model: "nn.Module", params: HalfParams, ctx: Context) -> Applied:
    """Replace float tables and dense layers by stored ones."""
    from torch import nn

    from compression.layers.half_layers import HalfLinear, HalfTable
    from compression.models.structure import leaves, part_of, replace

    applied = Applied(model)
    for path, leaf in list(leaves(model)):
        kind = type(leaf).__name__ if isinstance(leaf, nn.Embedding | nn.Linear) else ""
        shape = tuple(leaf.weight.shape) if kind else ()
        reason = reason_to_skip(kind, shape, part_of(model, path), params) or _unfit(leaf)
        if reason:
            applied.skipped.append(ctx.skip(path, reason.format(kind=type(leaf).__name__)))
            continue
        layer = (HalfTable if kind == "Embedding" else HalfLinear)(leaf, params.form).train(leaf.training)
        before = 4 * sum(tensor.numel() for tensor in leaf.parameters())
        replace(model, path, layer)
        detail = "memory shrinks too" if kind == "Embedding" else "float32 again once loaded: the file shrinks alone"
        applied.changes.append(ctx.change(path, before, sum(item.size_bytes for item in layer.stored_tensors()),
                                          f"{params.form}; {detail}"))
    return applied


def reason_to_skip(kind: str, shape: tuple[int, ...], part: Part, params: HalfParams) -> str | None:
    """Why a leaf stays as it is, by its kind and shape; None where it is stored anew."""
    if kind not in KINDS:
        return "{kind} holds no float table or dense weights"
    if params.weights != "both" and (part is Part.EMBEDDING) != (params.weights == "tables"):
        return f"only {'dense layers' if params.weights == 'dense' else 'tables'} were chosen"
    if shape[0] * shape[1] < params.min_size:
        return f"{shape[0] * shape[1]:,} numbers are fewer than min_size ({params.min_size:,})"
    return None


def _unfit(leaf: "nn.Module") -> str | None:
    if getattr(leaf, "max_norm", None) is not None:
        return "its rows are rescaled at every lookup (max_norm)"
    return None


@quantize_half.named
def _named(params: HalfParams) -> str:
    return {"both": params.form, "dense": f"{params.form} dense", "tables": f"{params.form} tables"}[params.weights]



@quantize_half.estimate
def _estimate(layers: tuple[Layer, ...], params: HalfParams) -> tuple[Layer, ...]:
    return tuple(layer if reason_to_skip(layer.kind, layer.shape, layer.part, params) else _stored(layer, params)
                 for layer in layers)


def _stored(layer: Layer, params: HalfParams) -> Layer:
    has_bias = any(tensor.name.split(".")[-1] == "bias" for tensor in layer.tensors)
    return layer.model_copy(update={"kind": KINDS[layer.kind],
                                    "tensors": half_tensors(layer.shape, params.form, has_bias=has_bias)})
