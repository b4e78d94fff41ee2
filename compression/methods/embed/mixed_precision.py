"""Mixed precision of tables: frequent rows in 8 or 4 bits, rare ones in 2, 1 or none, within a budget of bytes.

Source: arXiv:2409.20305 (training-free tiers of precision by the frequency of ids). Here: the tiers of each table are
those of least frequency-weighted squared error whose codes and scales meet the budget to the byte; rows without
bits of their own read one shared row, their frequency-weighted mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from compression.layers.rows.tiers import choose_cuts, fixed_tensors, row_budget, widths
from compression.methods.embed import tables
from compression.methods.embed.prune_rows import shared_row
from compression.methods.shared_params import LargeFloatTables
from compression.spec.effects import TABLES, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer, Part, Tensor

if TYPE_CHECKING:
    from torch import nn

SLACK = 0.05  # share of lookups by which the order of ids may fall behind that of their frequency


class MixedPrecisionParams(LargeFloatTables):
    """How many bits a weight gets on average."""

    bits: float = Field(3.0, ge=0.25, le=8, multiple_of=0.25,
                        description="Bits a weight on average, with scales, shared row and map of ids counted.")


def in_order(counts: np.ndarray) -> bool:
    """Whether the first n rows are read almost as often as the n most frequent ones, for every n. Row 0 comes first."""
    total = max(1, counts.sum())
    best = np.concatenate([counts[:1], np.sort(counts[1:])[::-1]])
    return bool(((best.cumsum() - counts.cumsum()) / total).max() <= SLACK)


def reason_to_skip(n_rows: int, dim: int, params: MixedPrecisionParams, *, mapped: bool) -> str | None:
    """Why a table stays in float, by its shape and the order of its ids; None where it doesn't."""
    if few := tables.too_few_rows(n_rows, params.min_rows):
        return few
    if dim == 1:
        return "one column leaves no choice of bits: row quantisation stores it in 8"
    fixed = sum(tensor.size_bytes for tensor in fixed_tensors(n_rows, dim, mapped=mapped))
    rows = row_budget(n_rows, dim, params.bits, mapped=mapped)
    if rows == 0 or (mapped and rows < fixed):
        what = "its map of ids and shared row" if mapped else "its shared row"
        return f"{params.bits:g} bits a weight leave {rows:,} bytes for rows beside {fixed:,} for {what}"
    return tables.grows(4 * n_rows * dim, fixed + rows, "in tiers")


@method("embed.mixed_precision", MixedPrecisionParams, title="Mixed precision of tables",
        summary="Gives frequent rows 8 or 4 bits and rare ones 2, 1 or none, within a budget of bytes.",
        stage=Stage.AFTER_TRAINING, parts={Part.EMBEDDING}, needs=set(), export=ExportForm.QDQ,
        gains={Gain.SMALLER},
        source="arXiv:2409.20305",
        tiny={"min_rows": 2}, no_op={"min_rows": 1_000_000},
        effects=Effects(
            makes={Effect.CODES: TABLES, Effect.RARE_SHARED: TABLES}, needs_float=TABLES,
            needs_counts=TABLES, clashes={Effect.RARE_SHARED: "error"}))
def mixed_precision(model: "nn.Module", params: MixedPrecisionParams, ctx: Context) -> Applied:
    """Replace each large table by tiers of rows of falling precision."""
    applied = Applied(model)
    mapped = {path: not in_order(counts) for path, counts in ctx.frequencies.items()}
    for path, table in tables.float_tables(
            applied, ctx, lambda path, table: reason_to_skip(*table.weight.shape, params, mapped=mapped[path]),
            counted=True):
        _tier_table(applied, path, table, params, ctx, mapped=mapped[path])
    return applied


def _tier_table(applied: Applied, path: str, table: "nn.Embedding", params: MixedPrecisionParams, ctx: Context, *,
                mapped: bool) -> None:
    import torch

    from compression.layers.rows.remapped_rows import RowMap
    from compression.layers.rows.tiered_rows import TieredRows, row_errors, tier_rows
    from compression.models.structure import replace

    n_rows, dim = table.weight.shape
    weight, counts = table.weight.detach().cpu().float(), torch.from_numpy(ctx.frequencies[path])
    ids = None
    if mapped:
        order = np.concatenate([[0], np.argsort(-ctx.frequencies[path][1:], kind="stable") + 1])
        place = np.empty(n_rows, np.int64)
        place[order] = np.arange(n_rows)
        ids, weight, counts = RowMap(torch.from_numpy(place)), weight[order], counts[order]

    bits, row_bytes = tuple(widths(dim)), tuple(widths(dim).values())
    weights = counts + 1  # a row unseen in training can be asked for
    guess = shared_row(weight[n_rows // 2:], weights[n_rows // 2:])
    errors = row_errors(weight, weights, bits, guess)
    cuts = choose_cuts(errors, row_bytes, row_budget(n_rows, dim, params.bits, mapped=mapped))
    shared = shared_row(weight[cuts[-1]:], weights[cuts[-1]:]) if cuts[-1] < n_rows else guess
    layer = TieredRows(tier_rows(weight, cuts, bits), shared, n_rows, ids)
    replace(applied.model, path, layer.to(table.weight.device).train(table.training))
    after = sum(tensor.size_bytes for tensor in layer.stored_tensors())
    applied.changes.append(ctx.change(path, 4 * n_rows * dim, after, _detail(cuts, bits, n_rows, mapped=mapped)))


def _detail(cuts: np.ndarray, bits: tuple[int, ...], n_rows: int, *, mapped: bool) -> str:
    counts = np.diff([0, *cuts, n_rows])
    tiers = [f"{count:,} in {n_bits}" for n_bits, count in zip((*bits, 0), counts, strict=True) if count]
    return f"rows by bits: {', '.join(tiers)}" + ("; with a map of ids" if mapped else "")


@mixed_precision.named
def _named(params: MixedPrecisionParams) -> str:
    return f"{params.bits:g} bits a weight"


@mixed_precision.estimate
def _estimate(layers: tuple[Layer, ...], params: MixedPrecisionParams) -> tuple[Layer, ...]:
    """The bytes are exact by shapes; how they divide among the tiers is known once weights and counts are read."""
    return tables.estimated(
        layers, lambda layer: reason_to_skip(*layer.shape, params, mapped=not layer.ordered),
        lambda layer: tables.coded(layer, "TieredRows", _tensors(layer, params)), counted=True)


def _tensors(layer: Layer, params: MixedPrecisionParams) -> tuple[Tensor, ...]:
    n_rows, dim = layer.shape
    rows = Tensor(name="tiers", dtype="uint8", shape=(row_budget(n_rows, dim, params.bits, mapped=not layer.ordered),))
    return (rows, *fixed_tensors(n_rows, dim, mapped=not layer.ordered))
