"""Hints: hidden layers of the compressed model learn what those of the uploaded model say.

Source: Romero et al. 2015, arXiv:1412.6550 (FitNets). Here: through a learned projection for each pair of layers,
which the training drops at its end, beside the other losses instead of before them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.distill.self import listening, teacher_of, teaching, unheard
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Params, Stage, method
from compression.spec.records import ModelDescription, Part

if TYPE_CHECKING:
    from torch import nn


class FeatureParams(Params):
    """Which layers take hints, and how much they weigh."""

    weight: float = Field(0.1, ge=0, le=10, multiple_of=0.01,
                          description="How much the hints add to the loss: 1 where the mean squared error equals the "
                                      "variance of the teacher's outputs.")
    layers: Literal["last", "all"] = Field(
        "last", description="The last hidden layer alone, or every hidden layer.")


@method("distill.features", FeatureParams, title="Hints from hidden layers",
        summary="Lets hidden layers of the compressed model learn from those of the uploaded one.",
        stage=Stage.DURING_TRAINING, parts=set(Part), needs={Need.LABELS, Need.TEACHER, Need.FINE_TUNE},
        export=ExportForm.PLAIN,
        gains={Gain.QUALITY}, source="Romero et al. 2015, arXiv:1412.6550", no_op={"weight": 0.0},
        effects=teaching("this step"))
def distill_features(model: "nn.Module", params: FeatureParams, ctx: Context) -> Applied:
    """Give the next fine-tuning a loss that compares hidden layers; a model without any is left as it is."""
    from compression.train.hooks.hint import HintHook, hidden_layers, pairs_of

    if params.weight == 0:
        return unheard(model, ctx, "weight is 0: the hints have no say")
    teacher = teacher_of(ctx)
    pairs = pairs_of(hidden_layers(model), hidden_layers(teacher), params.layers)
    if not pairs:
        return unheard(model, ctx, "the model or its teacher has no hidden layer to take hints from")
    hook = HintHook(teacher, pairs, weight=params.weight, seed=ctx.seed * 1000 + ctx.step)
    told = ", ".join(f"{path} from {hint}" if path != hint else path for path, hint in pairs)
    return listening(model, ctx, f"the next fine-tuning gives hints to {told}; saves no bytes", hook)


@distill_features.fits
def _fits(description: ModelDescription) -> str:
    hidden = any(layer.kind == "Linear" and layer.part is Part.DENSE for layer in description.layers)
    return "" if hidden else "This model has no hidden layer to take hints from."



@distill_features.named
def _named(params: FeatureParams) -> str:
    return f"hints {params.weight:g}"
