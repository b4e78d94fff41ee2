"""Rows of embedding tables in 8, 4, 2 or 1 bits with a scale for each row or for each table.

Source: Guan et al. 2019, arXiv:1911.02079 (row-wise 4 bits with a searched range, neutral in production).
Here: symmetric levels spaced for a normal distribution, so that one fp16 number a row is enough. 1 bit is the sign
with the mean magnitude (Rastegari et al. 2016, arXiv:1603.05279).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.layers.stored_shapes import bits_that_fit, has_scale_per_row, row_tensors
from compression.methods.embed import tables
from compression.spec.effects import TABLES, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Params, Stage, method
from compression.spec.records import Layer, Part, Tensor

if TYPE_CHECKING:
    from torch import nn


class QuantizeRowsParams(Params):
    """How wide a row's codes are, and how their scale is chosen."""

    n_bits: Literal[8, 4, 2, 1] = Field(8, description="Bits of each value of a table; 1 bit is its sign.")
    granularity: Literal["row", "field"] = Field(
        "row", description="One fp16 scale for each row, or one scale for the whole table (smaller, less exact).")
    clipping: Literal["none", "search"] = Field(
        "search", description="Fit the largest value of a row, or search for the scale with the least squared error; "
                              "rows weigh by how often they occur where a table has one scale.")
    min_rows: int = Field(16, ge=1, le=1_000_000, description="Tables with fewer rows than this stay in float.")


def tensors_of(n_rows: int, dim: int, params: QuantizeRowsParams) -> tuple[Tensor, ...]:
    """What a table of these shapes will store."""
    return row_tensors(n_rows, dim, n_bits=bits_that_fit(dim, params.n_bits),
                       scale_per_row=has_scale_per_row(dim, params.granularity))


def reason_to_skip(n_rows: int, dim: int, params: QuantizeRowsParams) -> str | None:
    """Why a table stays in float, by its shape alone; None where it doesn't."""
    after = sum(tensor.size_bytes for tensor in tensors_of(n_rows, dim, params))
    return tables.too_few_rows(n_rows, params.min_rows) or tables.grows(4 * n_rows * dim, after, "with its scale")


@method("embed.quantize_rows", QuantizeRowsParams, title="Row quantisation",
        summary="Stores embedding rows in 8, 4, 2 or 1 bits with a scale for each row or table.",
        stage=Stage.AFTER_TRAINING, parts={Part.EMBEDDING}, needs=set(), export=ExportForm.QDQ,
        gains={Gain.SMALLER},
        source="Guan et al. 2019, arXiv:1911.02079; Rastegari et al. 2016, arXiv:1603.05279",
        no_op={"min_rows": 1_000_000},
        effects=Effects(makes={Effect.CODES: TABLES, Effect.FROZEN: TABLES}, once=True))
def quantize_rows(model: "nn.Module", params: QuantizeRowsParams, ctx: Context) -> Applied:
    """Replace each table of float rows by its codes and scales."""
    applied = Applied(model)
    for path, table in tables.float_tables(
            applied, ctx, lambda path, table: reason_to_skip(*table.weight.shape, params), any_part=True):
        quantize_table(applied, path, table, params, ctx)
    return applied


def quantize_table(applied: Applied, path: str, table: "nn.Embedding", params: QuantizeRowsParams,
                   ctx: Context) -> None:
    """Put the table's codes in its place, and say so."""
    from compression.layers.rows.quantized_rows import QuantizedRows
    from compression.layers.rows.row_codes import encode_rows
    from compression.models.structure import replace

    rows = encode_rows(table.weight, n_bits=params.n_bits, granularity=params.granularity, clipping=params.clipping,
                       frequencies=ctx.frequencies.get(path))
    layer = QuantizedRows(rows).to(table.weight.device).train(table.training)
    replace(applied.model, path, layer)
    per = "row" if rows.scale.ndim else "table"
    wider = f"; {rows.n_bits} bits need no more bytes than {params.n_bits} here" if rows.n_bits != params.n_bits else ""
    applied.changes.append(ctx.change(path, table.weight.numel() * 4, sum(t.size_bytes for t in layer.stored_tensors()),
                                      f"{rows.n_bits} bits, one scale a {per}{wider}"))


@quantize_rows.named
def _named(params: QuantizeRowsParams) -> str:
    return f"int{params.n_bits} rows"


@quantize_rows.warns
def _warns(params: QuantizeRowsParams) -> Iterator[str]:
    if params.n_bits <= 2 and params.granularity == "field":
        values = {2: "Four", 1: "Two"}[params.n_bits]
        yield (f"{values} values for a whole table lose much where rows differ in length; compare with a scale for "
               "each row.")


@quantize_rows.estimate
def _estimate(layers: tuple[Layer, ...], params: QuantizeRowsParams) -> tuple[Layer, ...]:
    return estimated(layers, params)


def estimated(layers: tuple[Layer, ...], params: QuantizeRowsParams) -> tuple[Layer, ...]:
    """Exact: codes and scales follow from the shapes."""
    return tables.estimated(
        layers, lambda layer: reason_to_skip(*layer.shape, params),
        lambda layer: tables.coded(layer, "QuantizedRows", tensors_of(*layer.shape, params)), any_part=True)
