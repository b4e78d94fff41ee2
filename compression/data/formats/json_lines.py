"""Objects: JSON lines, as review and event logs come (Amazon reviews, for one), a JSON array of objects, or
dictionaries that Python printed, one a line (Steam reviews)."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from compression.data.json_text import as_json, first_objects, kind_in, kind_of, objects_in, parsed
from compression.data.roles import described_frame
from compression.spec.data_description import DataDescription
from compression.spec.errors import DataError

LOOKED_AT = 2000  # lines


def looks_like(lines: list[str]) -> bool:
    """Whether the first lines are objects, or an array of them."""
    kind = kind_in("\n".join(lines[:20]))
    if kind == "array" or kind is None:
        return kind is not None
    read = as_json if kind == "dictionaries" else str
    return all(isinstance(parsed(read(line)), dict) for line in lines[:20])


def describe(lines: list[str], file: str, name: str) -> DataDescription:
    """Roles guessed from the keys and values, as for a table. Raises DataError where there is one object alone."""
    rows = list(itertools.islice(first_objects("\n".join(lines)), LOOKED_AT))
    held = next((key for key, value in rows[0].items() if _is_rows(value)), "") if len(rows) == 1 else ""
    if held:
        deeper = next((key for key, value in rows[0][held][0].items() if _is_objects(value)), "")
        step = (f"Each holds objects of its own in '{deeper[:40]}': write a table with a row for each." if deeper
                else "Write that list out as a file of its own.")
        raise DataError(f"{file} is one JSON object, and the rows lie in its key '{held[:40]}'. {step}")
    frame = pl.DataFrame(rows, infer_schema_length=None, strict=False)
    return described_frame(frame, file, name, format="jsonl")


def read(path: Path, description: DataDescription) -> pl.DataFrame:
    """The described keys of every object as columns; a key that one lacks is a missing value. Raises DataError."""
    wanted = [column.name for column in description.columns]
    with _as_lines(path) as lines:
        try:
            with lines.open("rb") as opened:  # given a path, polars takes [ ] * ? in it for a pattern
                frame = pl.read_ndjson(opened, infer_schema_length=None)
        except (Exception, pl.exceptions.PanicException):
            raise DataError(_complaint(lines)) from None
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise DataError(f"No line of {path.name} has the key '{missing[0]}'; the keys are: "
                        f"{', '.join(frame.columns[:12])}. Correct the columns of the description.")
    return frame.select(wanted)


@contextmanager
def _as_lines(path: Path) -> Iterator[Path]:
    """The file, or its objects as JSON lines for a moment. Raises DataError."""
    if kind_of(path) in ("lines", None):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="lines-", dir=path.parent) as folder:
        lines = Path(folder) / path.name
        with lines.open("w", encoding="utf-8") as out:
            for found in objects_in(path):
                out.write(json.dumps(found) + "\n")
        yield lines


def _is_rows(value: object) -> bool:
    return _is_objects(value) and len(value) > 1


def _is_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value[:5])


def _complaint(path: Path) -> str:
    """Which line is no JSON object."""
    try:
        for _ in objects_in(path):
            pass
    except DataError as error:
        return str(error)
    return (f"{path.name} can't be read as JSON lines: a key has values of different kinds (a text here, a list "
            "there). Write every key with one kind of value.")
