"""Row pruning: a table keeps the rows of its most frequent ids, or its longest rows; all others read one shared row.

Sources: Zhang et al. 2020, arXiv:2007.14523 (frequent ids keep rows of their own, rare ones collide); Li et al. 2017,
arXiv:1608.08710 (what is removed as a whole is chosen by its norm).
Here: all other ids share one row, the frequency-weighted mean of theirs, which minimises their weighted
squared error. Row 0 (unknown, padding) is always kept. Where the kept ids are the first ones, min(id, K) replaces the
map; elsewhere, and always by norm, a map of 4 bytes an id is stored, or the table stays whole where that would not pay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from compression.methods.embed import tables
from compression.methods.shared_params import LargeTables
from compression.spec.effects import NO_PARTS, TABLES, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer, Part, Tensor

if TYPE_CHECKING:
    import torch
    from torch import nn


class RowsParams(LargeTables):
    """How many rows a table keeps, and which."""

    keep: float = Field(0.5, ge=0.01, le=1, multiple_of=0.01, description="Share of each table's rows that stay.")
    by: Literal["frequency", "norm"] = Field(
        "frequency", description="Keep the rows read most often in training, or the longest rows (Euclidean norm), "
                                 "which need a map of ids.")


def kept_rows(scores: np.ndarray, n_kept: int) -> np.ndarray:
    """Ids whose rows stay, ascending: row 0, then those of the highest scores; ties go to the smaller id.

    scores (V,), counts or norms → (n_kept,) int64.
    """
    order = np.argsort(-scores[1:], kind="stable")[:n_kept - 1] + 1
    return np.sort(np.concatenate([[0], order]))


def shared_row(rows: "torch.Tensor", counts: "torch.Tensor") -> "torch.Tensor":
    """The frequency-weighted mean: rows (R, D), counts (R,) → (D,); the plain mean where none occurs."""
    weights = counts.double()
    if weights.sum() == 0:
        weights = weights + 1
    return ((weights.unsqueeze(1) * rows.double()).sum(0) / weights.sum()).to(rows.dtype)


def row_map(kept: np.ndarray, n_rows: int) -> np.ndarray:
    """Old id → new row, (V,): kept ids in their order, every other id the row after them."""
    rows = np.full(n_rows, len(kept), dtype=np.int64)
    rows[kept] = np.arange(len(kept))
    return rows


def bytes_after(n_rows: int, dim: int, n_kept: int, *, prefix: bool) -> int:
    """Float rows with the shared one, and the map where the kept ids are not the first ones."""
    return 4 * (n_kept + 1) * dim + (0 if prefix else 4 * n_rows)


def n_kept_of(n_rows: int, params: RowsParams) -> int:
    return min(n_rows, max(1, round(n_rows * params.keep)))


def _effects(params: RowsParams) -> Effects:
    return Effects(makes={Effect.SMALLER: TABLES, Effect.RARE_SHARED: TABLES}, needs_float=TABLES,
                   needs_counts=TABLES if needs_counts(params) else NO_PARTS, clashes={Effect.RARE_SHARED: "error"})


@method("embed.prune_rows", RowsParams, title="Row pruning",
        summary="Keeps the rows of frequent ids, or the longest rows; other ids share one row in each table.",
        stage=Stage.AFTER_TRAINING, parts={Part.EMBEDDING}, needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER},
        source="Zhang et al. 2020, arXiv:2007.14523; Li et al. 2017, arXiv:1608.08710",
        tiny={"min_rows": 2, "keep": 0.3}, no_op={"keep": 1.0},
        effects=_effects)
def prune_rows(model: "nn.Module", params: RowsParams, ctx: Context) -> Applied:
    """Replace each large table by the rows it keeps and one shared row."""
    applied = Applied(model)
    for path, table in tables.float_tables(
            applied, ctx, lambda path, table: too_small(table.num_embeddings, params), counted=needs_counts(params)):
        _prune_table(applied, path, table, params, ctx)
    return applied


def _prune_table(applied: Applied, path: str, table: "nn.Embedding", params: RowsParams, ctx: Context) -> None:
    import torch
    from torch import nn

    from compression.layers.rows.remapped_rows import FirstRows, RemappedRows, RowMap
    from compression.models.structure import move_table, replace

    weight, counts = table.weight.detach(), ctx.frequencies.get(path)
    n_rows, dim = weight.shape
    scores = counts if needs_counts(params) else weight.norm(dim=1).cpu().numpy()
    kept = kept_rows(scores, n_kept_of(n_rows, params))
    prefix = needs_counts(params) and bool(kept[-1] == len(kept) - 1)
    before, after = 4 * n_rows * dim, bytes_after(n_rows, dim, len(kept), prefix=prefix)
    if reason := tables.grows(before, after, "with the map of ids"):
        applied.skipped.append(ctx.skip(path, reason))
        return

    others = np.setdiff1d(np.arange(n_rows), kept)
    known = np.zeros(n_rows, np.int64) if counts is None else counts
    shared = shared_row(weight[torch.from_numpy(others)].cpu(), torch.from_numpy(known[others])).to(weight.device)
    rows = nn.Embedding.from_pretrained(torch.cat([weight[torch.from_numpy(kept)], shared.unsqueeze(0)]),
                                        freeze=False, padding_idx=table.padding_idx)
    ids = FirstRows(len(kept), n_rows) if prefix else RowMap(torch.from_numpy(row_map(kept, n_rows)))
    replace(applied.model, path, RemappedRows(ids, rows).train(table.training).to(weight.device))
    move_table(applied.model, path, f"{path}.table")
    told = [f"{len(kept):,} of {n_rows:,} rows kept",
            "the first ids are kept: no map is stored" if prefix else f"with a map of {4 * n_rows:,} bytes"]
    read = "" if counts is None else (f"; {counts[others].sum() / max(1, counts.sum()):.1%} of training lookups read "
                                      "the shared row")
    applied.changes.append(ctx.change(path, before, after, ", ".join(told) + read))


def needs_counts(params: RowsParams) -> bool:
    """Whether the rows are chosen by how often they are read."""
    return params.by == "frequency"


def too_small(n_rows: int, params: RowsParams) -> str | None:
    """Why a table stays whole, by its rows alone; None where it doesn't."""
    all_kept = f"all {n_rows:,} rows are kept" if n_rows - n_kept_of(n_rows, params) < 2 else None
    return tables.too_few_rows(n_rows, params.min_rows) or all_kept


