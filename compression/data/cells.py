"""What a cell means: a number, the one spelling of a category, the values of a list, the row of a table.

Ingest applies these rules to whole columns, and predict.py, which has this file beside it, to one cell at a time; a
test compares the scores of both. Standard library and numpy alone.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, time
from typing import Any

import numpy as np

try:
    from compression.spec.errors import DataError
except ImportError:  # in a bundle, where RecPress is not installed

    class DataError(ValueError):
        """A data file that can't be used."""

MISSING = ("", "nan", "-nan", "na", "n/a", "null", "none", "?", "\\n")  # of numbers and times, in any case
TRUTH = {"true": 1.0, "false": 0.0}
WHITE = ("\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
         "\u205f\u3000")  # as polars strips it
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|infinity)", re.IGNORECASE)
DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?"
                  r"(Z| ?UTC|[+-][0-9]{2}:?[0-9]{2})?)?")
COMMA_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]+)(?:,[0-9]*)?(?:[eE][+-]?[0-9]+)?")
CLOCK = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]+")
FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(?:\.([0-9]+))?([eE][+-]?[0-9]+)?")
PRINTED = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|-?[0-9]+(?:\.[0-9]*)?(?:e[+-][0-9]+)?|"""
                     "True|False|None|nan")  # a value in a list that Python or numpy printed
PRINTED_LIST = re.compile(rf"\[\s*(?:{PRINTED.pattern})(?:(?:\s*,\s*|\s+)(?:{PRINTED.pattern}))*\s*\]")
FORMULA = r"(?:\s*[=+\-@＝＋－＠]|[\t\r\n])"  # how text begins that a spreadsheet would run
DEFUSED = re.compile(f"'{FORMULA}")  # as the download of a split writes such a cell
RESPELLED = (rf"(?s)^(?:True|TRUE|False|FALSE|'{FORMULA}.*|"
             r"-?[0-9]+\.0+|-?0\.0000[0-9]*|-?[0-9]{16,}\.[0-9]+|"
             r"-?[0-9.]+[eE][+-]?[0-9]+|[0-9:]{8}\.[0-9]*0|"
             r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T].+)$")  # every text that spelled() changes
LARGEST = 3e38  # of a number: what a float32 holds
EXACT = 2**53  # whole numbers up to here are exact as floats


def number(text: str) -> float:
    """A cell as a number: NaN where missing, 1 and 0 for true and false, a date as seconds since 1970 (UTC).

    Raises ValueError for anything else.
    """
    text = text.strip(WHITE)
    lower = text.lower()
    if lower in MISSING:
        return float("nan")
    if lower in TRUTH:
        return TRUTH[lower]
    if NUMBER.fullmatch(text):
        return float(text)
    date = DATE.fullmatch(text)
    if not date:
        raise ValueError(text)
    return _moment(date).timestamp() + int(((date[4] or "") + "000")[:3]) / 1000


def with_point(text: str) -> str:
    """A number that is written with a decimal comma, 1.234,5 or 1234,5, as JSON writes it; other text as it is.

    Raises DataError for a point that marks no thousands: nothing says whether 3.45 is 345 there.
    """
    bare = text.strip(WHITE)
    if COMMA_NUMBER.fullmatch(bare):
        return bare.replace(".", "").replace(",", ".")
    if NUMBER.fullmatch(bare) and "." in bare:
        raise DataError(f"A number is written {bare[:40]!r}, with a decimal point, in a column of decimal commas. "
                        "Write all of them alike, or set decimal: '.' for the column.")
    return text


def spelled(text: str) -> str:
    """The one spelling of a category's value, however the file or the tool before it wrote the value.

    12.0 → 12, True → true, 1e-07 and 0.0000001 → 1e-7, midnight → the date, a moment in UTC. A text that no
    program writes for a number stays as it is: 007, 1.10, 1e5 (often a hash).
    """
    if DEFUSED.match(text):
        text = text[1:]
    if text in ("True", "TRUE", "False", "FALSE"):
        return text.lower()
    found = FLOAT.fullmatch(text)
    if found:
        return _spelled_float(text, found)
    if CLOCK.fullmatch(text):
        return text.rstrip("0").rstrip(".")
    date = DATE.fullmatch(text)
    return _spelled_date(text, date) if date and date[2] else text


def text_of(value: Any) -> str | list | None:
    """A value of JSON as the text of a cell, a list as it is, None where missing. Raises ValueError for an object."""
    if isinstance(value, dict):
        raise ValueError(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if value != value else repr(value)
    return value if value is None or isinstance(value, str | list) else str(value)


def values_in(cell: str | list | None, separator: str) -> list[str]:
    """The values of a list's cell, empty ones left out: a list written in brackets, or text cut at the separator."""
    listed = list_in(cell) if isinstance(cell, str) else cell
    if listed is not None:
        return [text for value in listed if (text := text_of(value))]
    return [part for piece in (cell or "").split(separator) if (part := piece.strip(" "))]


