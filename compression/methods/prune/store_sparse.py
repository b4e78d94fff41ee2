"""Sparse storage: weights that are zero are no longer written, so that earlier pruning saves bytes at last.

Source: Han et al. 2016, arXiv:1510.00149 (relative indices of 8 bits). Here: dense layers as a bitmap or gaps, tables
as a bitmap a row, each only where it is smaller, with every index counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.layers.sparse_shapes import (
    bitmap_tensors,
    bytes_of,
    gap_tensors,
    most_gap_entries,
    row_bitmap_tensors,
)
from compression.spec.effects import ALL_PARTS, NO_PARTS, Effect, Effects, Want, parts_of
from compression.spec.method import Applied, Context, ExportForm, Gain, Params, Stage, method
from compression.spec.records import Layer, Part, Tensor

if TYPE_CHECKING:
    from torch import nn


class SparseParams(Params):
    """Which layers, from which saving on, and what counts as zero."""

    weights: Literal["dense", "tables", "both"] = Field(
        "both", description="Store the dense layers sparsely, the embedding tables, or both.")
    below: float = Field(0.0, ge=0, le=1, multiple_of=0.001,
                         description="Weights up to this share of the layer's largest become zero as well; at 0 "
                                     "scores stay exactly as they are.")
    min_saving: float = Field(0.1, ge=0, le=1, multiple_of=0.01,
                              description="Layers that would lose a smaller share of their bytes stay as they are.")


def _effects(params: SparseParams) -> Effects:
    chosen = parts_of(params.weights)
    zeros = Want(frozenset({Effect.ZEROS}), chosen, "Sparse storage saves bytes only where weights are zero, and no "
                                                    "step before it makes zeros; add magnitude pruning before it.")
    return Effects(makes={Effect.SPARSE: chosen}, needs_float=NO_PARTS if chosen == ALL_PARTS else chosen,
                   wants=() if params.below else (zeros,))


@method("prune.store_sparse", SparseParams, title="Sparse storage",
        summary="Stores only the weights that are not zero, where that is smaller with all indices counted.",
        stage=Stage.AFTER_TRAINING, parts=set(Part), needs=set(), export=ExportForm.PLAIN,
        source="Han et al. 2016, arXiv:1510.00149",
        tiny={"below": 0.5}, no_op={"min_saving": 1.0}, estimate_is_bound=True, gains={Gain.SMALLER},
        effects=_effects)
def store_sparse(model: "nn.Module", params: SparseParams, ctx: Context) -> Applied:
    """Replace each layer whose zeros pay by its sparse form."""
    from torch import nn

    from compression.layers.sparse_layers import SparseLinear, SparseRows
    from compression.models.structure import leaves, part_of, replace

    applied = Applied(model)
    for path, leaf in list(leaves(model)):
        if not isinstance(leaf, nn.Linear | nn.Embedding):
            applied.skipped.append(ctx.skip(path, f"{type(leaf).__name__} has no matrix of float weights"))
            continue
        if params.weights != "both" and (part_of(model, path) is Part.EMBEDDING) != (params.weights == "tables"):
            reason = f"only {'dense layers' if params.weights == 'dense' else 'tables'} were chosen"
            applied.skipped.append(ctx.skip(path, reason))
            continue
        weight = leaf.weight.detach()
        if params.below:
            weight = weight * (weight.abs() > params.below * weight.abs().max())
        is_table = isinstance(leaf, nn.Embedding)
        new = SparseRows(weight) if is_table else SparseLinear(leaf, weight)
        before = 4 * sum(tensor.numel() for tensor in leaf.parameters())
        after, zeros = bytes_of(new.stored_tensors()), int((weight == 0).sum())
        if not pays(before, after, params):
            reason = f"would weigh {after:,} bytes instead of {before:,}: {zeros:,} of {weight.numel():,} are zero"
            applied.skipped.append(ctx.skip(path, reason))
            continue
        replace(model, path, new.train(leaf.training))
        form = "a bitmap a row; looked-up rows are put together" if is_table else (
            f"{'a bitmap' if new.form == 'bitmap' else 'gaps of a byte'}; put together once at load")
        applied.changes.append(ctx.change(path, before, after, f"{zeros:,} of {weight.numel():,} weights are zero and "
                                                               f"not stored; {form}"))
    return applied


def pays(before: int, after: int, params: SparseParams) -> bool:
    return after < before and before - after >= params.min_saving * before


@store_sparse.named
def _named(params: SparseParams) -> str:
    return "sparse storage"



@store_sparse.estimate
def _estimate(layers: tuple[Layer, ...], params: SparseParams) -> tuple[Layer, ...]:
    """An upper bound: by the zeros that earlier steps are known to leave, wherever they lie."""
    return tuple(_bound(layer, params) for layer in layers)


def _bound(layer: Layer, params: SparseParams) -> Layer:
    chosen = params.weights == "both" or (layer.part is Part.EMBEDDING) == (params.weights == "tables")
    if layer.kind not in ("Linear", "Embedding") or not chosen:
        return layer
    n_weights = layer.shape[0] * layer.shape[1]
    k = n_weights - layer.known_zeros
    others = tuple(tensor for tensor in layer.tensors if tensor.name.rpartition(".")[2] != "weight")
    if layer.kind == "Embedding":
        forms = [row_bitmap_tensors(*layer.shape, k)]
    else:
        forms = [bitmap_tensors(n_weights, k), gap_tensors(most_gap_entries(n_weights, k))]
    least: tuple[Tensor, ...] = (*min(forms, key=bytes_of), *others)
    stored = least if pays(layer.size_bytes, bytes_of(least), params) else layer.tensors
    # even where the bound saves nothing more zeros than known may make it sparse, and later steps leave it alone
    return layer.model_copy(update={"kind": f"Sparse{'Rows' if layer.kind == 'Embedding' else 'Linear'}",
                                    "tensors": stored})
