"""One table that users and items, or all fields, share, without a layer behind it: whose rows are which has to be said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression.importers.checkpoint.field_rankers import recognise_fields
from compression.importers.checkpoint.field_tables import FIELD_SIZES, field_sizes
from compression.importers.checkpoint.pairs import recognise_pair
from compression.importers.checkpoint.recognised import Recognised, Settings, Untold
from compression.importers.checkpoint.skeleton import Leaf, of_kind
from compression.spec.errors import DataError, ModelError
from compression.spec.records import Question

SIDES = ("user", "item")


def recognise_joint(leaves: tuple[Leaf, ...], settings: Settings) -> Recognised | None:
    """Matrix factorisation or LightGCN of one table of users, then items; a model of fields where there are others.

    None where there are several tables, or layers. Raises Untold where nothing says the rows of each field.
    """
    tables = of_kind(leaves, "table")
    rows = max((leaf.n_out for leaf in tables), default=0)
    wide = [leaf for leaf in tables if leaf.n_in > 1]
    if len(wide) > 1 or len(tables) - len(wide) > 1 or rows < 2 or any(leaf.n_out != rows for leaf in tables) or \
            any(leaf.kind not in ("table", "tensor") for leaf in leaves):
        return None
    sizes, offsets = field_sizes(settings), [leaf for leaf in of_kind(leaves, "tensor")
                                             if not leaf.weight.is_floating_point() and leaf.weight.numel() > 1]
    if sizes is None and not offsets:
        raise untold(rows, (wide or tables)[0].path)
    if sizes is None or len(sizes) != len(SIDES) or not wide:
        return recognise_fields(leaves, settings)
    if sum(sizes) != rows:
        raise ModelError(f"field_sizes sum to {sum(sizes):,}, but the shared table has {rows:,} rows. Give the rows of "
                         "each field, with those for unknown and padding.")
    found = recognise_pair(tuple(part for leaf in leaves if leaf not in offsets for part in _halves(leaf, sizes)),
                           settings)
    if found is not None:
        found.questions = (_asked(rows, wide[0].path, ", ".join(map(str, sizes))), *found.questions)
        names = settings.get("fields", ())
        if len(names) == len(SIDES):
            found.fields = tuple(type(field)(str(name), rows=field.rows)
                                 for field, name in zip(found.fields, names, strict=True))
    return found


def untold(rows: int, path: str) -> Untold:
    """The error for one table whose rows nothing assigns, with the question that does."""
    return Untold(
        f"The weights hold one table of {rows:,} rows ({path}), and nothing says which of them are users' and which "
        "are items', or which belong to which field. Say how many rows each has, in order, in the binding: "
        '{"answers": {"field_sizes": [943, 1682]}}; with padding rows they sum to the rows of the table. Or choose the '
        "data it was trained on. If the rows are those of tokens (static embeddings, as wordllama publishes them), "
        "upload tokenizer.json beside the safetensors file: it is then read as an encoder of texts.",
        (_asked(rows, path, ""),))


def _asked(rows: int, path: str, answer: Any) -> Question:
    return Question(key=FIELD_SIZES, answer=answer,
                    text=f"How many of the {rows:,} rows of {path} belong to each field, in order (such as 943, 1682 "
                         "for users and items)?")


def _halves(leaf: Leaf, sizes: list[int]) -> list[Leaf]:
    """What holds a row or a number an id as one leaf a side; anything else as it is."""
    if leaf.weight.dim() == 0 or leaf.n_out != sum(sizes):
        return [leaf]
    return [Leaf(f"{side}.{leaf.path}", leaf.kind, {"weight": part})
            for side, part in zip(SIDES, leaf.weight.split(sizes), strict=True)]


@dataclass(frozen=True)
class Sizes:
    """`settings`: rows and columns of the fields, by the keys of their questions; and a sentence on who said them."""

    settings: dict[str, Any]
    sentence: str


def sizes_in(data_folder: Path | None, rows: int) -> Sizes | None:
    """The rows of each field where the values of the data's columns sum to the rows of the table; None otherwise.

    Users and items are tried first, then all columns of ids in order; each with as many rows as values, with one more,
    and with its largest id and one more.
    """
    if data_folder is None:
        return None
    import polars as pl

    from compression.data.description import load_description
    from compression.data.ingest import read_splits
    from compression.spec.data_description import Role

    description = load_description(data_folder)
    sides = [*description.by_role(Role.USER), *description.by_role(Role.ITEM)]
    ids = [one for one in description.columns if one.role in (Role.USER, Role.ITEM, Role.CATEGORY)]
    try:
        splits = list(read_splits(data_folder, description).values())
    except DataError:
        return None
    for columns in (sides, ids):
        names = [one.name for one in columns]
        if len(names) < 2:
            continue
        values = [pl.concat([split[name] for split in splits]).drop_nulls() for name in names]
        counts = [one.n_unique() for one in values]
        largest = [one.cast(pl.Int64, strict=False) for one in values]
        found = [counts, [count + 1 for count in counts]]
        if not any(one.null_count() or one.is_empty() for one in largest):
            found.append([int(one.max()) + 1 for one in largest])
        for sizes in found:
            if sum(sizes) == rows:
                said = ", ".join(f"{name} {size:,}" for name, size in zip(names, sizes, strict=True))
                return Sizes({FIELD_SIZES: sizes, "fields": names},
                             "How many rows of the one table each field has "
                             f"comes from the values in the data: {said}.")
    return None
