"""A raw column as what its role needs: numbers, category values, lists of them, times.

Raw columns are text (from CSV and TSV) or typed (from Parquet). What a cell must not hold becomes a
DataError with the file's column, the data row and the value; what is missing becomes null.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from compression.data.cells import MISSING, RESPELLED, check_finite, list_in, number, spelled, values_in
from compression.spec.errors import DataError


def numbers(raw: pl.Series, *, what: str) -> np.ndarray:
    """The column as (N,) float64, NaN where missing. `what` names it in errors ("Column 'age' (number)").

    Raises DataError on text that is no number, and on numbers that a float32 does not hold.
    """
    if raw.dtype == pl.String:
        text = raw.str.strip_chars()
        values = text.cast(pl.Float64, strict=False)
        left = values.is_null() & text.is_not_null()
        if left.any():  # missing in words, true and false, dates
            words = text.filter(left).unique().to_list()
            known = {word: value for word in words if (value := _number(word)) is not None}
            bad = left & ~text.is_in(list(known))
            if bad.any():
                raise _not_numbers(raw, bad, what)
            values = values.zip_with(~left, text.replace_strict(known, default=None, return_dtype=pl.Float64))
    elif raw.dtype.is_numeric() or raw.dtype in (pl.Boolean, pl.Null):
        values = raw.cast(pl.Float64, strict=False)
    elif raw.dtype.is_temporal():
        values = raw.dt.epoch("ms").cast(pl.Float64) / 1000 if raw.dtype in (pl.Date, pl.Datetime) else None
        if values is None:
            raise _wrong_type(raw, what, "numbers")
    else:
        raise _wrong_type(raw, what, "numbers")
    array = values.fill_null(np.nan).to_numpy()
    check_finite(array, what)
    return array


def _number(text: str) -> float | None:
    try:
        return number(text)
    except ValueError:
        return None


def categories(raw: pl.Series, *, what: str) -> pl.Series:
    """The column as text, null where missing, each value in its one spelling (7.0 → '7').

    Raises DataError on nested or binary columns.
    """
    return spelled_once(texts(raw, what=what))


def texts(raw: pl.Series, *, what: str) -> pl.Series:
    """The column as text as it is written, null where missing. Raises DataError on nested or binary columns."""
    if raw.dtype.is_nested() or raw.dtype in (pl.Binary, pl.Object):
        raise _wrong_type(raw, what, "single values")
    text = as_text(raw.fill_nan(None) if raw.dtype.is_float() else raw)
    return pl.select(pl.when(text != "").then(text)).to_series().alias(raw.name)


def spelled_once(text: pl.Series) -> pl.Series:
    """Each text in its one spelling."""
    written = text.filter(text.str.contains(RESPELLED)).unique().to_list()
    return text.replace(written, [spelled(value) for value in written]) if written else text


def as_text(raw: pl.Series) -> pl.Series:
    """Single values of any type as text, null where missing; a duration is written as in ISO 8601."""
    return _written(raw, raw.dtype)


def _written(values: pl.Series | pl.Expr, dtype: pl.DataType) -> pl.Series | pl.Expr:
    """As text: a plain cast would drop the fractions of a second of a time of day, and refuse a duration in a list."""
    if dtype == pl.Duration:
        return values.dt.to_string("iso")
    return values.dt.to_string("%H:%M:%S%.f") if dtype == pl.Time else values.cast(pl.String, strict=False)


def multi_values(raw: pl.Series, *, separator: str, what: str) -> pl.Series:
    """The column as lists of text, as it is written, without empty values; an empty cell is an empty list.

    A list of Parquet or JSON is taken as it is, and so is a text that writes a list in brackets; other cells are
    split at `separator`. Raises DataError on structs, binary data and lists of lists.
    """
    if isinstance(raw.dtype, pl.List | pl.Array):
        inner = raw.dtype.inner
        if inner.is_nested() or inner in (pl.Binary, pl.Object):
            raise _wrong_type(raw, what, "lists of single values")
        lists = raw.cast(pl.List(inner), strict=False)
        if inner.is_float():
            lists = lists.list.eval(pl.element().fill_nan(None))
        lists = lists.list.eval(_written(pl.element(), inner)).fill_null([])
    else:
        text = texts(raw, what=what).fill_null("")
        lists = text.str.split(separator).list.eval(pl.element().str.strip_chars(" "))
        listed = text.str.starts_with("[") & text.str.ends_with("]")
        if listed.any():
            found = {cell: values_in(cell, separator) for cell in text.filter(listed).unique()
                     if list_in(cell) is not None}
            own = pl.Series([found.get(cell) for cell in text], dtype=pl.List(pl.String))
            lists = lists.zip_with(own.is_null(), own)
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
                                "number nor a date (2024-05-31, 2024-05-31 17:45:00, 2024-05-31T17:45:00+02:00; "
                                "5/31/2024 where a day above 12 tells it from the month). Write dates like these, or "
                                "choose another column for the role time.")
            cast = stamps.dt.epoch("ms").cast(pl.Float64) / 1000
        values = cast.fill_null(np.nan).to_numpy()
    empty = np.isnan(values)
    if empty.any():
        raise DataError(f"{what} is empty in {_rows(empty.sum())}, first in data row {np.argmax(empty) + 1:,}, so the "
                        "rows can't be ordered. Fill or remove these rows, or choose split.kind random.")
    return values


ZONE = r"(:\d\d(?:\.\d+)?)(?: ?(?:Z|UTC|GMT)| ?([+-])(\d\d):?(\d\d)?)$"  # after a time of day
CLOCKS = (" %H:%M:%S%.f", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y")


def _dates(text: pl.Series) -> pl.Series:
    """Text as datetimes in UTC, null where no format fits; the first format that reads most of the column."""
    best = pl.Series([None] * len(text), dtype=pl.Datetime("us"))
    zones = text.to_frame("text").select(
        sign=pl.col("text").str.extract(ZONE, 2).replace_strict({"+": 1, "-": -1}, default=0, return_dtype=pl.Int64),
        hours=pl.col("text").str.extract(ZONE, 3).cast(pl.Int64), minutes=pl.col("text").str.extract(ZONE, 4).cast(
            pl.Int64)).fill_null(0)
    cleaned = text.str.replace(ZONE, "${1}").str.replace("T", " ", literal=True)
    for day in (*DAYS, *_slashed(cleaned)):
        for form in (day, *(day + clock for clock in CLOCKS)):
            if form == day:
                found = cleaned.str.to_date(form, strict=False).cast(pl.Datetime("us"))
            else:
                found = cleaned.str.to_datetime(form, strict=False, time_unit="us")
            if found.null_count() < best.null_count():
                best = found
            if not best.null_count():
                break
    seconds = zones["sign"] * (zones["hours"] * 3600 + zones["minutes"] * 60)
    return best - pl.select(pl.duration(seconds=seconds)).to_series()


def _slashed(text: pl.Series) -> tuple[str, ...]:
    """How days with slashes are written, 5/31/2024 or 31/5/2024: told by a number above 12, else by nothing."""
    parts = [text.str.extract(r"^(\d{1,2})/(\d{1,2})/\d{4}", place).cast(pl.Int64).max() or 0 for place in (1, 2)]
    return {(True, False): ("%d/%m/%Y",), (False, True): ("%m/%d/%Y",)}.get((parts[0] > 12, parts[1] > 12), ())


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
