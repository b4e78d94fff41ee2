"""A dataset at a glance: rows, label rate, what each column holds, and how train and test differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from compression.data.bounds import check_read_values
from compression.data.columns import as_text, categories, multi_values, numbers, spelled_once
from compression.data.description import load_description
from compression.data.encode import fit_transform, transform_numbers
from compression.data.ingest import SPLITS, label_of, read_splits
from compression.data.leakage import Leakage, find_leakage
from compression.spec.data_description import Column, DataDescription, Role
from compression.spec.records import Record
from compression.spec.signature import Input

PREVIEW_ROWS = 20
FREQUENT = 10  # most frequent values kept
PROFILE_POINTS = 40
BINS = 10
CELL_LENGTH = 60


class ValueCount(Record):
    """A value and the number of train rows (of a multi column: occurrences) that hold it."""

    value: str
    count: int


class ProfilePoint(Record):
    """The popularity of the id of rank `rank` (1 is the most frequent) in train."""

    rank: int
    count: int
    share: float  # of all occurrences, covered by the ids up to this rank


class ColumnSummary(Record):
    """One column. What does not apply to its role is None or empty; numbers are over train unless said."""

    name: str
    role: Role
    missing: int  # empty cells, all splits
    cardinality: int | None = None  # distinct values
    lower: float | None = None
    upper: float | None = None
    mean: float | None = None
    frequent: tuple[ValueCount, ...] = ()
    head_share: float | None = None  # share of occurrences that the most frequent 1 % of ids cover (at least one id)
    single_share: float | None = None  # share of ids that occur once
    unknown_share: float | None = None  # share of test occurrences whose value train does not hold
    unknown_valid: float | None = None  # the same of valid
    drift: float | None = None  # population stability index train → test; above 0.2 is usually called a shift
    profile: tuple[ProfilePoint, ...] = ()
    largest_id: int | None = None  # over all splits, where every value is a whole number from 0 on
    mean_length: float | None = None  # values in a multi cell


class DataSummary(Record):
    """What the Datasets page shows of a dataset."""

    name: str
    rows: dict[str, int]
    label_rate: dict[str, float]
    columns: tuple[ColumnSummary, ...]
    preview_columns: tuple[str, ...]
    preview: tuple[tuple[str, ...], ...]  # the first train rows (or test rows), as text, long cells cut
    leakage: Leakage = Leakage()


def summarise(folder: Path) -> DataSummary:
    """The summary of the dataset in a folder. Raises DataError as `read_splits` does."""
    description = load_description(folder)
    splits = read_splits(folder, description)
    first = splits["test" if description.is_test_only else "train"].head(PREVIEW_ROWS)
    preview = first.select(_shown(first[column.name]) for column in description.columns)
    filled = {split: frame for split, frame in splits.items() if frame.height}
    columns = tuple(_summarise_column(column, splits) for column in description.columns)
    if description.is_test_only:
        columns = tuple(_of_test_only(column, splits["test"]) for column in description.columns)
    return DataSummary(
        name=description.name,
        rows={split: frame.height for split, frame in filled.items()},
        label_rate={split: float(label_of(frame, description).mean()) for split, frame in filled.items()},
        columns=columns,
        preview_columns=tuple(preview.columns),
        preview=tuple(tuple(row) for row in preview.iter_rows()),
        leakage=Leakage() if description.is_test_only else find_leakage(splits, description),
    )


def count_beyond(folder: Path, description: DataDescription, column: str, limit: int) -> tuple[int, int]:
    """(rows of all splits whose id is `limit` or more, all rows). Raises DataError as `read_splits` does."""
    parts = [numbers(frame[column], what=f"Column '{column}'") for frame in read_splits(folder, description).values()]
    return sum(int((part >= limit).sum()) for part in parts), sum(len(part) for part in parts)


def stability_index(expected: np.ndarray, actual: np.ndarray) -> float:
    """Population stability index of two histograms over the same bins: Σ (a − e) · ln(a / e) over their shares.

    An empty bin counts as 0.01 % so that the sum stays finite. Source: Siddiqi 2006, Credit Risk Scorecards.
    """
    e, a = (np.maximum(counts / max(counts.sum(), 1), 1e-4) for counts in (expected, actual))
    return float(((a - e) * np.log(a / e)).sum())


def _summarise_column(column: Column, splits: dict[str, pl.DataFrame]) -> ColumnSummary:
    what = f"Column '{column.name}' ({column.role})"
    raw = {split: frame[column.name] for split, frame in splits.items()}
    if column.role in (Role.IGNORE, Role.TIME):
        return ColumnSummary(name=column.name, role=column.role, missing=sum(_empty(part) for part in raw.values()))
    if column.role in (Role.NUMBER, Role.LABEL, Role.WEIGHT):
        values = {split: numbers(part, what=what) for split, part in raw.items()}
        if column.role is Role.NUMBER:
            _check_as_read(column, values)
        return _of_numbers(column, values)
    if column.role is Role.MULTI:
        lists = {split: multi_values(part, separator=column.separator, what=what) for split, part in raw.items()}
        missing = sum(int((part.list.len() == 0).sum()) for part in lists.values())
        length = float(lists["train"].list.len().mean() or 0)
        values = {split: spelled_once(part.explode().drop_nulls()) for split, part in lists.items()}
        return _of_values(column, values, missing, length)
    values = {split: categories(part, what=what) for split, part in raw.items()}
    missing = sum(part.null_count() for part in values.values())
    found = _of_values(column, {split: part.drop_nulls() for split, part in values.items()}, missing, None)
    return found.model_copy(update={"largest_id": _largest_id(pl.concat(values.values()).drop_nulls())})


def _check_as_read(column: Column, values: dict[str, np.ndarray]) -> None:
    """Raise DataError where a model that is trained on these rows could not read them; rows of test alone are not."""
    if not len(values["train"]):
        return
    transform, mean, std = fit_transform(values["train"])
    item = Input(name=column.name, kind="number", column=column.name, transform=transform, mean=mean, std=std)
    check_read_values(column.name, {split: transform_numbers(part, item) for split, part in values.items()})


def _largest_id(values: pl.Series) -> int | None:
    """The largest of the values; None where one is no whole number from 0 on."""
    found = values.cast(pl.Int64, strict=False)
    return int(found.max()) if len(found) and not found.null_count() and found.min() >= 0 else None


def _of_test_only(column: Column, test: pl.DataFrame) -> ColumnSummary:
    """What test rows hold, where there are no others: nothing to drift from, nothing unknown."""
    found = _summarise_column(column, {"train": test, "valid": test.clear(), "test": test.clear()})
    return found.model_copy(update={"drift": None, "unknown_share": None})


def _of_numbers(column: Column, values: dict[str, np.ndarray]) -> ColumnSummary:
    missing = sum(int(np.isnan(part).sum()) for part in values.values())
    present = np.concatenate([part[~np.isnan(part)] for part in values.values()])
    is_ids = column.role is Role.NUMBER and len(present) and (present >= 0).all() and (present == present.round()).all()
    largest_id = int(present.max()) if is_ids else None
    train, test = (values[split][~np.isnan(values[split])] for split in ("train", "test"))
    if not len(train):
        return ColumnSummary(name=column.name, role=column.role, missing=missing)
    edges = np.unique(np.quantile(train, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = [np.append(np.bincount(np.searchsorted(edges, part, side="left"), minlength=len(edges) + 1),
                        np.isnan(values[split]).sum()) for split, part in (("train", train), ("test", test))]
    return ColumnSummary(name=column.name, role=column.role, missing=missing, lower=float(train.min()),
                         upper=float(train.max()), mean=float(train.mean()), cardinality=pl.Series(train).n_unique(),
                         largest_id=largest_id, drift=stability_index(*counts))


def _of_values(column: Column, values: dict[str, pl.Series], missing: int, length: float | None) -> ColumnSummary:
    """A column of ids; `values` without the missing ones."""
    train, valid, test = (values[split].alias("value").to_frame().group_by("value").len() for split in SPLITS)
    train = train.sort(["len", "value"], descending=[True, False])
    counts = train["len"].to_numpy().astype(np.int64)
    if not len(counts):
        return ColumnSummary(name=column.name, role=column.role, missing=missing, cardinality=0, mean_length=length)
    both = train.rename({"len": "train"}).join(test.rename({"len": "test"}), on="value", how="left",
                                               maintain_order="left").with_columns(pl.col("test").fill_null(0))
    seen, total = int(both["test"].sum()), int(test["len"].sum())
    # the head in ten bins, the tail and the unknown in one each: ids alone would drift by their sparseness
    head = both.head(BINS)
    drift = stability_index(*(np.append(head[name].to_numpy(), [both[name].sum() - head[name].sum(), extra])
                              for name, extra in (("train", 0), ("test", total - seen)))) if total else None
    covered = np.cumsum(counts) / counts.sum()
    ranks = np.unique(np.geomspace(1, len(counts), PROFILE_POINTS).round().astype(np.int64))
    frequent = zip(train["value"].head(FREQUENT), counts, strict=False)
    return ColumnSummary(
        name=column.name, role=column.role, missing=missing, cardinality=len(counts), mean_length=length, drift=drift,
        frequent=tuple(ValueCount(value=value[:CELL_LENGTH], count=int(count)) for value, count in frequent),
        head_share=float(covered[max(1, len(counts) // 100) - 1]), single_share=float((counts == 1).mean()),
        unknown_share=(total - seen) / total if total else None, unknown_valid=_unknown(train, valid),
        profile=tuple(ProfilePoint(rank=int(rank), count=int(counts[rank - 1]), share=float(covered[rank - 1]))
                      for rank in ranks),
    )


def _unknown(train: pl.DataFrame, other: pl.DataFrame) -> float | None:
    """The share of the other split's occurrences whose value train does not hold."""
    total = int(other["len"].sum())
    return int(other.join(train, on="value", how="anti")["len"].sum()) / total if total else None


def _empty(raw: pl.Series) -> int:
    return raw.null_count() + (int((raw == "").sum()) if raw.dtype == pl.String else 0)


def _shown(raw: pl.Series) -> pl.Series:
    """Cells as text of at most 60 characters, empty where missing."""
    if raw.dtype.is_nested() or raw.dtype in (pl.Binary, pl.Object):
        shown = ["" if value is None else str(value) for value in raw.to_list()]
        text = pl.Series(raw.name, shown, dtype=pl.String)
    else:
        text = as_text(raw).fill_null("")
    return text.str.slice(0, CELL_LENGTH)
