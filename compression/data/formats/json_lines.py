"""JSON lines: an object a line, as review and event logs come (Amazon reviews, for one)."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from compression.data.roles import described_frame
from compression.spec.data_description import DataDescription
from compression.spec.errors import DataError

LOOKED_AT = 2000  # lines


def looks_like(lines: list[str]) -> bool:
    """Whether the first lines are JSON objects."""
    return all(line.lstrip().startswith("{") and isinstance(_parsed(line), dict) for line in lines[:20])


def describe(lines: list[str], file: str, name: str) -> DataDescription:
    """Roles guessed from the keys and values, as for a table."""
    parsed = (_parsed(line) for line in lines[:LOOKED_AT])
    rows = [row for row in parsed if isinstance(row, dict)]
    frame = pl.DataFrame(rows, infer_schema_length=None, strict=False)
    return described_frame(frame, file, name, format="jsonl")


def read(path: Path, description: DataDescription) -> pl.DataFrame:
    """The described keys of every line as columns; a key that a line lacks is a missing value. Raises DataError."""
    wanted = [column.name for column in description.columns]
    try:
        with path.open("rb") as lines:  # given a path, polars takes [ ] * ? in it for a pattern
            frame = pl.read_ndjson(lines, infer_schema_length=None)
    except (Exception, pl.exceptions.PanicException):
        raise DataError(_complaint(path)) from None
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise DataError(f"No line of {path.name} has the key '{missing[0]}'; the keys are: "
                        f"{', '.join(frame.columns[:12])}. Correct the columns of the description.")
    return frame.select(wanted)


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _complaint(path: Path) -> str:
    """Which line is no JSON object."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip() and not isinstance(_parsed(line.decode("utf-8", "replace")), dict):
                return (f"{path.name}: line {number:,} is no JSON object. Write one object a line, such as "
                        '{"user": 1, "item": 2, "label": 1}.')
    return (f"{path.name} can't be read as JSON lines: a key has values of different kinds (a text here, a list "
            "there). Write every key with one kind of value.")
