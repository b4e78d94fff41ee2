"""The lines of a file of which each is a row, a piece of the file at a time, held against the form that all have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from compression.spec.data_description import DataDescription
from compression.spec.errors import DataError

PIECE = 32 << 20  # characters that are held as text


def frame_of(path: Path, parse: Callable[[pl.Series, int], pl.DataFrame], *, comment: str = "") -> pl.DataFrame:
    """What `parse` makes of the lines that hold something and the number of those before them, one piece below another.

    A line comes without spaces at its ends, and without what matches `comment`.
    """
    frames, rows = [], 0
    for lines in _pieces(path):
        lines = lines.str.strip_chars(" \t\r\n")
        lines = lines.str.replace(comment, "") if comment else lines
        lines = lines.filter(lines != "")
        frames.append(parse(lines, rows))
        rows += len(lines)
    return pl.concat(frames)


def check_lines(lines: pl.Series, pattern: str, path: Path, *, before: int, is_none: str, like: str) -> None:
    """Raises DataError with the first line that is not of the form: "row 3 is no … Every line is like …"."""
    wrong = ~lines.str.contains(pattern)
    if wrong.any():
        at = int(wrong.arg_true()[0])
        raise DataError(f"{path.name}: row {before + at + 1:,} is no {is_none} ({lines[at][:60]!r}). Every line is "
                        f"like {like!r}.")


def described_only(frame: pl.DataFrame, description: DataDescription, *, what: str) -> pl.DataFrame:
    """The described columns, in their order. Raises DataError for one that such a file doesn't have."""
    wanted = [column.name for column in description.columns]
    unknown = [name for name in wanted if name not in frame.columns]
    if unknown:
        raise DataError(f"{what} has no column '{unknown[0]}'; it has: {', '.join(frame.columns)}. Correct the columns "
                        "of the description.")
    return frame.select(wanted)


def _pieces(path: Path) -> Iterator[pl.Series]:
    """Whole lines, one piece at least."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = file.readlines(PIECE)
        while True:
            yield pl.Series("line", lines, dtype=pl.String)
            if not (lines := file.readlines(PIECE)):
                return
