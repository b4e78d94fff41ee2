"""Columns and rows that no file holds, made from a log when it is read: histories, and negatives with their label.

Both look at all rows of the dataset, whatever split they come to lie in. A history holds what lay before its row in
time and nothing else, so that no row knows of its own moment or of what came later.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from compression.data.columns import categories, times
from compression.data.labels import label_of
from compression.data.negatives import unchosen
from compression.spec.data_description import DataDescription, Role
from compression.spec.errors import DataError

TABLE = "\0table"  # which file a row is of, for a moment; no column has this name
MAX_ROWS = 200_000_000  # of a log with its negatives
MAX_VALUES = 500_000_000  # in all histories together


def with_made(tables: dict[str, pl.DataFrame], description: DataDescription) -> dict[str, pl.DataFrame]:
    """The tables with the columns and rows that the description wants made. Raises DataError."""
    if not description.made_columns:
        return tables
    try:
        frame = pl.concat([table.with_columns(pl.lit(name).alias(TABLE)) for name, table in tables.items()],
                          how="vertical_relaxed")
    except pl.exceptions.PolarsError:
        raise DataError("The files hold a column in different types, so that no log can be made of them. Write it "
                        "alike in all files.") from None
    if description.negatives:
        frame = frame.with_columns(pl.lit(1.0).alias(description.label.column))
    if description.history:
        frame = frame.with_columns(_histories(frame, description))
    if description.negatives:
        frame = _with_negatives(frame, description)
    wanted = [column.name for column in description.columns]
    return {name: frame.filter(pl.col(TABLE) == name).select(wanted) for name in tables}


def without_made(description: DataDescription) -> DataDescription:
    """The description of what the files hold."""
    made = description.made_columns
    return description.model_copy(update={"columns": tuple(
        column for column in description.columns if column.name not in made)})


def _column(frame: pl.DataFrame, description: DataDescription, role: Role) -> pl.Series:
    name = description.by_role(role)[0].name
    return categories(frame[name], what=f"Column '{name}' ({role})")


def _histories(frame: pl.DataFrame, description: DataDescription) -> pl.Series:
    """For each row the last items of its user's positive rows at earlier moments, the newest last."""
    name = description.by_role(Role.TIME)[0].name
    moments = times(frame[name], what=f"Column '{name}' (time)")
    user = _column(frame, description, Role.USER)
    item = _column(frame, description, Role.ITEM)
    counted = (label_of(frame, description) > 0) & item.is_not_null().to_numpy() & user.is_not_null().to_numpy()
    owners = user.fill_null("").rank("dense").to_numpy().astype(np.int64)
    order = np.lexsort((moments, owners))
    owners, moments, counted = owners[order], moments[order], counted[order]
    alone = user.is_null().to_numpy()[order]
    before = np.concatenate([[0], np.cumsum(counted)])  # positive rows up to each place
    where = np.arange(len(order))
    new_user = np.concatenate([[True], owners[1:] != owners[:-1]])
    new_moment = new_user | np.concatenate([[True], moments[1:] != moments[:-1]])
    first = before[np.maximum.accumulate(np.where(new_user, where, 0))]
    end = before[np.maximum.accumulate(np.where(new_moment, where, 0))]  # rows of one moment don't see each other
    start, length = np.empty_like(end), np.empty_like(end)
    start[order] = np.maximum(first, end - description.history.last)
    length[order] = np.where(alone, 0, end - np.maximum(first, end - description.history.last))
    offsets = np.concatenate([[0], np.cumsum(length)])
    if offsets[-1] > MAX_VALUES:
        raise DataError(f"Histories of {len(frame):,} rows hold {offsets[-1]:,} items; at most {MAX_VALUES:,} are "
                        "made. Set history.last to a smaller number, or use fewer rows.")
    places = np.repeat(start - offsets[:-1], length) + np.arange(offsets[-1])
    values = item.gather(order[np.flatnonzero(counted)[places]])
    lists = pa.LargeListArray.from_arrays(offsets, values.to_arrow())
    return pl.Series(description.history.column, lists)


def _with_negatives(frame: pl.DataFrame, description: DataDescription) -> pl.DataFrame:
    """Each row, then its negatives: the row with another item, and with what belongs to that item."""
    settings = description.negatives
    rows = len(frame) * (1 + settings.per_positive)
    if rows > MAX_ROWS:
        raise DataError(f"{len(frame):,} rows with {settings.per_positive} negatives each are {rows:,} rows; at most "
                        f"{MAX_ROWS:,} are read. Set negatives.per_positive to a smaller number.")
    user = _column(frame, description, Role.USER).fill_null("").to_numpy()
    item = _column(frame, description, Role.ITEM)
    if item.null_count():
        raise DataError(f"Column '{description.by_role(Role.ITEM)[0].name}' (item) is empty in "
                        f"{item.null_count():,} rows, beside which nothing can be drawn. Fill or remove these rows.")
    item = item.to_numpy()
    codes, first = np.unique(item, return_index=True)  # a row that holds what belongs to each item
    moved = _of_item(frame, item, description)
    parts = [frame.with_columns(pl.Series("\0order", np.arange(len(frame)) * (1 + settings.per_positive)))]
    for place in range(settings.per_positive):
        drawn = unchosen(user, item, by=settings.by, seed=settings.seed + place)
        source = frame[first[np.searchsorted(codes, drawn)]]
        part = parts[0].with_columns(source[name] for name in moved).with_columns(
            pl.lit(0.0).alias(description.label.column), pl.col("\0order") + place + 1)
        parts.append(part.filter(pl.Series(drawn != item)))  # a user who chose everything has no negatives
    found = pl.concat(parts).sort("\0order").drop("\0order")
    if found.height == frame.height:
        raise DataError("No negative can be drawn: every user chose every item. Give the item column the role item, "
                        "or bring a log with a label.")
    return found


def _of_item(frame: pl.DataFrame, item: np.ndarray, description: DataDescription) -> list[str]:
    """The item and the columns that hold one value for each item: its category, its title."""
    kept = {TABLE, *description.made_columns}
    kept |= {column.name for column in description.columns if column.role in (Role.USER, Role.TIME, Role.WEIGHT)}
    keyed = frame.with_columns(pl.Series("\0item", item))
    count = len(np.unique(item))
    name = description.by_role(Role.ITEM)[0].name
    return [name, *(other for other in frame.columns if other not in kept and other != name
                    and not frame[other].dtype.is_nested()
                    and keyed.select(pl.struct("\0item", other).n_unique()).item() == count)]
