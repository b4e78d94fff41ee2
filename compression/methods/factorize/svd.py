"""Low rank by singular value decomposition: a matrix becomes the product of two thin ones.

Source: Eckart & Young 1936 (no matrix of rank r is nearer in squared error); for embedding tables
Lan et al. 2020, arXiv:1909.11942. Here: a matrix is split only where both factors together weigh less.
Legend: V rows of a table, D its width, r rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.spec.effects import Effect, Effects, parts_of
from compression.spec.method import Applied, Context, ExportForm, Gain, Params, Stage, method
from compression.spec.records import Layer, Part, Tensor

if TYPE_CHECKING:
    import torch
    from torch import nn

PARTS = (Part.EMBEDDING, Part.DENSE, Part.INTERACTION, Part.OUTPUT)


class SvdParams(Params):
    """Which matrices are split, and at which rank."""

    weights: Literal["tables", "dense", "both"] = Field(
        "both", description="Split the embedding tables, the dense layers, or both.")
    rank_by: Literal["ratio", "energy"] = Field(
        "ratio", description="Choose the rank as a share of the full one, or by how much of the matrix it keeps.")
    rank_ratio: float = Field(0.5, ge=0.02, le=1, multiple_of=0.01,
                              description="Rank as a share of the full rank; used when the rank is chosen by ratio.")
    energy: float = Field(0.95, ge=0.5, le=1, multiple_of=0.005,
                          description="Share of the squared singular values that is kept; used when the rank is "
                                      "chosen by energy.")
    by_frequency: bool = Field(False, description="In tables, let frequent rows count more than rare ones.")


def rank_of(n_rows: int, n_columns: int, ratio: float) -> int:
    """The rank as a share of the full one, at least 1."""
    return max(1, round(ratio * min(n_rows, n_columns)))


def rank_for_energy(singular_values: "torch.Tensor", energy: float) -> int:
    """The smallest rank whose squared singular values reach `energy` of their sum. singular_values descending."""
    share = singular_values.double().square().cumsum(0)
    reached = (energy - 1e-9) * share[-1]  # what float32 rounding leaves behind the true rank does not count
    return int((share < reached).sum()) + 1 if share[-1] > 0 else 1


def saves(n_rows: int, n_columns: int, rank: int) -> bool:
    """Whether two factors hold fewer numbers than the matrix."""
    return rank * (n_rows + n_columns) < n_rows * n_columns


def gram_matrix(matrix: "torch.Tensor", row_weights: "torch.Tensor | None" = None) -> "torch.Tensor":
    """matrixᵀ · matrix in float64: (V, D) → (D, D). With weights (V,) a row counts by its weight."""
    import torch

    gram = torch.zeros(matrix.shape[1], matrix.shape[1], dtype=torch.float64)
    for start in range(0, matrix.shape[0], 65_536):  # in float64 by parts: a large table is never doubled whole
        rows = matrix[start:start + 65_536].detach().cpu().double()
        if row_weights is not None:
            rows = rows * row_weights[start:start + 65_536].double().sqrt().unsqueeze(1)
        gram += rows.T @ rows
    return gram


def basis_of(gram: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Singular values (D,), descending, and the right singular vectors in columns (D, D), of the matrix behind `gram`.

    The best factors of rank r are matrix · basis[:, :r] and basis[:, :r]ᵀ; a table of V rows needs no V × V work.
    """
    import torch

    values, basis = torch.linalg.eigh(gram)
    return values.clamp(min=0).sqrt().flip(0), _fixed_signs(basis.flip(1))


def _fixed_signs(basis: "torch.Tensor") -> "torch.Tensor":
    """Each column's largest entry positive, so that the factors do not depend on the linear algebra library."""
    largest = basis.abs().argmax(0, keepdim=True)
    signs = basis.gather(0, largest).sign()
    return basis * signs.masked_fill(signs == 0, 1)


def _effects(params: SvdParams) -> Effects:
    split = parts_of(params.weights)
    return Effects(makes={Effect.LOW_RANK: split}, undoes={Effect.ZEROS: split}, needs_float=split)


@method("factorize.svd", SvdParams, title="Low rank (SVD)",
        summary="Splits tables and dense layers into the product of two thin matrices.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER, Gain.FASTER},
        source="Eckart & Young 1936; Lan et al. 2020, arXiv:1909.11942",
        tiny={"rank_ratio": 0.25}, no_op={"rank_ratio": 1.0},
        effects=_effects)
def factorize_svd(model: "nn.Module", params: SvdParams, ctx: Context) -> Applied:
    """Replace matrices by two factors where that saves bytes."""
    from torch import nn

    from compression.models.structure import leaves, part_of

    applied = Applied(model)
    for path, leaf in list(leaves(model)):
        table = isinstance(leaf, nn.Embedding)
        if not isinstance(leaf, nn.Linear | nn.Embedding):
            applied.skipped.append(ctx.skip(path, f"{type(leaf).__name__} holds no float matrix"))
        elif not chosen(part_of(model, path), table, params):
            applied.skipped.append(ctx.skip(path, _not_chosen(table, params)))
        else:
            _split_leaf(applied, path, leaf, params, ctx)
    return applied


def chosen(part: Part, table: bool, params: SvdParams) -> bool:
    """A dense factor inside a table belongs to the table and is not split again."""
    return (params.weights != "dense") if table else (params.weights != "tables" and part is not Part.EMBEDDING)


def _not_chosen(table: bool, params: SvdParams) -> str:
    if not table and params.weights != "tables":
        return "it is part of a table"
    return f"only {'dense layers' if params.weights == 'dense' else 'tables'} were chosen"


