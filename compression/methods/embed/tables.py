"""What the methods that replace embedding tables share: the walk over a model's tables, and its twin over shapes.

Whether a table takes part is each method's `reason`; what it becomes is each method's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from compression.spec.method import Applied, Context
from compression.spec.records import Layer, Part, Tensor

if TYPE_CHECKING:
    from torch import nn


def float_tables(applied: Applied, ctx: Context, reason: "Callable[[str, nn.Embedding], str | None]", *,
                 counted: bool = False, any_part: bool = False) -> "Iterator[tuple[str, nn.Embedding]]":
    """(path, table) of every table of float rows that takes part; every other table becomes a skip.

    `reason` says why a table stays as it is, None where it doesn't. `counted`: only tables of which is known how often
    their rows are read. `any_part`: also an nn.Embedding that does other work in the model, such as positions.
    The model may be changed while this is walked.
    """
    from torch import nn

    from compression.models.structure import leaves, part_of

    for path, leaf in list(leaves(applied.model)):
        is_float = isinstance(leaf, nn.Embedding)
        if part_of(applied.model, path) is not Part.EMBEDDING and not (any_part and is_float):
            continue
        if not is_float:
            why = f"{type(leaf).__name__} is no table of float rows"
        elif counted and path not in ctx.frequencies:
            why = "how often its rows occur in training is not known"
        else:
            why = reason(path, leaf)
        if why:
            applied.skipped.append(ctx.skip(path, why))
        else:
            yield path, leaf


def estimated(layers: tuple[Layer, ...], reason: Callable[[Layer], str | None],
              become: Callable[[Layer], tuple[Layer, ...]], *, counted: bool = False,
              any_part: bool = False) -> tuple[Layer, ...]:
    """The layers after `float_tables` by shapes alone: tables that take part are what they `become`."""
    out: list[Layer] = []
    for layer in layers:
        table = layer.kind == "Embedding" and (any_part or layer.part is Part.EMBEDDING)
        takes_part = table and (layer.field is not None or not counted) and not reason(layer)
        out.extend(become(layer) if takes_part else (layer,))
    return tuple(out)


def too_few_rows(n_rows: int, min_rows: int) -> str | None:
    """The sentence for a table below min_rows; None where it isn't."""
    return f"{n_rows:,} rows are fewer than min_rows ({min_rows:,})" if n_rows < min_rows else None


def grows(before: int, after: int, what: str) -> str | None:
    """The sentence for a table that would not weigh less; `what` names the extra bytes, such as "with its scale"."""
    return f"would not save bytes: {after:,} {what} instead of {before:,}" if after >= before else None


def coded(layer: Layer, kind: str, tensors: tuple[Tensor, ...]) -> tuple[Layer, ...]:
    """The table as a layer of codes in its place."""
    return (layer.model_copy(update={"kind": kind, "tensors": tensors}),)


def float_child(layer: Layer, child: str, shape: tuple[int, int], *, kind: str = "Embedding",
                reads_field: bool = True) -> Layer:
    """A layer of float weights inside of what replaced a table, (V, D) of a table, (out, in) of a dense layer."""
    name = f"{layer.name}.{child}"
    weight = Tensor(name=f"{name}.weight", dtype="float32", shape=shape)
    return layer.model_copy(update={"name": name, "kind": kind, "shape": shape, "tensors": (weight,),
                                    "field": layer.field if reads_field else None})
