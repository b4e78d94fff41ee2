"""What makes a test score too good to be true: rows train has seen, a future it knows, a column that tells."""

from __future__ import annotations

import numpy as np
import polars as pl

from compression.data.columns import categories, numbers, times
from compression.data.ingest import label_of
from compression.data.schema import Column, DataDescription, Role
from compression.records import Record

TELLING_AUC = 0.98  # of one column alone
MAX_ROWS = 2_000_000  # of a split that are looked at
FEWEST_ROWS = 100


class Leakage(Record):
    """What was found; zero and empty where there is nothing."""

    repeated_rows: int = 0  # test rows that stand in train word for word, label included
    future_rows: int = 0  # train rows later than half of the test rows
    telling: tuple[str, ...] = ()  # columns of numbers that alone order the labels almost perfectly


def find_leakage(splits: dict[str, pl.DataFrame], description: DataDescription) -> Leakage:
    """Look for leakage between train and test, and from a column to the label.

    Rows are compared over the described columns that are not ignored. A future is looked for where there is a time
    and the split doesn't follow it; within users (`user_time`, `leave_one_out`) train and test overlap in time by
    intent.
    """
    train, test = (splits[name].head(MAX_ROWS) for name in ("train", "test"))
    return Leakage(repeated_rows=_repeated(train, test, description), future_rows=_future(train, test, description),
                   telling=tuple(_telling(train, description)))


def _repeated(train: pl.DataFrame, test: pl.DataFrame, description: DataDescription) -> int:
    compared = [column for column in description.columns if column.role is not Role.IGNORE
                and not train[column.name].dtype.is_nested()]
    if len(compared) < 2:  # a label and one column repeat by nature
        return 0
    before, after = (part.select(_as_read(part[column.name], column) for column in compared) for part in (train, test))
    return after.join(before.unique(), on=before.columns, how="semi", nulls_equal=True).height


def _as_read(raw: pl.Series, column: Column) -> pl.Series:
    """What a column's cells mean, so that files of different types and spellings compare."""
    what = f"Column '{column.name}' ({column.role})"
    if column.role in (Role.NUMBER, Role.LABEL):
        return pl.Series(column.name, numbers(raw, what=what)).fill_nan(None)
    return categories(raw, what=what)


def _future(train: pl.DataFrame, test: pl.DataFrame, description: DataDescription) -> int:
    found = description.by_role(Role.TIME)
    if not found or description.split.kind not in ("given", "random", "user"):
        return 0
    what = f"Column '{found[0].name}' (time)"
    before, after = (times(part[found[0].name], what=what) for part in (train, test))
    return int((before > np.median(after)).sum())


def _telling(train: pl.DataFrame, description: DataDescription) -> list[str]:
    label = label_of(train, description)
    return [column.name for column in description.by_role(Role.NUMBER) if _tells(train, column, label)]


def _tells(train: pl.DataFrame, column: Column, label: np.ndarray) -> bool:
    """Whether the numbers of a column alone give an AUC of TELLING_AUC, in either direction."""
    values = numbers(train[column.name], what=f"Column '{column.name}'")
    present = ~np.isnan(values)
    values, label = values[present], label[present]
    positive = int(label.sum())
    if len(label) < FEWEST_ROWS or positive in (0, len(label)):
        return False
    ranks = pl.Series(values).rank("average").to_numpy()
    area = (ranks[label == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(label) - positive))
    return max(area, 1 - area) >= TELLING_AUC
