"""L1 training: the next fine-tuning pulls every weight towards zero, and those that little holds become exactly zero.

Sources: Tibshirani 1996 (the penalty); Yun et al. 2021, arXiv:2007.07484 (its proximal step with adaptive optimisers).
Here: the pull is measured in steps of the optimiser, so that one strength means the same at any learning rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.prune import unstructured
from compression.spec.effects import Effects, parts_of
from compression.spec.method import Applied, Context, ExportForm, Need, Params, Stage, method
from compression.spec.records import Part

if TYPE_CHECKING:
    from torch import nn


class L1Params(Params):
    """How hard weights are pulled, and which."""

    strength: float = Field(1.0, ge=0, le=10, multiple_of=0.01,
                            description="Pull at each step, as a share of the optimiser's mean step in the layer.")
    weights: Literal["dense", "tables", "both"] = Field(
        "dense", description="Pull the dense layers, the embedding tables, or both.")


def _effects(params: L1Params) -> Effects:
    return unstructured.zeros_in(parts_of(params.weights), works=params.strength > 0, growing=True)


@method("prune.l1", L1Params, title="L1 training",
        summary="While fine-tuning, pulls weights towards zero until those that little holds are exactly zero.",
        stage=Stage.DURING_TRAINING, parts=set(Part), needs={Need.LABELS, Need.FINE_TUNE}, export=ExportForm.PLAIN,
        source="Tibshirani 1996; Yun et al. 2021, arXiv:2007.07484",
        tiny={"weights": "both"}, no_op={"strength": 0.0},
        effects=_effects)
def prune_l1(model: "nn.Module", params: L1Params, ctx: Context) -> Applied:
    """Change nothing now; the hook pulls during the next fine-tuning."""
    from compression.train.hooks.movement import ShrinkingHook

    applied = Applied(model)
    idle = "" if params.strength else "strength is 0"
    chosen = unstructured.chosen_leaves(applied, ctx, weights=params.weights, idle=idle)
    if chosen:
        applied.hooks.append(ShrinkingHook(tuple(chosen), strength=params.strength))
    for path, leaf in chosen.items():
        unstructured.tell(applied, ctx, path, leaf, "will be pulled towards zero during fine-tuning")
    return applied


@prune_l1.named
def _named(params: L1Params) -> str:
    return f"L1 {params.strength:g}"
