"""Magnitude pruning: the smallest weights become zero, at once or step by step while fine-tuning.

Sources: Han et al. 2015, arXiv:1506.02626 (one-shot, then retrain with the mask held);
Zhu & Gupta 2017, arXiv:1710.01878 (cubic schedule).
Here: zeros are stored like any other weight, so the exported file keeps its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.method import Applied, Context, ExportForm, Params, Problem, Stage, method
from compression.methods.order import needs_float
from compression.records import Part, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

NO_BYTES = "bytes stay the same: zeros alone save none"


class MagnitudeParams(Params):
    """How many weights become zero, where, and when."""

    sparsity: float = Field(0.5, ge=0, le=0.99, multiple_of=0.01, description="Share of the weights set to zero.")
    weights: Literal["dense", "tables", "both"] = Field(
        "dense", description="Prune the dense layers, the embedding tables, or both.")
    scope: Literal["layer", "model"] = Field(
        "layer", description="Reach the share in each layer alone, or over all chosen layers with one threshold.")
    schedule: Literal["one-shot", "cubic"] = Field(
        "one-shot", description="Set all zeros now, or raise the share step by step during the next fine-tuning.")


@method("prune.magnitude", MagnitudeParams, title="Magnitude pruning",
        summary="Sets the smallest weights to zero and holds them there while fine-tuning.",
        stage=Stage.AFTER_TRAINING, parts=set(Part), needs=set(), export=ExportForm.PLAIN,
        source="Han et al. 2015, arXiv:1506.02626; Zhu & Gupta 2017, arXiv:1710.01878",
        tiny={"weights": "both"}, no_op={"sparsity": 0.0})
def prune_magnitude(model: "nn.Module", params: MagnitudeParams, ctx: Context) -> Applied:
    """Zero the smallest weights; with the cubic schedule the hook does it during the next fine-tuning."""
    from compression.models.structure import leaves, part_of
    from compression.train.pruning_hook import PruningHook

    applied = Applied(model)
    chosen: dict[str, nn.Module] = {}
    for path, leaf in leaves(model):
        reason = _why_not(leaf, part_of(model, path), params)
        if reason:
            applied.skipped.append(ctx.skip(path, reason))
        else:
            chosen[path] = leaf
    if not chosen:
        return applied

    hook = PruningHook(tuple(chosen), sparsity=params.sparsity, scope=params.scope, schedule=params.schedule)
    if params.schedule == "one-shot":
        _zero_smallest(chosen, params)
        hook.hold_zeros(model)
    applied.hooks.append(hook)
    for path, leaf in chosen.items():
        applied.changes.append(ctx.change(path, *_bytes(leaf), detail=_detail(leaf.weight, params)))
    return applied


def _why_not(leaf: "nn.Module", part: Part, params: MagnitudeParams) -> str | None:
    from torch import nn

    if params.sparsity == 0:
        return "sparsity is 0"
    if not isinstance(leaf, nn.Linear | nn.Embedding):
        return f"{type(leaf).__name__} has no matrix of float weights to prune"
    if params.weights != "both" and (part is Part.EMBEDDING) != (params.weights == "tables"):
        return f"only {'dense layers' if params.weights == 'dense' else 'tables'} were chosen"
    return None


def _zero_smallest(chosen: "dict[str, nn.Module]", params: MagnitudeParams) -> None:
    """Give each layer a new weight with zeros; the old tensors, shared with the input model, stay as they are."""
    from torch import nn

    from compression.train.pruning_hook import smallest_masks

    keep = smallest_masks({path: leaf.weight.detach() for path, leaf in chosen.items()}, params.sparsity, params.scope)
    for path, leaf in chosen.items():
        leaf.weight = nn.Parameter(leaf.weight.detach() * keep[path])


def _bytes(leaf: "nn.Module") -> tuple[int, int]:
    size = 4 * sum(tensor.numel() for tensor in leaf.parameters())
    return size, size


def _detail(weight: "Tensor", params: MagnitudeParams) -> str:
    if params.schedule == "cubic":
        return f"share of zeros will rise to {params.sparsity:.0%} during fine-tuning; {NO_BYTES}"
    zeros = int((weight == 0).sum())
    return f"{zeros:,} of {weight.numel():,} weights are zero; {NO_BYTES}"


@prune_magnitude.named
def _named(params: MagnitudeParams) -> str:
    return f"prune {params.sparsity * 100:g} %"


@prune_magnitude.check
def _check(params: MagnitudeParams, index: int, steps: tuple[Step, ...]) -> Iterator[Problem]:
    later = [step.method for step in steps[index + 1:]]
    if params.schedule == "cubic" and "train.fine_tune" not in later:
        yield Problem(index, "error", "Magnitude pruning with the cubic schedule works during training: "
                                      "add a fine-tune step after it, or choose the one-shot schedule.")
    if params.sparsity > 0:
        yield Problem(index, "warning", "Magnitude pruning makes no file smaller: zeros are stored like other weights. "
                                        "For fewer bytes prune channels or rows, or quantise.")
    yield from needs_float("Magnitude pruning", index, steps, dense=params.weights != "tables",
                           tables=params.weights != "dense")
