"""Nested codes: each code a row has refines the ones before it, and how many a row has falls with its frequency.

Sources: Chen et al. 2010, Sensors 10(12) (residual quantisation); arXiv:2409.20305 (fewer bits for rarer ids). Here:
one budget for all tables, shared out by what a byte takes off the squared error of the logit: rows count by how
often they are read, tables by the mean squared gradient of the logit by their values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from compression.layers.stored_shapes import centroids_for, nested_tensors
from compression.methods.embed.mixed_precision import in_order
from compression.methods.embed.prune_rows import shared_row
from compression.methods.shared_params import LargeFloatTables
from compression.spec.effects import TABLES, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer, Part, Tensor

if TYPE_CHECKING:
    from torch import nn

    from compression.layers.rows.nested_codes import Refined


class NestedCodesParams(LargeFloatTables):
    """How many bytes all tables get together, and how fine a row may become."""

    bits: float = Field(1.0, ge=0.05, le=8, multiple_of=0.05,
                        description="Bits a weight on average over all tables together, everything counted.")
    max_codes: int = Field(8, ge=1, le=16, description="At most so many codes of a byte for the most frequent rows.")
    by_gradient: bool = Field(True, description="Let a table count by how much its values move the score; needs data.")


def budget_of(shapes: list[tuple[int, int]], bits: float) -> int:
    """Bytes of all tables together: bits a weight, and at least the shared row of each."""
    return max(int(bits * sum(n_rows * dim for n_rows, dim in shapes) / 8), sum(4 * dim for _, dim in shapes))


def reason_to_skip(n_rows: int, dim: int, params: NestedCodesParams, *, mapped: bool) -> str | None:
    """Why a table stays in float, by its shape and the order of its ids; None where it doesn't."""
    if n_rows < params.min_rows:
        return f"{n_rows:,} rows are fewer than min_rows ({params.min_rows:,})"
    if mapped and 4 * n_rows >= params.bits * n_rows * dim / 16:
        return f"its ids don't stand in the order of their frequency, and a map of {4 * n_rows:,} bytes takes " \
               f"more than half of {params.bits:g} bits a weight"
    return None


@method("embed.nested_codes", NestedCodesParams, title="Nested codes",
        summary="Names frequent rows by several codes, each refining the last, and rare rows by few or none.",
        stage=Stage.AFTER_TRAINING, parts={Part.EMBEDDING}, needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER},
        source="Chen et al. 2010, Sensors 10(12); arXiv:2409.20305",
        tiny={"min_rows": 2}, no_op={"min_rows": 1_000_000}, estimate_is_bound=True,
        effects=Effects(
            makes={Effect.CODES: TABLES, Effect.RARE_SHARED: TABLES}, needs_float=TABLES, needs_counts=TABLES,
            clashes={Effect.RARE_SHARED: "warning"}))
def nested_codes(model: "nn.Module", params: NestedCodesParams, ctx: Context) -> Applied:
    """Replace each large table by its shared row and nested codes, all within one budget of bytes."""
    from torch import nn

    from compression.layers.rows.nested_codes import share_budget
    from compression.models.structure import leaves, part_of

    applied = Applied(model)
    chosen: dict[str, bool] = {}  # path → whether a map of ids is needed
    for path, leaf in list(leaves(model)):
        if part_of(model, path) is not Part.EMBEDDING:
            continue
        if not isinstance(leaf, nn.Embedding):
            applied.skipped.append(ctx.skip(path, f"{type(leaf).__name__} is no table of float rows"))
        elif path not in ctx.frequencies:
            applied.skipped.append(ctx.skip(path, "how often its rows occur in training is not known"))
        else:
            mapped = not in_order(ctx.frequencies[path])
            if reason := reason_to_skip(leaf.num_embeddings, leaf.embedding_dim, params, mapped=mapped):
                applied.skipped.append(ctx.skip(path, reason))
            else:
                chosen[path] = mapped
    shapes = {path: tuple(model.get_submodule(path).weight.shape) for path in chosen}
    fixed = sum(tensor.size_bytes for path, mapped in chosen.items()
                for tensor in nested_tensors(*shapes[path], (), mapped=mapped))
    felt = _felt(model, list(chosen), params, ctx)
    encoded = {path: _encode(model, path, felt[path], params, ctx, mapped=mapped) for path, mapped in chosen.items()}
    lengths = share_budget({path: table for path, (table, _, _) in encoded.items()},
                           budget_of(list(shapes.values()), params.bits) - fixed)
    for path, (table, shared, order) in encoded.items():
        _put(applied, path, table, shared, order if chosen[path] else None, lengths[path], ctx)
    return applied


