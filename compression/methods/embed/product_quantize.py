"""Product quantisation of tables: the columns are cut into slices, and each slice of a row is one of 256 centroids.

Source: Jégou et al. 2011, IEEE TPAMI 33 (product quantisation); of trained recommender tables: arXiv:2502.15355.
Here: k-means weighs a row by how often it occurs in training (+ 1, as a row unseen there can be asked for).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from compression.layers.stored_shapes import product_tensors, slices_that_fit
from compression.methods.embed import tables
from compression.methods.shared_params import LargeFloatTables
from compression.spec.effects import TABLES, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer, Part, Tensor

if TYPE_CHECKING:
    from torch import nn


class ProductParams(LargeFloatTables):
    """How finely a row is cut, and among how many centroids."""

    subspaces: int = Field(8, ge=1, le=64, description="Bytes a row: one code for each slice of the columns. A width "
                                                       "that can't be cut into as many gets the next fewer.")
    centroids: int = Field(256, ge=4, le=256, description="Entries of each codebook; fewer suit small tables.")
    by_frequency: bool = Field(True, description="Let frequent rows count more than rare ones.")


def tensors_of(n_rows: int, dim: int, params: ProductParams) -> tuple[Tensor, ...]:
    """What a table of these shapes will store."""
    return product_tensors(n_rows, dim, n_slices=slices_that_fit(dim, params.subspaces), centroids=params.centroids)


def reason_to_skip(n_rows: int, dim: int, params: ProductParams) -> str | None:
    """Why a table stays in float, by its shape alone; None where it doesn't."""
    if few := tables.too_few_rows(n_rows, params.min_rows):
        return few
    if n_rows <= params.centroids:
        return f"{n_rows:,} rows are no more than its codebook would have ({params.centroids})"
    after = sum(tensor.size_bytes for tensor in tensors_of(n_rows, dim, params))
    return tables.grows(4 * n_rows * dim, after, "with its codebooks")


@method("embed.product_quantize", ProductParams, title="Product quantisation",
        summary="Replaces each slice of an embedding row by the nearest of 256 learned centroids.",
        stage=Stage.AFTER_TRAINING, parts={Part.EMBEDDING}, needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER},
        source="Jégou et al. 2011; arXiv:2502.15355",
        tiny={"min_rows": 2, "centroids": 4, "subspaces": 2}, no_op={"min_rows": 1_000_000},
        effects=Effects(makes={Effect.CODES: TABLES}, needs_float=TABLES))
def product_quantize(model: "nn.Module", params: ProductParams, ctx: Context) -> Applied:
    """Replace each large table by codes and codebooks."""
    applied = Applied(model)
    for path, table in tables.float_tables(
            applied, ctx, lambda path, table: reason_to_skip(*table.weight.shape, params)):
        _encode_table(applied, path, table, params, ctx)
    return applied


def _encode_table(applied: Applied, path: str, table: "nn.Embedding", params: ProductParams, ctx: Context) -> None:
    from compression.layers.rows.product_rows import encode_product
    from compression.models.structure import replace

    n_rows, dim = table.weight.shape
    counts = ctx.frequencies.get(path) if params.by_frequency else None
    weights = np.ones(n_rows) if counts is None else counts + 1
    n_slices = slices_that_fit(dim, params.subspaces)
    layer = encode_product(table.weight, weights, n_slices=n_slices, centroids=params.centroids,
                           random=np.random.default_rng([ctx.seed, ctx.step]))
    replace(applied.model, path, layer.to(table.weight.device).train(table.training))
    fewer = f"; {dim} columns can't be cut into {params.subspaces}" if n_slices < params.subspaces else ""
    unweighted = "" if counts is not None or not params.by_frequency else "; how often its rows occur is not known"
    applied.changes.append(ctx.change(path, 4 * n_rows * dim, sum(t.size_bytes for t in layer.stored_tensors()),
                                      f"{n_slices} codes a row, {params.centroids} centroids each{fewer}{unweighted}"))


@product_quantize.named
def _named(params: ProductParams) -> str:
    return f"PQ {params.subspaces} bytes a row"


@product_quantize.estimate
def _estimate(layers: tuple[Layer, ...], params: ProductParams) -> tuple[Layer, ...]:
    return tables.estimated(
        layers, lambda layer: reason_to_skip(*layer.shape, params),
        lambda layer: tables.coded(layer, "ProductRows", tensors_of(*layer.shape, params)))
