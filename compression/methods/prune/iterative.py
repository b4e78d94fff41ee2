"""Iterative pruning with rewinding, as the lottery ticket hypothesis has it.

Sources: Frankle & Carbin 2019, arXiv:1803.03635; Frankle et al. 2019, arXiv:1903.01611 (rewinding to an early step).
Here: the rounds share one fine-tuning, and its start is the model as it came, trained already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.prune import unstructured
from compression.spec.method import Applied, Context, ExportForm, Need, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    from torch import nn


class IterativeParams(unstructured.SparsityParams):
    """How many weights go in how many rounds, and from where the rest trains on."""

    n_rounds: int = Field(3, ge=1, le=20, description="Rounds of training and pruning; one more training follows.")
    rewind_to: Literal["start", "early", "none"] = Field(
        "start", description="Set weights back after each round: to the beginning of the fine-tuning, to a tenth "
                             "of its first round, or not at all.")


@method("prune.iterative", IterativeParams, title="Iterative pruning with rewinding",
        summary="While fine-tuning, prunes in rounds and sets the weights that are left back after each.",
        stage=Stage.DURING_TRAINING, parts=set(Part), needs={Need.LABELS, Need.FINE_TUNE}, export=ExportForm.PLAIN,
        source="Frankle & Carbin 2019, arXiv:1803.03635; Frankle et al. 2019, arXiv:1903.01611",
        tiny={"weights": "both"}, no_op={"sparsity": 0.0},
        effects=unstructured.zeros_while_training)
def prune_iterative(model: "nn.Module", params: IterativeParams, ctx: Context) -> Applied:
    """Change nothing now; the hook prunes and rewinds during the next fine-tuning."""
    from compression.train.hooks.rewinding import RewindingHook

    applied = Applied(model)
    idle = "" if params.sparsity else "sparsity is 0"
    chosen = unstructured.chosen_leaves(applied, ctx, weights=params.weights, idle=idle)
    if chosen:
        applied.hooks.append(RewindingHook(tuple(chosen), sparsity=params.sparsity, scope=params.scope,
                                           n_rounds=params.n_rounds, rewind_to=params.rewind_to))
    for path, leaf in chosen.items():
        detail = f"share of zeros will rise to {params.sparsity:.0%} in {params.n_rounds} rounds of fine-tuning"
        unstructured.tell(applied, ctx, path, leaf, detail)
    return applied


@prune_iterative.named
def _named(params: IterativeParams) -> str:
    return f"{params.n_rounds} rounds to {params.sparsity * 100:g} %"



@prune_iterative.estimate
def _estimate(layers: tuple[Layer, ...], params: IterativeParams) -> tuple[Layer, ...]:
    return unstructured.with_zeros(layers, params, due=True)
