"""Movement pruning: weights that training moves towards zero go, whatever their size.

Source: Sanh et al. 2020, arXiv:2005.07683. Here: movement is the step the optimiser made instead of the bare gradient,
the cubic schedule chooses how many go, and a weight that went does not come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compression.methods.prune import unstructured
from compression.methods.prune.unstructured import SparsityParams
from compression.spec.method import Applied, Context, ExportForm, Need, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    from torch import nn


@method("prune.movement", SparsityParams, title="Movement pruning",
        summary="While fine-tuning, sets the weights to zero that move towards it, more and more of them.",
        stage=Stage.DURING_TRAINING, parts=set(Part), needs={Need.LABELS, Need.FINE_TUNE}, export=ExportForm.PLAIN,
        source="Sanh et al. 2020, arXiv:2005.07683",
        tiny={"weights": "both"}, no_op={"sparsity": 0.0},
        effects=unstructured.zeros_while_training)
def prune_movement(model: "nn.Module", params: SparsityParams, ctx: Context) -> Applied:
    """Change nothing now; the hook prunes during the next fine-tuning."""
    from compression.train.hooks.movement import MovementHook

    applied = Applied(model)
    idle = "" if params.sparsity else "sparsity is 0"
    chosen = unstructured.chosen_leaves(applied, ctx, weights=params.weights, idle=idle)
    if chosen:
        applied.hooks.append(MovementHook(tuple(chosen), sparsity=params.sparsity, scope=params.scope))
    for path, leaf in chosen.items():
        unstructured.tell(applied, ctx, path, leaf,
                          f"share of zeros will rise to {params.sparsity:.0%} during fine-tuning, by movement")
    return applied


@prune_movement.named
def _named(params: SparsityParams) -> str:
    return f"movement {params.sparsity * 100:g} %"



@prune_movement.estimate
def _estimate(layers: tuple[Layer, ...], params: SparsityParams) -> tuple[Layer, ...]:
    return unstructured.with_zeros(layers, params, due=True)
