"""Taylor pruning: weights whose removal would change the loss least, by gradient × weight, become zero.

Sources: Molchanov et al. 2019, arXiv:1906.10771 (squared first-order terms over batches);
Lee et al. 2019, arXiv:1810.02340 (SNIP: one gradient, meant for a model before training).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.prune import unstructured
from compression.observe.gradients import training_scores
from compression.spec.method import Applied, Context, ExportForm, Need, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    from torch import nn


class TaylorParams(unstructured.SparsityParams):
    """How many weights become zero, where, and how the loss is asked."""

    criterion: Literal["taylor", "snip"] = Field(
        "taylor", description="Mean of (gradient × weight)² over batches, or |mean gradient × weight| as SNIP has it.")
    n_batches: int = Field(20, ge=1, le=1000, description="Training batches over which gradients are taken.")
    batch_size: int = Field(512, ge=1, le=65536, description="Rows in a batch.")


@method("prune.taylor", TaylorParams, title="Taylor pruning",
        summary="Sets the weights to zero that the loss would miss least, by gradient × weight on training batches.",
        stage=Stage.AFTER_TRAINING, parts=set(Part), needs={Need.LABELS}, export=ExportForm.PLAIN,
        source="Molchanov et al. 2019, arXiv:1906.10771; Lee et al. 2019, arXiv:1810.02340",
        tiny={"weights": "both", "n_batches": 4}, no_op={"sparsity": 0.0},
        effects=unstructured.zeros_now)
def prune_taylor(model: "nn.Module", params: TaylorParams, ctx: Context) -> Applied:
    """Zero the weights of the lowest score. Raises RecipeError without a dataset."""
    from compression.train.hooks.pruning import PruningHook, keep_masks

    applied = Applied(model)
    idle = "" if params.sparsity else "sparsity is 0"
    chosen = unstructured.chosen_leaves(applied, ctx, weights=params.weights, idle=idle)
    if not chosen:
        return applied
    scores = training_scores(model, chosen, ctx, title="Taylor pruning", criterion=params.criterion,
                             n_batches=params.n_batches, batch_size=params.batch_size)
    hook = PruningHook(tuple(chosen), sparsity=params.sparsity, scope=params.scope, schedule="one-shot")
    unstructured.zero(applied, ctx, chosen, keep_masks(scores, params.sparsity, params.scope), hook)
    return applied


@prune_taylor.named
def _named(params: TaylorParams) -> str:
    return f"{'SNIP' if params.criterion == 'snip' else 'Taylor'} {params.sparsity * 100:g} %"



@prune_taylor.estimate
def _estimate(layers: tuple[Layer, ...], params: TaylorParams) -> tuple[Layer, ...]:
    return unstructured.with_zeros(layers, params, due=False)