def _split_leaf(applied: Applied, path: str, leaf: "nn.Linear | nn.Embedding", params: SvdParams, ctx: Context) -> None:
    import torch

    from compression.models.structure import move_table, replace

    n_rows, n_columns = leaf.weight.shape
    table = not hasattr(leaf, "bias")
    rank = rank_of(n_rows, n_columns, params.rank_ratio)
    if params.rank_by == "ratio" and not saves(n_rows, n_columns, rank):
        applied.skipped.append(ctx.skip(path, no_saving(n_rows, n_columns, rank)))
        return
    counts = ctx.frequencies.get(path) if table and params.by_frequency else None
    weights = None if counts is None else torch.from_numpy(counts).clamp(min=1)  # unseen rows still count a little
    transposed = not table and n_columns > n_rows
    matrix = leaf.weight.detach().T if transposed else leaf.weight.detach()
    values, basis = basis_of(gram_matrix(matrix, weights))
    if params.rank_by == "energy":
        rank = rank_for_energy(values, params.energy)
        if not saves(n_rows, n_columns, rank):
            applied.skipped.append(ctx.skip(path, no_saving(n_rows, n_columns, rank)))
            return

    top = basis[:, :rank].to(leaf.weight)
    if table:
        replace(applied.model, path, _low_rank_table(leaf, leaf.weight.detach() @ top, top))
        move_table(applied.model, path, f"{path}.factor")
    else:
        left, right = (top, (matrix @ top).T) if transposed else (matrix @ top, top.T)
        replace(applied.model, path, low_rank_linear(left, right, leaf.bias).train(leaf.training))
    kept = float(values[:rank].square().sum() / values.square().sum().clamp(min=1e-300))
    before = 4 * n_rows * n_columns
    after = 4 * rank * (n_rows + n_columns)
    bias = 0 if table or leaf.bias is None else 4 * len(leaf.bias)
    applied.changes.append(ctx.change(path, before + bias, after + bias,
                                      f"rank {rank} of {min(n_rows, n_columns)}, {kept:.1%} of the energy kept"))


def _low_rank_table(table: "nn.Embedding", factor: "torch.Tensor", top: "torch.Tensor") -> "nn.Module":
    """factor (V, r), top (D, r): row i of the table is factor[i] · topᵀ."""
    from torch import nn

    from compression.layers.dense.low_rank import LowRankEmbedding

    rows = nn.Embedding.from_pretrained(factor.contiguous(), freeze=False, padding_idx=table.padding_idx)
    return LowRankEmbedding(rows, _linear(top, None)).train(table.training)


def low_rank_linear(left: "torch.Tensor", right: "torch.Tensor", bias: "torch.Tensor | None") -> "nn.Module":
    """left (out, r), right (r, in): a layer whose weight is left · right; its bias is in the second factor."""
    from compression.layers.dense.low_rank import LowRankLinear

    return LowRankLinear(_linear(right, None), _linear(left, bias))


def _linear(weight: "torch.Tensor", bias: "torch.Tensor | None") -> "nn.Linear":
    from torch import nn

    new = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    new.weight = nn.Parameter(weight.contiguous().clone())
    if bias is not None:
        new.bias = nn.Parameter(bias.detach().clone())
    return new


def no_saving(n_rows: int, n_columns: int, rank: int) -> str:
    return (f"would not save bytes: rank {rank} needs {rank * (n_rows + n_columns):,} numbers, "
            f"the matrix has {n_rows * n_columns:,}")


@factorize_svd.named
def _named(params: SvdParams) -> str:
    return f"low rank {params.energy * 100:g} % energy" if params.rank_by == "energy" else (
        f"low rank {params.rank_ratio * 100:g} %")


@factorize_svd.warns
def _warns(params: SvdParams) -> Iterator[str]:
    if params.rank_by == "energy":
        yield ("The rank for an energy is known only once the weights are read: the size shown before the run does not "
               "count this step.")


@factorize_svd.estimate
def _estimate(layers: tuple[Layer, ...], params: SvdParams) -> tuple[Layer, ...]:
    """Exact for a rank ratio. By energy the rank hangs on the weights, so the layers stay as they are."""
    if params.rank_by == "energy":
        return layers
    out: list[Layer] = []
    for layer in layers:
        table = layer.kind == "Embedding"
        if layer.kind not in ("Embedding", "Linear") or not chosen(layer.part, table, params):
            out.append(layer)
            continue
        n_rows, n_columns = layer.shape
        rank = rank_of(n_rows, n_columns, params.rank_ratio)
        out += factors(layer, rank) if saves(n_rows, n_columns, rank) else [layer]
    return tuple(out)


def factors(layer: Layer, rank: int) -> list[Layer]:
    n_rows, n_columns = layer.shape
    if layer.kind == "Embedding":
        return [_layer(layer, "factor", "Embedding", (n_rows, rank)),
                _layer(layer, "expand", "Linear", (n_columns, rank)).model_copy(update={"field": None})]
    bias = tuple(item.model_copy(update={"name": f"{layer.name}.1.bias"})
                 for item in layer.tensors if len(item.shape) == 1)
    second = _layer(layer, "1", "Linear", (n_rows, rank))
    return [_layer(layer, "0", "Linear", (rank, n_columns)),
            second.model_copy(update={"tensors": second.tensors + bias})]


def _layer(layer: Layer, child: str, kind: str, shape: tuple[int, int]) -> Layer:
    name = f"{layer.name}.{child}"
    weight = Tensor(name=f"{name}.weight", dtype="float32", shape=shape)
    return layer.model_copy(update={"name": name, "kind": kind, "shape": shape, "tensors": (weight,)})
