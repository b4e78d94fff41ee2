"""A raw column as what its role needs: numbers, category values, lists of them, times.

Raw columns are text (from CSV and TSV) or typed (from Parquet). What a cell must not hold becomes a
DataError with the file's column, the data row and the value; what is missing becomes null.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from compression.data.bounds import LARGEST
from compression.errors import DataError

MISSING = ("", "nan", "na", "n/a", "null", "none", "?", "\\n")  # of numbers and times, in any case
TRUTH = {"true": 1.0, "false": 0.0}


def numbers(raw: pl.Series, *, what: str) -> np.ndarray:
    """The column as (N,) float64, NaN where missing. `what` names it in errors ("Column 'age' (number)").

    Raises DataError on text that is no number, and on numbers that a float32 does not hold.
    """
    if raw.dtype == pl.String:
        text = raw.str.strip_chars()
        values = text.cast(pl.Float64, strict=False)
        bad = values.is_null() & text.is_not_null() & ~text.str.to_lowercase().is_in(MISSING)
        if bad.any():
            lower = text.str.to_lowercase()
            truth = lower.replace_strict(TRUTH, default=None, return_dtype=pl.Float64)
            if (bad & truth.is_null()).any():
                raise _not_numbers(raw, bad & truth.is_null(), what)
            values = values.zip_with(~bad, truth)
    elif raw.dtype.is_numeric() or raw.dtype in (pl.Boolean, pl.Null):
        values = raw.cast(pl.Float64, strict=False)
    elif raw.dtype.is_temporal():
        values = raw.dt.epoch("ms").cast(pl.Float64) / 1000 if raw.dtype in (pl.Date, pl.Datetime) else None
        if values is None:
            raise _wrong_type(raw, what, "numbers")
    else:
        raise _wrong_type(raw, what, "numbers")
    array = values.fill_null(np.nan).to_numpy()
    infinite = np.abs(array) > LARGEST
    if infinite.any():
        got = array[np.argmax(infinite)]
        shown = "infinity" if np.isinf(got) else f"{got:g}"
        raise DataError(f"{what} holds {shown} in {_rows(infinite.sum())}, first in data row "
                        f"{np.argmax(infinite) + 1:,}. Numbers from -{LARGEST:g} to {LARGEST:g} are "
                        "allowed: write another one, or leave the cell empty.")
    return array


def categories(raw: pl.Series, *, what: str) -> pl.Series:
    """The column as text, null where missing; whole floats are written as integers (7.0 → '7').

    Raises DataError on nested or binary columns.
    """
    if raw.dtype == pl.String:
        text = raw
    elif raw.dtype.is_float():
        finite = raw.fill_nan(None)
        whole = finite.drop_nulls()
        is_whole = bool(((whole == whole.floor()) & (whole.abs() < 2**53)).all())
        text = (finite.cast(pl.Int64) if is_whole else finite).cast(pl.String)
    elif raw.dtype.is_nested() or raw.dtype in (pl.Binary, pl.Object):
        raise _wrong_type(raw, what, "single values")
    else:
        text = as_text(raw)
    return pl.select(pl.when(text != "").then(text)).to_series().alias(raw.name)


def as_text(raw: pl.Series) -> pl.Series:
    """Single values of any type as text, null where missing; a duration is written as in ISO 8601."""
    return raw.dt.to_string("iso") if raw.dtype == pl.Duration else raw.cast(pl.String, strict=False)


def multi_values(raw: pl.Series, *, separator: str, what: str) -> pl.Series:
    """The column as lists of text without empty values; an empty cell is an empty list.

    A Parquet list column is taken as it is, other cells are split at `separator`.
    Raises DataError on structs, binary data and lists of lists.
    """
    if isinstance(raw.dtype, pl.List | pl.Array):
        inner = raw.dtype.inner
        if inner.is_nested() or inner in (pl.Binary, pl.Object):
            raise _wrong_type(raw, what, "lists of single values")
        lists = raw.cast(pl.List(pl.String), strict=False).fill_null([])
    else:
        lists = categories(raw, what=what).fill_null("").str.split(separator)
        if separator != " ":
            lists = lists.list.eval(pl.element().str.strip_chars(" "))
    return lists.list.eval(pl.element().filter(pl.element() != "")).alias(raw.name)


def times(raw: pl.Series, *, what: str) -> np.ndarray:
    """The column as (N,) float64 that orders rows: numbers as they are, dates as seconds since 1970.

    Raises DataError where cells are empty, or neither a number nor a date.
    """
    if raw.dtype != pl.String:
        values = numbers(raw, what=what)
    else:
        text = raw.str.strip_chars()
        cast = text.cast(pl.Float64, strict=False)
        present = text.is_not_null() & ~text.str.to_lowercase().is_in(MISSING)
        if (cast.is_null() & present).any():
            stamps = _dates(text)
            numeric = cast.null_count() < stamps.null_count()  # one stray word among numbers is the fault, not they
            bad = (cast if numeric else stamps).is_null() & present
            if bad.any():
                raise DataError(f"{what} holds '{_first(raw, bad)}' in data row {_row(bad):,}, which is neither a "
                                "number nor a date (2024-05-31, 2024-05-31 17:45:00, 2024-05-31T17:45:00Z). Write "
                                "dates like these, or choose another column for the role time.")
            cast = stamps.dt.epoch("ms").cast(pl.Float64) / 1000
        values = cast.fill_null(np.nan).to_numpy()
    empty = np.isnan(values)
    if empty.any():
        raise DataError(f"{what} is empty in {_rows(empty.sum())}, first in data row {np.argmax(empty) + 1:,}, so the "
                        "rows can't be ordered. Fill or remove these rows, or choose split.kind random.")
    return values


def _dates(text: pl.Series) -> pl.Series:
    """Text as datetimes, null where no format fits; the first format that reads most of the column."""
    best = pl.Series([None] * len(text), dtype=pl.Datetime("us"))
    cleaned = text.str.replace("T", " ", literal=True).str.replace(r"(Z|\+00:?00)$", "")
    for form in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d", "%d.%m.%Y"):
        if form in ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y"):
            found = cleaned.str.to_date(form, strict=False).cast(pl.Datetime("us"))
        else:
            found = cleaned.str.to_datetime(form, strict=False, time_unit="us")
        if found.null_count() < best.null_count():
            best = found
        if not best.null_count():
            break
    return best


def _not_numbers(raw: pl.Series, bad: pl.Series, what: str) -> DataError:
    values = [f"'{value[:40]}'" for value in raw.filter(bad).unique(maintain_order=True).head(3)]
    return DataError(f"{what} must hold numbers; got {', '.join(values)} in {_rows(bad.sum())}, first in data row "
                     f"{_row(bad):,}. "
                     "Allowed are numbers with a decimal point, and empty cells where one is missing. Correct the "
                     "cells, or give the column another role.")


def _wrong_type(raw: pl.Series, what: str, wanted: str) -> DataError:
    return DataError(f"{what} must hold {wanted}; the file stores it as {raw.dtype.base_type().__name__.lower()}. "
                     "Write it in another type, or give the column the role ignore.")


def _first(raw: pl.Series, bad: pl.Series) -> str:
    return raw.filter(bad)[0][:40]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _row(bad: pl.Series) -> int:
    return int(bad.arg_true()[0]) + 1
