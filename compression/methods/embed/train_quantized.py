"""Quantised training of tables: the next fine-tuning sees rows as they are stored, and learns their scales with them.

Sources: Esser et al. 2020, arXiv:1902.08153 (learned step size, straight-through rounding); arXiv:2212.05735 (of
embedding tables, a step for each row). Here: rows are rounded after the lookup, so that a step costs what its batch
costs; a scale is learned as a factor, which keeps it positive; 4 and 2 bits have levels for a normal distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.embed import tables
from compression.methods.embed.quantize_rows import QuantizeRowsParams, estimated, quantize_table, reason_to_skip
from compression.spec.effects import TABLES, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    from torch import nn


class TrainQuantizedParams(QuantizeRowsParams):
    """How wide a row's codes are while it trains and after, and where its scale starts."""

    n_bits: Literal[8, 4, 2, 1] = Field(2, description="Bits of each value of a table; 1 bit is its sign.")


@method("embed.train_quantized", TrainQuantizedParams, title="Quantised training of tables",
        summary="Stores rows in 8, 4, 2 or 1 bits and lets the next fine-tuning learn rows and scales through the "
                "rounding.",
        stage=Stage.DURING_TRAINING, parts={Part.EMBEDDING}, needs={Need.LABELS, Need.FINE_TUNE},
        export=ExportForm.QDQ, gains={Gain.SMALLER},
        source="Esser et al. 2020, arXiv:1902.08153; arXiv:2212.05735",
        no_op={"min_rows": 1_000_000},
        effects=Effects(
            makes={Effect.CODES: TABLES, Effect.FROZEN: TABLES, Effect.ROUNDING: TABLES}, needs_float=TABLES))
def train_quantized(model: "nn.Module", params: TrainQuantizedParams, ctx: Context) -> Applied:
    """Put codes in the place of tables now; the hook gives them their float values back while they train."""
    from compression.train.hooks.row_rounding import RowRoundingHook

    applied = Applied(model)
    floats: dict[str, nn.Embedding] = {}
    for path, table in tables.float_tables(
            applied, ctx, lambda path, table: reason_to_skip(*table.weight.shape, params), any_part=True):
        floats[path] = table
        quantize_table(applied, path, table, params, ctx)
    if floats:
        applied.hooks.append(RowRoundingHook(floats))
    return applied


@train_quantized.named
def _named(params: TrainQuantizedParams) -> str:
    return f"trained int{params.n_bits} rows"



@train_quantized.estimate
def _estimate(layers: tuple[Layer, ...], params: TrainQuantizedParams) -> tuple[Layer, ...]:
    return estimated(layers, params)