@prune_rows.named
def _named(params: RowsParams) -> str:
    return f"{params.keep * 100:g} % of rows" + ("" if needs_counts(params) else " by norm")


@prune_rows.estimate
def _estimate(layers: tuple[Layer, ...], params: RowsParams) -> tuple[Layer, ...]:
    """Tables whose rows stand in the order of their frequency need no map for it; others are counted with one."""
    return tables.estimated(layers, lambda layer: _why_whole(layer, params), lambda layer: _pruned(layer, params),
                            counted=needs_counts(params))


def _why_whole(layer: Layer, params: RowsParams) -> str | None:
    after = bytes_after(*layer.shape, n_kept_of(layer.shape[0], params), prefix=no_map(layer, params))
    return too_small(layer.shape[0], params) or tables.grows(layer.size_bytes, after, "with the map of ids")


def no_map(layer: Layer, params: RowsParams) -> bool:
    """Whether the ids that are kept are sure to be the first ones."""
    return layer.ordered and needs_counts(params)


def _pruned(layer: Layer, params: RowsParams) -> tuple[Layer, ...]:
    n_rows, dim = layer.shape
    rows = tables.float_child(layer, "table", (n_kept_of(n_rows, params) + 1, dim))
    if no_map(layer, params):
        return (rows,)
    stored = Tensor(name="rows", dtype="int32", shape=(n_rows, 1))
    return (layer.model_copy(update={"name": f"{layer.name}.ids", "kind": "RowMap", "shape": (n_rows, 1),
                                     "tensors": (stored,), "field": None}), rows)
