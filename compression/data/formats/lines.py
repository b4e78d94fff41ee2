"""The lines of a file of which each is a row, held against the form that all of them have."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from compression.spec.errors import DataError


def lines_of(path: Path) -> pl.Series:
    """The lines that hold something, without the spaces around them."""
    lines = pl.Series("line", path.read_text(encoding="utf-8", errors="replace").split("\n"), dtype=pl.String)
    lines = lines.str.strip_chars()
    return lines.filter(lines != "")


def check_lines(lines: pl.Series, pattern: str, path: Path, *, is_none: str, like: str) -> None:
    """Raises DataError with the first line that is not of the form: "row 3 is no … Every line is like …"."""
    wrong = ~lines.str.contains(pattern)
    if wrong.any():
        at = int(wrong.arg_true()[0])
        raise DataError(f"{path.name}: row {at + 1:,} is no {is_none} ({lines[at][:60]!r}). Every line is like "
                        f"{like!r}.")
