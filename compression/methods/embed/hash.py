"""Hashed tables: ids share rows by arithmetic, and training decides what a shared row says.

Sources: Weinberger et al. 2009, arXiv:0902.2206 (one hash); Shi et al. 2020, arXiv:1909.02107 (quotient and remainder);
Zhang et al. 2020, arXiv:2007.14523 (double hashing); Pansare et al. 2022, arXiv:2203.10135 (MEmCom: a number of each
id's own); Desai et al. 2022, arXiv:2108.02191 (ROBE: blocks of one array). Here: the small tables begin at the
frequency-weighted least squares of the trained one, where the papers train from scratch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.embed import tables
from compression.methods.shared_params import LargeTables
from compression.spec.effects import TABLES, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    from torch import nn

NAMES = {"modulo": ("table",), "quotient-remainder": ("quotient", "remainder"), "double-hash": ("first", "second"),
         "memcom": ("table", "scale"), "memcom-bias": ("table", "scale", "shift"), "robe": ("table",)}
Shape = tuple[int, int]


class HashParams(LargeTables):
    """How ids share rows, and how many rows there are."""

    kind: Literal["modulo", "quotient-remainder", "double-hash", "memcom", "memcom-bias", "robe"] = Field(
        "quotient-remainder", description="One row by id mod m; the product of a row for the quotient and one for the "
                                          "remainder; the sum of two rows by two hashes; one row by id mod m times a "
                                          "number of the id's own, or plus another one too; blocks of one array.")
    keep: float = Field(0.1, ge=0.001, le=1, multiple_of=0.001,
                        description="Rows kept, as a share of each table's rows; quotient and remainder need at least "
                                    "two times the root of them, and the numbers of single ids come on top.")
    block_size: int = Field(4, ge=1, le=64, description="Columns read together by robe; the wider, the fewer lookups.")


def shapes_of(n_rows: int, dim: int, params: HashParams) -> tuple[Shape, ...]:
    """Rows and columns of each small table, in the order of NAMES."""
    if params.kind == "robe":
        width = min(params.block_size, dim)
        return ((max(1, math.ceil(params.keep * n_rows * dim / width)), width),)
    kept = max(1, round(params.keep * n_rows))
    if params.kind.startswith("memcom"):
        return ((kept, dim), *((n_rows, 1) for _ in NAMES[params.kind][1:]))
    if params.kind == "modulo":
        return ((kept, dim),)
    if params.kind == "double-hash":
        return ((kept - kept // 2, dim), (max(1, kept // 2), dim))
    divisor = max(kept, math.isqrt(n_rows - 1) + 1)
    return ((-(-n_rows // divisor), dim), (divisor, dim))


def n_numbers(shapes: Iterable[Shape]) -> int:
    return sum(rows * columns for rows, columns in shapes)


def reason_to_skip(n_rows: int, dim: int, params: HashParams) -> str | None:
    """Why a table stays whole, by its shape alone; None where it doesn't."""
    return (tables.too_few_rows(n_rows, params.min_rows)
            or tables.grows(4 * n_rows * dim, 4 * n_numbers(shapes_of(n_rows, dim, params)), "in the tables shared"))


@method("embed.hash", HashParams, title="Hashed rows",
        summary="Lets ids share rows by arithmetic on the id; fine-tuning decides what a shared row says.",
        stage=Stage.AFTER_TRAINING, parts={Part.EMBEDDING}, needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER},
        source="Shi et al. 2020, arXiv:1909.02107; Weinberger et al. 2009, arXiv:0902.2206; "
               "Zhang et al. 2020, arXiv:2007.14523; Pansare et al. 2022, arXiv:2203.10135; "
               "Desai et al. 2022, arXiv:2108.02191",
        tiny={"min_rows": 2, "keep": 0.3}, no_op={"keep": 1.0},
        effects=Effects(
            makes={Effect.SMALLER: TABLES, Effect.UNCOUNTED: TABLES}, undoes={Effect.ZEROS: TABLES}, needs_float=TABLES,
            wants_training="Ids that share rows start far from what they were"))
def hash_rows(model: "nn.Module", params: HashParams, ctx: Context) -> Applied:
    """Replace each large table by smaller ones."""
    applied = Applied(model)
    for path, table in tables.float_tables(
            applied, ctx, lambda path, table: reason_to_skip(*table.weight.shape, params)):
        _hash_table(applied, path, table, params, ctx)
    return applied


def _hash_table(applied: Applied, path: str, table: "nn.Embedding", params: HashParams, ctx: Context) -> None:
    import torch

    from compression.layers.rows.hashed_blocks import hash_blocks
    from compression.layers.rows.hashed_rows import hash_table
    from compression.models.structure import forget_table, replace

    n_rows, dim = table.weight.shape
    counts = ctx.frequencies.get(path)
    weights = torch.ones(n_rows) if counts is None else torch.from_numpy(counts) + 1  # an unseen row can be asked for
    shapes = shapes_of(n_rows, dim, params)
    layer = (hash_blocks(table.weight, weights, *shapes[0]) if params.kind == "robe" else
             hash_table(table.weight, weights, params.kind, tuple(length for length, _ in shapes)))
    replace(applied.model, path, layer.to(table.weight.device).train(table.training))
    # the small tables are read by no input's ids, so that no step takes their rows for ids in the order of frequency
    forget_table(applied.model, path)
    sizes = " + ".join(f"{length:,} × {width}" for length, width in shapes)
    applied.changes.append(ctx.change(path, 4 * n_rows * dim, 4 * n_numbers(shapes),
                                      f"{n_rows:,} ids share rows, {params.kind}: {sizes} numbers"))


@hash_rows.named
def _named(params: HashParams) -> str:
    return f"{params.kind} {params.keep * 100:g} %"


@hash_rows.estimate
def _estimate(layers: tuple[Layer, ...], params: HashParams) -> tuple[Layer, ...]:
    return tables.estimated(layers, lambda layer: reason_to_skip(*layer.shape, params),
                            lambda layer: _hashed(layer, params))


def _hashed(layer: Layer, params: HashParams) -> tuple[Layer, ...]:
    return tuple(tables.float_child(layer, name, shape, reads_field=False)
                 for name, shape in zip(NAMES[params.kind], shapes_of(*layer.shape, params), strict=True))