def list_in(cell: str) -> list | None:
    """The list that a text writes: JSON, or as Python and numpy print one, ['New York', 7] and ['a' 'b']; None for any
    other text."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return [_printed(text) for text in PRINTED.findall(cell)] if PRINTED_LIST.fullmatch(cell) else None
    return found if isinstance(found, list) and not any(isinstance(one, dict | list) for one in found) else None


def other_spellings(rows: Mapping[str, int]) -> dict[str, int]:
    """The row of each value under its one spelling, where a vocabulary writes it otherwise and no two values share it.
    """
    found: dict[str, int] = {}
    shared = set()
    for value, row in rows.items():
        plain = spelled(value)
        if plain in rows:
            continue
        if plain in found:
            shared.add(plain)
        found[plain] = row
    return {plain: row for plain, row in found.items() if plain not in shared}


def repeated(vocabularies: Mapping[str, Collection[str]]) -> str:
    """A sentence where a vocabulary lists a value twice, so that no row is certain to be its own; "" where none does.
    """
    for column, values in vocabularies.items():
        if len(set(values)) == len(values):
            continue
        seen: dict[str, int] = {}
        for place, value in enumerate(values, 1):
            if seen.setdefault(value, place) != place:
                return (f"The vocabulary of {column!r} lists {value[:60]!r} twice, as value {seen[value]:,} and "
                        f"{place:,}. Each value is the row of a table, so all must differ: write the list in the "
                        "order of the rows without repeats.")
    return ""


def transformed(values: np.ndarray, *, transform: str, mean: float, std: float) -> np.ndarray:
    """(N,) float64 with NaN where missing → (N,) float32 as an input declares; missing becomes 0."""
    if transform == "log":
        values = signed_log(values)
    if transform != "none":
        values = (values - mean) / std
    return np.nan_to_num(values, nan=0.0).astype(np.float32)


def signed_log(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values))


def check_finite(values: np.ndarray, what: str, *, first_row: int = 1) -> None:
    """Raise DataError where one is infinite, or too large for a float32."""
    beyond = np.abs(values) > LARGEST
    if beyond.any():
        count, place = int(beyond.sum()), int(np.argmax(beyond))
        shown = "infinity" if np.isinf(values[place]) else f"{values[place]:g}"
        raise DataError(f"{what} holds {shown} in {count:,} row{'s'[: count != 1]}, first in data row "
                        f"{place + first_row:,}. Numbers from -{LARGEST:g} to {LARGEST:g} are allowed: write another "
                        "one, or leave the cell empty.")


def row_numbers(values: np.ndarray, n_rows: int | None, *, column: str, name: str, of: str = "") -> np.ndarray:
    """(N,) int64 row numbers, 0 where missing. Raises DataError outside [0, V), or where a value is no integer."""
    present = ~np.isnan(values)
    if (values[present] != np.floor(values[present])).any():
        raise DataError(f"Column '{column}' holds fractions, but the model reads it as row numbers of a table "
                        f"(as-is). Whole numbers from 0 to {(n_rows or 1) - 1:,} are allowed; choose another "
                        "column for this input.")
    outside = present & ((values < 0) | (values >= (n_rows or np.inf)))
    if outside.any():
        low, high = values[present].min(), values[present].max()
        raise DataError(f"Column '{column}' holds ids beyond the table of the input '{name}': {outside.sum():,} of "
                        f"{len(values):,} {of}values lie outside 0 to {n_rows - 1:,} (smallest {low:.0f}, largest "
                        f"{high:.0f}); the table has {n_rows:,} rows. Use the data the model was trained on, or bind "
                        "another column.")
    return np.where(present, values, 0).astype(np.int64)


def _printed(text: str) -> str | bool | None:
    """A value of a list that Python printed."""
    if text[0] in "'\"":
        return ast.literal_eval(text)
    if text in ("True", "False", "None", "nan"):
        return {"True": True, "False": False}.get(text)
    return text + "0" if text.endswith(".") else text  # as numpy prints whole floats


def _spelled_float(text: str, found: re.Match[str]) -> str:
    """A float as Python writes it, whole ones as integers; a text that is nobody's shortest form stays."""
    whole, fraction, exponent = found[1], found[2], found[3]
    if not fraction and (not exponent or exponent[1] not in "+-"):
        return text
    value = float(text)
    is_zero = fraction is not None and not fraction.strip("0")
    if value.is_integer() and abs(value) < EXACT and (is_zero or exponent):
        return str(int(value))
    shortest = re.sub(r"e.*|[.-]", "", repr(value)).strip("0")
    digits = (whole + (fraction or "")).strip("0")
    if shortest != digits or not np.isfinite(value) or (fraction and fraction.endswith("0") and not is_zero):
        return text
    return re.sub(r"\.0$", "", repr(value)).replace("e-0", "e-")


def _spelled_date(text: str, date: re.Match[str]) -> str:
    """2024-05-31 for midnight, else 2024-05-31 17:45:00, with the fraction of a second where there is one."""
    try:
        moment = _moment(date)
    except ValueError:
        return text
    fraction = (date[4] or "").rstrip("0")
    if moment.time() == time() and not fraction:
        return moment.date().isoformat()
    return moment.replace(tzinfo=None).isoformat(" ") + (f".{fraction}" if fraction else "")


def _moment(date: re.Match[str]) -> datetime:
    """To the second, in UTC; a text without a zone is taken for UTC. Raises ValueError for a day that doesn't exist."""
    day, clock, second, _, zone = date.groups()
    zone = "+00:00" if zone in (None, "Z", "UTC", " UTC") else zone
    try:
        return datetime.fromisoformat(f"{day}T{clock or '00:00'}:{second or '00'}{zone}").astimezone(UTC)
    except OverflowError:  # a zone that leaves the years 1 to 9999
        raise ValueError(day) from None
