"""Magnitude pruning: the smallest weights become zero, at once or step by step while fine-tuning.

Sources: Han et al. 2015, arXiv:1506.02626 (one-shot, then retrain with the mask held);
Zhu & Gupta 2017, arXiv:1710.01878 (cubic schedule).
Here: zeros are stored like any other weight, so the exported file keeps its size until prune.store_sparse.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.prune import unstructured
from compression.spec.effects import Effects
from compression.spec.method import Applied, Context, ExportForm, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    from torch import nn


class MagnitudeParams(unstructured.SparsityParams):
    """How many weights become zero, where, and when."""

    schedule: Literal["one-shot", "cubic"] = Field(
        "one-shot", description="Set all zeros now, or raise the share step by step during the next fine-tuning.")


def _effects(params: MagnitudeParams) -> Effects:
    if params.schedule == "one-shot":
        return unstructured.zeros_now(params)
    return replace(unstructured.zeros_while_training(params), needs_training=(
        "Magnitude pruning with the cubic schedule works during training, with the one-shot schedule at once"))


@method("prune.magnitude", MagnitudeParams, title="Magnitude pruning",
        summary="Sets the smallest weights to zero and holds them there while fine-tuning.",
        stage=Stage.AFTER_TRAINING, parts=set(Part), needs=set(), export=ExportForm.PLAIN,
        source="Han et al. 2015, arXiv:1506.02626; Zhu & Gupta 2017, arXiv:1710.01878",
        tiny={"weights": "both"}, no_op={"sparsity": 0.0},
        effects=_effects)
def prune_magnitude(model: "nn.Module", params: MagnitudeParams, ctx: Context) -> Applied:
    """Zero the smallest weights; with the cubic schedule the hook does it during the next fine-tuning."""
    from compression.train.hooks.pruning import PruningHook, keep_masks

    applied = Applied(model)
    idle = "" if params.sparsity else "sparsity is 0"
    chosen = unstructured.chosen_leaves(applied, ctx, weights=params.weights, idle=idle)
    hook = PruningHook(tuple(chosen), sparsity=params.sparsity, scope=params.scope, schedule=params.schedule)
    if params.schedule == "one-shot" and chosen:
        unstructured.zero(applied, ctx, chosen, keep_masks(hook.scores(model), params.sparsity, params.scope), hook)
    elif chosen:
        applied.hooks.append(hook)
        for path, leaf in chosen.items():
            unstructured.tell(applied, ctx, path, leaf,
                              f"share of zeros will rise to {params.sparsity:.0%} during fine-tuning")
    return applied


@prune_magnitude.named
def _named(params: MagnitudeParams) -> str:
    return f"prune {params.sparsity * 100:g} %"



@prune_magnitude.estimate
def _estimate(layers: tuple[Layer, ...], params: MagnitudeParams) -> tuple[Layer, ...]:
    return unstructured.with_zeros(layers, params, due=params.schedule == "cubic")