def _felt(model: "nn.Module", paths: list[str], params: NestedCodesParams, ctx: Context) -> dict[str, float]:
    """How much an error in a table counts; 1 each where there is no data to tell."""
    from compression.observe.logit_gradients import logit_gradients

    if not params.by_gradient or ctx.dataset is None or not paths:
        return dict.fromkeys(paths, 1.0)
    found = logit_gradients(model, ctx.dataset.splits["train"], paths, np.random.default_rng([ctx.seed, ctx.step]))
    floor = 1e-3 * max(found.values()) or 1.0  # a table that some rows don't reach may be reached by others
    return {path: max(value, floor) for path, value in found.items()}


def _encode(model: "nn.Module", path: str, felt: float, params: NestedCodesParams, ctx: Context, *,
            mapped: bool) -> tuple["Refined", np.ndarray, np.ndarray]:
    """The table by every stage, its shared row, and its ids in the order of the codes."""
    import torch

    from compression.layers.rows.nested_codes import refine

    weight = model.get_submodule(path).weight.detach().cpu().float()
    counts = ctx.frequencies[path]
    order = np.arange(len(counts))
    if mapped:
        order = np.concatenate([[0], np.argsort(-counts[1:], kind="stable") + 1])
    weights = counts[order] + 1  # a row unseen in training can be asked for
    rows = weight[torch.from_numpy(order)]
    shared = shared_row(rows, torch.from_numpy(weights)).numpy()
    table = refine(rows.numpy(), shared, weights * felt, n_stages=params.max_codes,
                   centroids=centroids_for(*weight.shape), random=np.random.default_rng([ctx.seed, ctx.step]))
    return table, shared, order


def _put(applied: Applied, path: str, table: "Refined", shared: np.ndarray, order: np.ndarray | None,
         lengths: list[int], ctx: Context) -> None:
    import torch

    from compression.layers.rows.nested_codes import NestedCodes
    from compression.layers.rows.remapped_rows import RowMap
    from compression.models.structure import replace

    old = applied.model.get_submodule(path)
    n_rows, dim = old.weight.shape
    ids = None
    if order is not None:
        place = np.empty(n_rows, np.int64)
        place[order] = np.arange(n_rows)
        ids = RowMap(torch.from_numpy(place))
    codes = [torch.from_numpy(table.codes[stage, :length].copy()) for stage, length in enumerate(lengths)]
    codebooks = [torch.from_numpy(table.codebooks[stage].copy()) for stage in range(len(lengths))]
    layer = NestedCodes(codes, codebooks, torch.from_numpy(shared), n_rows, ids)
    replace(applied.model, path, layer.to(old.weight.device).train(old.training))
    after = sum(tensor.size_bytes for tensor in layer.stored_tensors())
    have = ", ".join(f"{length:,}" for length in lengths) or "no rows"
    applied.changes.append(ctx.change(path, 4 * n_rows * dim, after,
                                      f"of {n_rows:,} rows {have} have codes of {table.codebooks.shape[1]} centroids"
                                      + ("; with a map of ids" if order is not None else "")))


@nested_codes.named
def _named(params: NestedCodesParams) -> str:
    return f"nested codes {params.bits:g} bits"


@nested_codes.estimate
def _estimate(layers: tuple[Layer, ...], params: NestedCodesParams) -> tuple[Layer, ...]:
    """The budget is an upper bound for all tables together; how it divides among them is known once they are read."""
    taking = [layer for layer in layers if layer.part is Part.EMBEDDING and layer.kind == "Embedding"
              and layer.field is not None and not reason_to_skip(*layer.shape, params, mapped=not layer.ordered)]
    budget = budget_of([layer.shape for layer in taking], params.bits)
    weights = sum(layer.shape[0] * layer.shape[1] for layer in taking)
    share = {layer.name: -(-budget * layer.shape[0] * layer.shape[1] // weights) for layer in taking}
    return tuple(layer.model_copy(update={"kind": "NestedCodes", "tensors": (
        Tensor(name="codes", dtype="uint8", shape=(share[layer.name],)),)}) if layer.name in share else layer
        for layer in layers)
