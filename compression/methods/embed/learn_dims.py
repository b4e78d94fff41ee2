"""Learned dimensions: the next fine-tuning decides how many columns each table keeps, by a price on its bytes.

Source: Liu et al. 2021, arXiv:2101.07577 (PEP: soft thresholds learned with the embeddings). Here: a threshold closes a
whole column instead of single values, as columns that are gone make the file smaller without any indices; the columns
are those of the table's weighted singular vectors; and open columns cost a price, where PEP relies on the loss alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from compression.methods.embed import tables
from compression.methods.factorize.svd import basis_of, gram_matrix
from compression.methods.shared_params import LargeTables
from compression.spec.effects import NO_PARTS, TABLES, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    from torch import Tensor, nn


class LearnDimsParams(LargeTables):
    """What a column has to be worth."""

    price: float = Field(0.01, ge=0, le=1, multiple_of=0.0001,
                         description="Log loss that all tables' bytes together may cost: a column stays where it "
                                     "lowers the loss by more than its share of that.")
    by_frequency: bool = Field(True, description="Let frequent rows count more than rare ones in the basis.")


def reason_to_skip(n_rows: int, dim: int, params: LearnDimsParams) -> str | None:
    """Why a table keeps its columns, by its shape alone; None where it doesn't."""
    if dim == 1:
        return "it has one column"
    if not params.price:
        return "price is 0"
    return tables.too_few_rows(n_rows, params.min_rows)


def _effects(params: LearnDimsParams) -> Effects:
    chosen = TABLES if params.price else NO_PARTS
    return Effects(makes={Effect.SMALLER: chosen, Effect.GATES: chosen}, undoes={Effect.ZEROS: chosen},
                   needs_float=TABLES)


@method("embed.learn_dims", LearnDimsParams, title="Learned dimensions",
        summary="While fine-tuning, closes the columns of tables that are worth less than their bytes cost.",
        stage=Stage.DURING_TRAINING, parts={Part.EMBEDDING}, needs={Need.LABELS, Need.FINE_TUNE},
        export=ExportForm.PLAIN, gains={Gain.SMALLER}, source="Liu et al. 2021, arXiv:2101.07577",
        tiny={"min_rows": 2, "price": 0.1}, no_op={"price": 0.0}, estimate_is_bound=True,
        effects=_effects)
def learn_dims(model: "nn.Module", params: LearnDimsParams, ctx: Context) -> Applied:
    """Change nothing now; the hook puts gates before columns during the next fine-tuning."""
    from compression.train.hooks.column_gates import ColumnGatesHook

    applied = Applied(model)
    bases: dict[str, Tensor] = {}
    for path, table in tables.float_tables(
            applied, ctx, lambda path, table: reason_to_skip(*table.weight.shape, params)):
        bases[path] = _basis(path, table, params, ctx)
        size = 4 * table.weight.numel()
        applied.changes.append(ctx.change(path, size, size, f"how many of its {table.embedding_dim} columns stay is "
                                          "learned during fine-tuning; the file is smaller by those that go"))
    if bases:
        applied.hooks.append(ColumnGatesHook(bases, price=params.price))
    return applied


def _basis(path: str, table: "nn.Embedding", params: LearnDimsParams, ctx: Context) -> "Tensor":
    import torch

    counts = ctx.frequencies.get(path) if params.by_frequency else None
    weights = None if counts is None else torch.from_numpy(counts) + 1  # a row unseen in training can be asked for
    return basis_of(gram_matrix(table.weight.detach(), weights))[1].float()


@learn_dims.named
def _named(params: LearnDimsParams) -> str:
    return f"learned dims {params.price:g}"


@learn_dims.estimate
def _estimate(layers: tuple[Layer, ...], params: LearnDimsParams) -> tuple[Layer, ...]:
    """An upper bound: nothing is known to go before training, and a later step meets tables of unknown shapes."""
    return tables.estimated(layers, lambda layer: reason_to_skip(*layer.shape, params),
                            lambda layer: tables.coded(layer, "LearnedColumns", layer.tensors))
