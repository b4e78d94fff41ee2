"""What the methods that zero single weights share: which leaves they work on, how zeros are set and told.

Whether a weight goes is each method's own criterion; that zeros stay zero while training is PruningHook's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.layers.sparse_shapes import n_zeros
from compression.spec.effects import Effect, Effects, Parts, parts_of
from compression.spec.method import Applied, Context, Params
from compression.spec.records import Layer, Part, Zeros

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compression.train.hooks.pruning import PruningHook

NO_BYTES = "bytes stay the same: zeros alone save none"


class SparsityParams(Params):
    """How many weights become zero, and where."""

    sparsity: float = Field(0.5, ge=0, le=0.99, multiple_of=0.01, description="Share of the weights set to zero.")
    weights: Literal["dense", "tables", "both"] = Field(
        "dense", description="Prune the dense layers, the embedding tables, or both.")
    scope: Literal["layer", "model"] = Field(
        "layer", description="Reach the share in each layer alone, or over all chosen layers with one threshold.")


def chosen_leaves(applied: Applied, ctx: Context, *, weights: str, idle: str = "") -> "dict[str, nn.Module]":
    """Path → leaf with a matrix of float weights of the chosen kind; every other leaf becomes a skip.

    `idle`: why nothing at all is to be done, where that is so.
    """
    from compression.models.structure import leaves, part_of

    chosen: dict[str, nn.Module] = {}
    for path, leaf in leaves(applied.model):
        reason = idle or _why_not(leaf, part_of(applied.model, path), weights)
        if reason:
            applied.skipped.append(ctx.skip(path, reason))
        else:
            chosen[path] = leaf
    return chosen


def _why_not(leaf: "nn.Module", part: Part, weights: str) -> str | None:
    from torch import nn

    if not isinstance(leaf, nn.Linear | nn.Embedding):
        return f"{type(leaf).__name__} has no matrix of float weights to prune"
    if weights != "both" and (part is Part.EMBEDDING) != (weights == "tables"):
        return f"only {'dense layers' if weights == 'dense' else 'tables'} were chosen"
    return None


def zero(applied: Applied, ctx: Context, chosen: "dict[str, nn.Module]", keep: "dict[str, Tensor]",
         hook: "PruningHook") -> None:
    """Set what `keep` does not keep to zero, let the hook hold it there, and say so.

    Each layer gets a new weight; the old tensors, shared with the input model, stay as they are.
    """
    from torch import nn

    for path, leaf in chosen.items():
        leaf.weight = nn.Parameter(leaf.weight.detach() * keep[path])
        zeros = int((leaf.weight == 0).sum())
        tell(applied, ctx, path, leaf, f"{zeros:,} of {leaf.weight.numel():,} weights are zero")
    hook.hold_zeros(applied.model)
    applied.hooks.append(hook)


def tell(applied: Applied, ctx: Context, path: str, leaf: "nn.Module", detail: str) -> None:
    size = 4 * sum(tensor.numel() for tensor in leaf.parameters())
    applied.changes.append(ctx.change(path, size, size, detail=f"{detail}; {NO_BYTES}"))


def zeros_in(parts: Parts, *, works: bool = True, growing: bool = False) -> Effects:
    """Zeros that the next training holds, or that come while it runs; of a step that does nothing its needs alone."""
    makes = {Effect.ZEROS: parts, Effect.MASKS: parts} | ({Effect.GROWING: parts} if growing else {})
    return Effects(makes=makes if works else {}, needs_float=parts)


def zeros_now(params: SparsityParams) -> Effects:
    return zeros_in(parts_of(params.weights), works=params.sparsity > 0)


def zeros_while_training(params: SparsityParams) -> Effects:
    return zeros_in(parts_of(params.weights), works=params.sparsity > 0, growing=True)


def with_zeros(layers: tuple[Layer, ...], params: SparsityParams, *, due: bool) -> tuple[Layer, ...]:
    """The layers with the zeros that are certain: under one threshold for all, nobody knows where they fall."""
    if params.scope != "layer" or not params.sparsity:
        return layers
    return tuple(counted(layer, n_zeros(layer.shape[0] * layer.shape[1], params.sparsity), due=due)
                 if is_chosen(layer, params.weights) else layer for layer in layers)


def is_chosen(layer: Layer, weights: str) -> bool:
    return layer.kind in ("Linear", "Embedding") and (
        weights == "both" or (layer.part is Part.EMBEDDING) == (weights == "tables"))


def counted(layer: Layer, count: int, *, due: bool) -> Layer:
    zeros = Zeros(count=count, shape=layer.shape, state="due" if due else "held")
    return layer.model_copy(update={"zeros": zeros})
