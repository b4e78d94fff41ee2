"""Files beside a table that say something of its rows: the sizes of its queries, or the judgements of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from compression.data.formats import query_sizes, trec
from compression.data.packed import unpacked
from compression.spec.data_description import Column, DataDescription, Role


@dataclass(frozen=True)
class Companion:
    """What one kind of file beside a table gives to its rows."""

    column: str
    join: Callable[[pl.DataFrame, Path], pl.DataFrame]
    by: tuple[str, ...] = ()  # columns of the table by which its rows are found there


SIZES = Companion(query_sizes.COLUMN, query_sizes.with_groups)
JUDGEMENTS = Companion(trec.RELEVANCE, trec.with_relevance, ("query", "document"))


def companion_of(description: DataDescription) -> Companion:
    """The kind that lies beside files of this format."""
    return JUDGEMENTS if description.is_run else SIZES


def without_companion(description: DataDescription) -> DataDescription:
    """The description of what the table itself holds, with the columns by which its companion's are found."""
    kind = companion_of(description)
    columns = [one for one in description.columns if one.name != kind.column]
    there = {one.name for one in columns}
    columns += [Column(name=name, role=Role.IGNORE) for name in kind.by if name not in there]
    return description.model_copy(update={"columns": tuple(columns)})


def with_companion(frame: pl.DataFrame, path: Path, description: DataDescription) -> pl.DataFrame:
    """The described columns: the table's own, and the one that its companion, packed or not, gives. Raises DataError.
    """
    with unpacked(path) as plain:
        frame = companion_of(description).join(frame, plain)
    return frame.select(one.name for one in description.columns)
