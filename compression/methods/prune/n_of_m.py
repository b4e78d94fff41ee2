"""N:M pruning: of every M neighbouring weights of an output, the N largest stay.

Source: Mishra et al. 2021, arXiv:2104.08378 (2:4, which the sparse tensor cores of NVIDIA GPUs multiply at up to twice
the rate through TensorRT). Here: a pattern of zeros only. ONNX Runtime multiplies them like any other weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.prune import unstructured
from compression.spec.effects import DENSE
from compression.spec.method import Applied, Context, ExportForm, Params, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    import torch
    from torch import nn


class PatternParams(Params):
    """Which pattern, and where it would be too narrow."""

    pattern: Literal["2:4", "1:4", "1:2", "4:8", "2:8", "1:8"] = Field(
        "2:4", description="Weights that stay of how many neighbours; 2:4 is the one that hardware knows.")
    min_features: int = Field(16, ge=1, le=4096, description="Layers with fewer inputs or outputs stay as they are.")


@method("prune.n_of_m", PatternParams, title="N:M pruning",
        summary="Keeps the N largest of every M neighbouring weights: the pattern of sparse tensor cores.",
        stage=Stage.AFTER_TRAINING, parts={Part.DENSE, Part.INTERACTION, Part.OUTPUT}, needs=set(),
        export=ExportForm.PLAIN, source="Mishra et al. 2021, arXiv:2104.08378",
        tiny={"min_features": 1}, no_op={"min_features": 4096},
        effects=unstructured.zeros_in(DENSE))
def prune_n_of_m(model: "nn.Module", params: PatternParams, ctx: Context) -> Applied:
    """Zero all but N of M weights in every dense layer that is wide enough."""
    from compression.train.hooks.pruning import PruningHook

    applied = Applied(model)
    kept, group = map(int, params.pattern.split(":"))
    chosen = unstructured.chosen_leaves(applied, ctx, weights="dense")
    for path, leaf in list(chosen.items()):
        if min(leaf.weight.shape) < params.min_features:
            reason = f"{min(leaf.weight.shape)} features are fewer than min_features ({params.min_features})"
            applied.skipped.append(ctx.skip(path, reason))
            del chosen[path]
    if chosen:
        hook = PruningHook(tuple(chosen), sparsity=1 - kept / group, scope="layer", schedule="one-shot")
        keep = {path: largest_of_group(leaf.weight.detach(), kept, group) for path, leaf in chosen.items()}
        unstructured.zero(applied, ctx, chosen, keep, hook)
    return applied


def largest_of_group(weight: "torch.Tensor", kept: int, group: int) -> "torch.Tensor":
    """(out, in) bool: True at the `kept` largest magnitudes of every `group` inputs; inputs left over are all kept."""
    import torch

    keep = torch.ones_like(weight, dtype=torch.bool)
    whole = weight.shape[1] // group * group
    if whole:
        groups = weight[:, :whole].abs().reshape(len(weight), -1, group)
        top = groups.topk(kept, dim=2).indices
        keep[:, :whole] = torch.zeros_like(groups, dtype=torch.bool).scatter(2, top, True).reshape(len(weight), whole)
    return keep


@prune_n_of_m.named
def _named(params: PatternParams) -> str:
    return f"{params.pattern} pattern"



@prune_n_of_m.estimate
def _estimate(layers: tuple[Layer, ...], params: PatternParams) -> tuple[Layer, ...]:
    kept, group = map(int, params.pattern.split(":"))
    return tuple(unstructured.counted(layer, layer.shape[0] * (layer.shape[1] // group) * (group - kept), due=False)
                 if unstructured.is_chosen(layer, "dense") and min(layer.shape) >= params.min_features else layer
                 for layer in layers)
