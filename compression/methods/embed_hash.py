"""Hashed tables: ids share rows by arithmetic, and training decides what a shared row says.

Sources: Weinberger et al. 2009, arXiv:0902.2206 (one hash); Shi et al. 2020, arXiv:1909.02107 (quotient and remainder);
Zhang et al. 2020, arXiv:2007.14523 (double hashing). Here: the small tables begin at the frequency-weighted least
squares of the trained one, where the papers train from scratch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.method import Applied, Context, ExportForm, Gain, Params, Problem, Stage, method
from compression.methods import tables
from compression.methods.order import needs_float
from compression.records import Layer, Part, Step

if TYPE_CHECKING:
    from torch import nn

NAMES = {"modulo": ("table",), "quotient-remainder": ("quotient", "remainder"), "double-hash": ("first", "second")}


class HashParams(Params):
    """How ids share rows, and how many rows there are."""

    kind: Literal["modulo", "quotient-remainder", "double-hash"] = Field(
        "quotient-remainder", description="One row by id mod m; the product of a row for the quotient and one for the "
                                          "remainder; or the sum of two rows by two hashes.")
    keep: float = Field(0.1, ge=0.001, le=1, multiple_of=0.001,
                        description="Rows kept, as a share of each table's rows; quotient and remainder need at least "
                                    "two times the root of them.")
    min_rows: int = Field(100, ge=2, le=1_000_000, description="Tables with fewer rows than this stay whole.")


def lengths_of(n_rows: int, params: HashParams) -> tuple[int, ...]:
    """Rows of each small table."""
    kept = max(1, round(params.keep * n_rows))
    if params.kind == "modulo":
        return (kept,)
    if params.kind == "double-hash":
        return (kept - kept // 2, max(1, kept // 2))
    divisor = max(kept, math.isqrt(n_rows - 1) + 1)
    return (-(-n_rows // divisor), divisor)


def reason_to_skip(n_rows: int, params: HashParams) -> str | None:
    """Why a table stays whole, by its rows alone; None where it doesn't."""
    return (tables.too_few_rows(n_rows, params.min_rows)
            or tables.grows(n_rows, sum(lengths_of(n_rows, params)), "rows"))


@method("embed.hash", HashParams, title="Hashed rows",
        summary="Lets ids share rows by arithmetic on the id; fine-tuning decides what a shared row says.",
        stage=Stage.AFTER_TRAINING, parts={Part.EMBEDDING}, needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER},
        source="Shi et al. 2020, arXiv:1909.02107; Weinberger et al. 2009, arXiv:0902.2206; "
               "Zhang et al. 2020, arXiv:2007.14523",
        tiny={"min_rows": 2, "keep": 0.3}, no_op={"keep": 1.0})
def hash_rows(model: "nn.Module", params: HashParams, ctx: Context) -> Applied:
    """Replace each large table by smaller ones."""
    applied = Applied(model)
    for path, table in tables.float_tables(
            applied, ctx, lambda path, table: reason_to_skip(table.num_embeddings, params)):
        _hash_table(applied, path, table, params, ctx)
    return applied


def _hash_table(applied: Applied, path: str, table: "nn.Embedding", params: HashParams, ctx: Context) -> None:
    import torch

    from compression.layers.hashed_rows import hash_table
    from compression.models.structure import replace, table_inputs

    n_rows, dim = table.weight.shape
    counts = ctx.frequencies.get(path)
    weights = torch.ones(n_rows) if counts is None else torch.from_numpy(counts) + 1  # an unseen row can be asked for
    lengths = lengths_of(n_rows, params)
    layer = hash_table(table.weight, weights, params.kind, lengths).to(table.weight.device).train(table.training)
    replace(applied.model, path, layer)
    # the small tables are read by no input's ids, so that no step takes their rows for ids in the order of frequency
    applied.model.table_inputs = {known: name for known, name in table_inputs(applied.model).items() if known != path}
    sizes = " + ".join(f"{length:,}" for length in lengths)
    applied.changes.append(ctx.change(path, 4 * n_rows * dim, 4 * sum(lengths) * dim,
                                      f"{n_rows:,} ids read {sizes} rows, {params.kind}"))


@hash_rows.named
def _named(params: HashParams) -> str:
    return f"{params.kind} {params.keep * 100:g} %"


@hash_rows.check
def _check(params: HashParams, index: int, steps: tuple[Step, ...]) -> Iterator[Problem]:
    yield from needs_float("Hashed rows", index, steps, dense=False, tables=True)
    if not any(step.method == "train.fine_tune" for step in steps[index + 1:]):
        yield Problem(index, "warning", "Ids that share rows start far from what they were: add a fine-tune step after "
                                        "hashing.")
    later = [place for place, step in enumerate(steps) if place > index
             and step.method in ("embed.prune_rows", "embed.mixed_precision")]
    if later:
        yield Problem(index, "warning", f"Step {later[0] + 1} needs to know how often rows are read and leaves hashed "
                                        "tables as they are.")


@hash_rows.estimate
def _estimate(layers: tuple[Layer, ...], params: HashParams) -> tuple[Layer, ...]:
    return tables.estimated(layers, lambda layer: reason_to_skip(layer.shape[0], params),
                            lambda layer: _hashed(layer, params))


def _hashed(layer: Layer, params: HashParams) -> tuple[Layer, ...]:
    n_rows, dim = layer.shape
    return tuple(tables.float_child(layer, name, (length, dim), reads_field=False)
                 for name, length in zip(NAMES[params.kind], lengths_of(n_rows, params), strict=True))
