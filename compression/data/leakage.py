"""What makes a test score too good to be true: rows train has seen, a future it knows, a column that tells."""

from __future__ import annotations

import numpy as np
import polars as pl

from compression.data.columns import categories, multi_values, numbers, times
from compression.data.ingest import label_of
from compression.data.scores import auc
from compression.spec.data_description import Column, DataDescription, Role
from compression.spec.records import Record

TELLING_AUC = 0.98  # of one column alone
GROUPS = 51  # edges between which numbers count as equal
MAX_ROWS = 2_000_000  # of a split that are looked at
FEWEST_ROWS = 100


class Leakage(Record):
    """What was found; zero and empty where there is nothing."""

    repeated_rows: int = 0  # test rows that stand in train word for word, label included
    future_rows: int = 0  # train rows later than half of the test rows
    telling: tuple[str, ...] = ()  # columns, of any role, that alone order the labels almost perfectly


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
    if column.role in (Role.NUMBER, Role.LABEL, Role.WEIGHT):
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
    if len(label) < FEWEST_ROWS or not 0 < label.sum() < len(label):
        return []
    return [column.name for column in description.columns if column.role not in (Role.LABEL, Role.IGNORE)
            and told_by(train[column.name], column, label) >= TELLING_AUC]


def told_by(raw: pl.Series, column: Column, label: np.ndarray) -> float:
    """The AUC of one column alone over the labels (N,) of 0 and 1, whatever its role; a missing value is a value.

    Values are scored by their label rate in the other half of the rows, so that ids which never come again say
    nothing; numbers in groups of equal size, and by their size as well. Lists are as good as the mean of their values.
    """
    what = f"Column '{column.name}' ({column.role})"
    if column.role in (Role.NUMBER, Role.TIME, Role.WEIGHT):
        values = times(raw, what=what) if column.role is Role.TIME else numbers(raw, what=what)
        present = ~np.isnan(values)
        if not present.any():
            return 0.5
        ordered = _order(values[present], label[present])
        groups = np.searchsorted(np.unique(np.quantile(values[present], np.linspace(0, 1, GROUPS)[1:-1])), values)
        rows, keys = np.arange(len(values)), pl.Series(np.where(present, groups, -1))
    elif column.role is Role.MULTI:
        lists = multi_values(raw, separator=column.separator, what=what)
        ordered, rows = 0.5, np.repeat(np.arange(len(lists)), np.maximum(lists.list.len().to_numpy(), 1))
        keys = lists.explode()
    else:
        ordered, rows, keys = 0.5, np.arange(len(raw)), categories(raw, what=what)
    return max(ordered, 1 - ordered, _order(_rates(keys, rows, label), label))


def _order(scores: np.ndarray, label: np.ndarray) -> float:
    """The AUC; 0.5 where one class is absent."""
    found = auc(scores, label)
    return 0.5 if found is None else found


def _rates(keys: pl.Series, rows: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(N,) the mean over a row's keys of the label rate that each has in the other half of the rows."""
    half = np.random.default_rng(0).integers(0, 2, len(label)).astype(bool)
    overall = label.mean()
    frame = pl.DataFrame({"key": keys.alias("key"), "row": rows, "half": half[rows], "label": label[rows]})
    seen = frame.group_by("key", "half").agg(pl.col("label").sum().alias("sum"), pl.len().alias("count"))
    seen = seen.with_columns(~pl.col("half"))  # of the half that is not looked at
    frame = frame.join(seen, on=["key", "half"], how="left", nulls_equal=True, maintain_order="left")
    rate = (pl.col("sum").fill_null(0) + overall) / (pl.col("count").fill_null(0) + 1)
    return frame.with_columns(rate.alias("rate")).group_by("row").agg(pl.col("rate").mean()).sort("row")[
        "rate"].to_numpy()
