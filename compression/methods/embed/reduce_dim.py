"""Narrower tables with a projection back: the same share of columns in each, or fewer the more rows a table has.

Source: Ginart et al. 2021, arXiv:1909.11810 (mixed dimension tables: d falls as popularity^α, with a projection to D).
Here: set from the trained table by its weighted singular vectors, where the paper trains from scratch; a row of a table
with V rows counts as read 1 / V of the time. alpha = 0 is the control: the same smaller dimension everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from compression.methods.embed import tables
from compression.methods.factorize.svd import basis_of, gram_matrix, saves
from compression.methods.shared_params import LargeTables
from compression.spec.effects import TABLES, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    from torch import nn


class ReduceDimParams(LargeTables):
    """How wide tables stay."""

    ratio: float = Field(0.5, ge=0.02, le=1, multiple_of=0.01,
                         description="Share of the columns that the smallest table keeps; with alpha 0 every table.")
    alpha: float = Field(0.3, ge=0, le=1, multiple_of=0.05,
                         description="How fast the width falls with the number of rows; 0 keeps all tables as wide.")
    by_frequency: bool = Field(True, description="Let frequent rows count more than rare ones in the projection.")


def dims(shapes: dict[str, tuple[int, int]], params: ReduceDimParams) -> dict[str, int]:
    """Path → columns kept, for the tables that take part: ratio · D · (rows / rows of the smallest) ^ −alpha.

    The smallest is sought among tables of the same width D, as first-order tables of one column stay beside.
    """
    chosen = {path: shape for path, shape in shapes.items() if shape[0] >= params.min_rows}
    smallest: dict[int, int] = {}
    for n_rows, dim in chosen.values():
        smallest[dim] = min(n_rows, smallest.get(dim, n_rows))
    return {path: max(1, round(params.ratio * dim * (n_rows / smallest[dim]) ** -params.alpha))
            for path, (n_rows, dim) in chosen.items()}


def reason_to_skip(shape: tuple[int, int], kept: int | None, params: ReduceDimParams) -> str | None:
    """Why a table stays whole, by its shape and the columns it would keep; None where it doesn't."""
    n_rows, dim = shape
    if kept is None:
        return tables.too_few_rows(n_rows, params.min_rows)
    if not saves(n_rows, dim, kept):
        return (f"would not save bytes: {kept} of {dim} columns and their projection need {kept * (n_rows + dim):,} "
                f"numbers, the table has {n_rows * dim:,}")
    return None


def _effects(params: ReduceDimParams) -> Effects:
    narrow = "Large tables become much narrower, and training can win some of it back"
    return Effects(makes={Effect.LOW_RANK: TABLES}, undoes={Effect.ZEROS: TABLES}, needs_float=TABLES,
                   wants_training=narrow if params.alpha else "")


@method("embed.reduce_dim", ReduceDimParams, title="Mixed dimensions",
        summary="Makes tables narrower, the more rows the narrower, and projects rows back to their width.",
        stage=Stage.AFTER_TRAINING, parts={Part.EMBEDDING}, needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER},
        source="Ginart et al. 2021, arXiv:1909.11810",
        tiny={"min_rows": 2}, no_op={"ratio": 1.0, "alpha": 0.0},
        effects=_effects)
def reduce_dim(model: "nn.Module", params: ReduceDimParams, ctx: Context) -> Applied:
    """Replace each large table by a narrow one and its projection."""
    from torch import nn

    from compression.models.structure import leaves, part_of

    applied = Applied(model)
    kept = dims({path: tuple(leaf.weight.shape) for path, leaf in leaves(model)
                 if isinstance(leaf, nn.Embedding) and part_of(model, path) is Part.EMBEDDING}, params)
    for path, table in tables.float_tables(
            applied, ctx, lambda path, table: reason_to_skip(tuple(table.weight.shape), kept.get(path), params)):
        _narrow(applied, path, table, kept[path], params, ctx)
    return applied


def _narrow(applied: Applied, path: str, table: "nn.Embedding", kept: int, params: ReduceDimParams,
            ctx: Context) -> None:
    import torch
    from torch import nn

    from compression.layers.dense.low_rank import LowRankEmbedding
    from compression.models.structure import move_table, replace

    n_rows, dim = table.weight.shape
    weight = table.weight.detach()
    counts = ctx.frequencies.get(path) if params.by_frequency else None
    weights = None if counts is None else torch.from_numpy(counts) + 1  # a row unseen in training can be asked for
    values, basis = basis_of(gram_matrix(weight, weights))
    top = basis[:, :kept].float().to(weight.device)  # (D, kept)
    rows = nn.Embedding.from_pretrained((weight @ top).contiguous(), freeze=False, padding_idx=table.padding_idx)
    back = nn.Linear(kept, dim, bias=False, device="meta")
    back.weight = nn.Parameter(top.contiguous().clone())
    replace(applied.model, path, LowRankEmbedding(rows, back).train(table.training))
    move_table(applied.model, path, f"{path}.factor")
    energy = float(values[:kept].square().sum() / values.square().sum().clamp(min=1e-300))
    applied.changes.append(ctx.change(path, 4 * n_rows * dim, 4 * kept * (n_rows + dim),
                                      f"{kept} of {dim} columns, {energy:.1%} of the energy kept"))


@reduce_dim.named
def _named(params: ReduceDimParams) -> str:
    return f"dims {params.ratio * 100:g} %"


@reduce_dim.estimate
def _estimate(layers: tuple[Layer, ...], params: ReduceDimParams) -> tuple[Layer, ...]:
    """Exact: the widths follow from the numbers of rows."""
    shapes = {layer.name: layer.shape for layer in layers
              if layer.part is Part.EMBEDDING and layer.kind == "Embedding"}
    kept = dims(shapes, params)
    return tables.estimated(layers, lambda layer: reason_to_skip(layer.shape, kept.get(layer.name), params),
                            lambda layer: _narrowed(layer, kept[layer.name]))


def _narrowed(layer: Layer, width: int) -> tuple[Layer, ...]:
    n_rows, dim = layer.shape
    return (tables.float_child(layer, "factor", (n_rows, width)),
            tables.float_child(layer, "expand", (dim, width), kind="Linear", reads_field=False))
