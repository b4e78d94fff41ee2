"""Cheap convolutions: filters for each channel and a mixture of them, or few channels first and filters over those.

Sources: Howard et al. 2017, arXiv:1704.04861 (MobileNets); Sandler et al. 2018, arXiv:1801.04381 (MobileNetV2: nothing
nonlinear in the narrow part); Iandola et al. 2016, arXiv:1602.07360 (SqueezeNet). Here: started as the nearest of that
form to the trained convolution, so that a short fine-tuning is enough; distill.self lets it learn from the whole one.
Legend: O output channels, I input channels, T length of the kernel, M multiplier, S squeezed channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.spec.effects import Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Params, Stage, method
from compression.spec.records import Layer, ModelDescription, Part, Tensor

if TYPE_CHECKING:
    from torch import nn

PARTS = (Part.DENSE, Part.INTERACTION)


class DepthwiseParams(Params):
    """What a convolution becomes, and how small."""

    form: Literal["depthwise", "squeeze"] = Field(
        "depthwise", description="Filters for each channel and then a mixture; or fewer channels and then the filters.")
    multiplier: int = Field(1, ge=1, le=4, description="Filters for each channel; used by depthwise.")
    squeeze_ratio: float = Field(0.25, ge=0.05, le=1, multiple_of=0.05,
                                 description="Channels that are left, as a share of the smaller side; used by squeeze.")


def inner_channels(shape: tuple[int, ...], params: DepthwiseParams) -> int:
    """Channels between the two convolutions that (O, I, T) becomes."""
    n_out, n_in, length = shape
    if params.form == "depthwise":
        return n_in * min(params.multiplier, length, n_out)
    return max(1, round(params.squeeze_ratio * min(n_in, n_out * length)))


def shapes_of(shape: tuple[int, ...], params: DepthwiseParams) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the two weights."""
    n_out, n_in, length = shape
    inner = inner_channels(shape, params)
    return ((inner, 1, length), (n_out, inner, 1)) if params.form == "depthwise" else (
        (inner, n_in, 1), (n_out, inner, length))


def reason_to_skip(kind: str, shape: tuple[int, ...], params: DepthwiseParams) -> str | None:
    """Why a layer stays as it is, or None; by kind and shape alone."""
    if kind != "Conv1d":
        return f"{kind} is no convolution"
    if shape[1] == 1:
        return "it reads one channel at a time already"
    (first, second), whole = (_product(one) for one in shapes_of(shape, params)), _product(shape)
    return None if first + second < whole else (
        f"would not save bytes: both parts need {first + second:,} numbers, the convolution has {whole:,}")


def _product(shape: tuple[int, ...]) -> int:
    n_out, n_in, length = shape
    return n_out * n_in * length


@method("reparam.depthwise", DepthwiseParams, title="Separable convolutions",
        summary="Splits each convolution into filters for single channels and a mixture, or into few channels first.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER},
        source="Howard et al. 2017, arXiv:1704.04861; Sandler et al. 2018, arXiv:1801.04381; Iandola et al. 2016, "
               "arXiv:1602.07360",
        no_op={"form": "squeeze", "squeeze_ratio": 1.0},
        effects=Effects(makes={Effect.LOW_RANK: frozenset(PARTS)}, wants_training=(
            "Convolutions of this form are the nearest to the trained ones, and still far from them")))
def reparam_depthwise(model: "nn.Module", params: DepthwiseParams, ctx: Context) -> Applied:
    """Replace one-dimensional convolutions by two cheaper ones where that saves bytes."""
    from compression.layers.dense.split_conv import depthwise_factors, split_conv, squeezed_factors
    from compression.models.structure import leaves, part_of, replace

    applied = Applied(model)
    for path, leaf in list(leaves(model)):
        if part_of(model, path) not in PARTS:
            continue
        kind = type(leaf).__name__
        reason = reason_to_skip(kind, tuple(leaf.weight.shape) if kind == "Conv1d" else (), params)
        if reason is not None:
            applied.skipped.append(ctx.skip(path, reason))
            continue
        depthwise, inner = params.form == "depthwise", inner_channels(tuple(leaf.weight.shape), params)
        first, second, kept = (depthwise_factors(leaf.weight, inner // leaf.in_channels) if depthwise
                               else squeezed_factors(leaf.weight, inner))
        new = split_conv(leaf, first, second, depthwise=depthwise)
        replace(model, path, new)
        before, after = (4 * sum(tensor.numel() for tensor in one.parameters()) for one in (leaf, new))
        applied.changes.append(ctx.change(
            path, before, after, f"{inner} channels between the two parts, {kept:.1%} of the energy kept"))
    return applied


@reparam_depthwise.fits
def _fits(description: ModelDescription) -> str:
    found = any(layer.kind == "Conv1d" for layer in description.layers)
    return "" if found else "This model has no convolutions."



@reparam_depthwise.estimate
def _estimate(layers: tuple[Layer, ...], params: DepthwiseParams) -> tuple[Layer, ...]:
    out: list[Layer] = []
    for layer in layers:
        stays = layer.part not in PARTS or reason_to_skip(layer.kind, layer.shape, params) is not None
        out += [layer] if stays else _split(layer, params)
    return tuple(out)


def _split(layer: Layer, params: DepthwiseParams) -> list[Layer]:
    biases = [item.shape for item in layer.tensors if len(item.shape) == 1]
    parts = []
    for place, shape in enumerate(shapes_of(layer.shape, params)):
        name = f"{layer.name}.{place}"
        tensors = [Tensor(name=f"{name}.weight", dtype="float32", shape=shape)]
        tensors += [Tensor(name=f"{name}.bias", dtype="float32", shape=one) for one in biases if place == 1]
        parts.append(layer.model_copy(update={"name": name, "shape": shape, "tensors": tuple(tensors)}))
    return parts


@reparam_depthwise.named
def _named(params: DepthwiseParams) -> str:
    return "separable convolutions" if params.form == "depthwise" else "squeezed convolutions"
