"""Random pruning: weights drawn by lot become zero. The control for every other way of choosing them.

Sources: Blalock et al. 2020, arXiv:2003.03033 (compare with random pruning); Liu et al. 2022, arXiv:2202.02643.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compression.methods.prune import unstructured
from compression.methods.prune.unstructured import SparsityParams
from compression.spec.method import Applied, Context, ExportForm, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    from torch import nn


@method("prune.random", SparsityParams, title="Random pruning",
        summary="Sets weights drawn by lot to zero: the control for every other criterion.",
        stage=Stage.AFTER_TRAINING, parts=set(Part), needs=set(), export=ExportForm.PLAIN,
        source="Blalock et al. 2020, arXiv:2003.03033; Liu et al. 2022, arXiv:2202.02643",
        tiny={"weights": "both"}, no_op={"sparsity": 0.0},
        effects=unstructured.zeros_now)
def prune_random(model: "nn.Module", params: SparsityParams, ctx: Context) -> Applied:
    """Zero weights by lot, the same for the same seed."""
    import torch

    from compression.train.hooks.pruning import PruningHook, keep_masks

    applied = Applied(model)
    idle = "" if params.sparsity else "sparsity is 0"
    chosen = unstructured.chosen_leaves(applied, ctx, weights=params.weights, idle=idle)
    generator = ctx.generator
    lots = {path: torch.rand(leaf.weight.shape, generator=generator) for path, leaf in chosen.items()}
    if chosen:
        hook = PruningHook(tuple(chosen), sparsity=params.sparsity, scope=params.scope, schedule="one-shot")
        unstructured.zero(applied, ctx, chosen, keep_masks(lots, params.sparsity, params.scope), hook)
    return applied


@prune_random.named
def _named(params: SparsityParams) -> str:
    return f"random {params.sparsity * 100:g} %"



@prune_random.estimate
def _estimate(layers: tuple[Layer, ...], params: SparsityParams) -> tuple[Layer, ...]:
    return unstructured.with_zeros(layers, params, due=False)
