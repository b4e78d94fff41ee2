"""Tables as tensor trains: an id is cut into digits, and its row is a product of small matrices, one for each digit.

Sources: Yin et al. 2021, arXiv:2101.11714 (TT-Rec: embedding tables as tensor trains of three cores); Oseledets 2011,
SIAM J. Sci. Comput. 33(5) (TT-SVD). Here: the cores begin at the TT-SVD of the trained table, where TT-Rec trains from
scratch; its cache of frequent rows is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from compression.layers.stored_shapes import TrainShape, train_shape
from compression.methods.embed import tables
from compression.methods.shared_params import LargeTables
from compression.spec.effects import TABLES, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    from torch import nn


class TensorTrainParams(LargeTables):
    """How many cores a table becomes, and how much they may say to each other."""

    rank: int = Field(8, ge=1, le=128, description="Width of what each core hands to the next; a core between two "
                                                   "others grows with its square.")
    n_cores: int = Field(3, ge=2, le=4, description="Matrices multiplied for a row: fewer are faster to look up, more "
                                                    "are smaller.")
    by_frequency: bool = Field(True, description="Let frequent rows count more than rare ones.")


def shape_of(n_rows: int, dim: int, params: TensorTrainParams) -> TrainShape:
    """Digits, slices and ranks of a table of these shapes."""
    return train_shape(n_rows, dim, n_cores=params.n_cores, rank=params.rank)


def bytes_after(shape: TrainShape) -> int:
    return 4 * sum(rows * columns for rows, columns in shape.tables())


def reason_to_skip(n_rows: int, dim: int, params: TensorTrainParams) -> str | None:
    """Why a table stays whole, by its shape alone; None where it doesn't."""
    if few := tables.too_few_rows(n_rows, params.min_rows):
        return few
    return tables.grows(4 * n_rows * dim, bytes_after(shape_of(n_rows, dim, params)), "bytes of cores")


@method("factorize.tensor_train", TensorTrainParams, title="Tensor train",
        summary="Makes each row a product of small matrices, one for each digit of its id.",
        stage=Stage.AFTER_TRAINING, parts={Part.EMBEDDING}, needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER},
        source="Yin et al. 2021, arXiv:2101.11714; Oseledets 2011",
        tiny={"min_rows": 2, "rank": 2}, no_op={"min_rows": 1_000_000},
        effects=Effects(
            makes={Effect.LOW_RANK: TABLES, Effect.UNCOUNTED: TABLES}, undoes={Effect.ZEROS: TABLES},
            needs_float=TABLES,
            wants_training="Neighbouring ids have little in common, so that the cores start far from the table"))
def tensor_train(model: "nn.Module", params: TensorTrainParams, ctx: Context) -> Applied:
    """Replace each large table by the cores of a tensor train."""
    applied = Applied(model)
    for path, table in tables.float_tables(
            applied, ctx, lambda path, table: reason_to_skip(*table.weight.shape, params)):
        _decompose_table(applied, path, table, params, ctx)
    return applied


def _decompose_table(applied: Applied, path: str, table: "nn.Embedding", params: TensorTrainParams,
                     ctx: Context) -> None:
    import torch

    from compression.layers.rows.tensor_train import decompose
    from compression.models.structure import forget_table, replace

    n_rows, dim = table.weight.shape
    shape = shape_of(n_rows, dim, params)
    counts = ctx.frequencies.get(path) if params.by_frequency else None
    weights = None if counts is None else torch.from_numpy(counts) + 1  # a row unseen in training can be asked for
    layer = decompose(table.weight, shape, weights).to(table.weight.device).train(table.training)
    with torch.no_grad():
        found = layer(torch.arange(n_rows, device=table.weight.device)) - table.weight
    kept = 1 - float(found.square().sum() / table.weight.detach().square().sum().clamp(min=1e-30))
    replace(applied.model, path, layer)
    # a core is read by digits, not by the ids of an input, so that no step takes its rows for ids by frequency
    forget_table(applied.model, path)
    digits, ranks = " × ".join(map(str, shape.rows)), ", ".join(map(str, shape.ranks))
    applied.changes.append(ctx.change(path, 4 * n_rows * dim, bytes_after(shape),
                                      f"{n_rows:,} ids as {digits} digits, ranks {ranks}, "
                                      f"{kept:.1%} of the energy kept"))


@tensor_train.named
def _named(params: TensorTrainParams) -> str:
    return f"tensor train rank {params.rank}"


@tensor_train.estimate
def _estimate(layers: tuple[Layer, ...], params: TensorTrainParams) -> tuple[Layer, ...]:
    """Exact: digits and ranks follow from the shape."""
    return tables.estimated(layers, lambda layer: reason_to_skip(*layer.shape, params),
                            lambda layer: _as_cores(layer, shape_of(*layer.shape, params)))


def _as_cores(layer: Layer, shape: TrainShape) -> tuple[Layer, ...]:
    return tuple(tables.float_child(layer, name, size, reads_field=False)
                 for name, size in zip(shape.names(), shape.tables(), strict=True))
