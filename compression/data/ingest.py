"""Files into tables: checked, read and split, with every problem a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from compression.data.cells import with_point
from compression.data.columns import numbers
from compression.data.description import check_description, file_path, folder_of, load_description
from compression.data.formats import FORMATS
from compression.data.formats.companions import with_companion, without_companion
from compression.data.guess import guess_description
from compression.data.labels import label_of, weight_of
from compression.data.made import with_made, without_made
from compression.data.packed import unpacked
from compression.data.split import check_not_empty, cut_validation, split_rows
from compression.data.text_file import (
    MAX_COLUMNS,
    check_different,
    check_magic,
    check_text_file,
    delimiter_name,
    read_first_line,
)
from compression.data.text_form import plain_text
from compression.spec.data_description import DataDescription
from compression.spec.errors import DataError

__all__ = ["guess_description", "label_of", "read_splits", "read_table", "weight_of"]

SPLITS = ("train", "valid", "test")
MAX_PARQUET_CELLS = 2_000_000_000


def read_splits(folder: Path, description: DataDescription | None = None) -> dict[str, pl.DataFrame]:
    """The raw rows of "train", "valid" and "test": the described columns, as the files hold them.

    `folder` may be a description in it that is not called data.yaml. Columns of a CSV or TSV are text, of a Parquet
    file typed. `description` is read from the folder when not given.
    Where the files are of a test split only, train and valid have no rows.
    Raises DataError: a file that can't be read as described, a column that is absent, a label that is
    no number, empty, or of one class in a split, a split without rows.
    """
    description = description or load_description(folder)
    folder = folder_of(folder)
    check_description(description)
    tables = {}
    for name, file in description.files.items():
        table = tables[name] = _read_whole(folder, file, without_made(description))
        if not table.height:
            headed = description.header and description.is_text_table
            what = "has a header but no rows" if headed else "has no rows"
            raise DataError(f"{file} {what}. Every split needs rows: upload the file again or choose another.")
    tables = with_made(tables, description)
    if description.is_test_only:  # measured, never trained on
        splits = {"train": tables["test"].clear(), "valid": tables["test"].clear(), "test": tables["test"]}
        _check_classes(label_of(splits["test"], description), "test", splits["test"], description)
        return splits
    if "all" in tables:
        splits = split_rows(tables["all"], description)
    elif "valid" in tables:
        splits = {name: tables[name] for name in SPLITS}
    else:
        train, valid = cut_validation(tables["train"], description)
        splits = {"train": train, "valid": valid, "test": tables["test"]}
    check_not_empty({name: part.height for name, part in splits.items()}, "the files")
    for name, part in splits.items():
        _check_classes(label_of(part, description), name, part, description)
    return splits


def read_table(path: Path, description: DataDescription) -> pl.DataFrame:
    """The described columns of one file, packed or not, in the description's order. Raises DataError."""
    try:
        with unpacked(path) as plain:
            return _read(plain, description)
    except DataError as error:
        found = None if "format" in description.model_fields_set else format_of(path)
        if found in (None, "csv"):
            raise
        raise DataError(f"{error} The description names no format, so CSV was assumed, and by its content the file is "
                        f"{found}: add the line 'format: {found}'.") from None


def format_of(path: Path) -> str | None:
    """What the first rows say; None where they say nothing."""
    try:
        return guess_description(path, "").format
    except DataError:
        return None


def _read(path: Path, description: DataDescription) -> pl.DataFrame:
    if description.format == "parquet":
        return _read_parquet(path, description)
    with plain_text(path, delimiter=description.delimiter, encoding=description.encoding) as (plain, delimiter):
        if description.is_text_table:
            return _read_text(plain, description.model_copy(update={"delimiter": delimiter}))
        read_first_line(plain)  # complains of an empty or binary file
        return FORMATS[description.format].read(plain, description)


def _read_whole(folder: Path, file: str, description: DataDescription) -> pl.DataFrame:
    """A file with what its companion says of its rows."""
    companion = description.companions.get(file)
    if companion is None:
        return read_table(file_path(folder, file), description)
    frame = read_table(file_path(folder, file), without_companion(description))
    return with_companion(frame, file_path(folder, companion), description)


def _check_classes(label: np.ndarray, split: str, frame: pl.DataFrame, description: DataDescription) -> None:
    if 0 < label.sum() < len(label):
        return
    column, at_least = description.label.column, description.label.at_least
    values = numbers(frame[column], what=f"Column '{column}' (label)")
    kind = "positive" if label.all() else "negative"
    raise DataError(f"All {len(label):,} rows of the {split} split are {kind}: column '{column}' goes from "
                    f"{values.min():g} to {values.max():g}, and counts as positive from {at_least:g} on. Both classes "
                    "are needed in every split: change label.at_least, the label column, or the split.")


def _read_text(path: Path, description: DataDescription) -> pl.DataFrame:
    delimiter = description.delimiter or ("\t" if description.format == "tsv" else ",")
    if not delimiter.isascii() or delimiter in '"\r\n\0':
        raise DataError(f"The delimiter {delimiter!r} can't separate cells; it must be one ASCII character other than "
                        "a quote or a line break. Use ',' ';' '|' or a tab.")
    shape = check_text_file(path, delimiter)
    wanted = [column.name for column in description.columns]
    if description.header:
        names = [name.strip() for name in shape.first]
        _check_names(path, names, description, delimiter)
    else:
        if len(wanted) != shape.columns:
            raise DataError(f"{path.name} has {shape.columns:,} column{'s'[: shape.columns != 1]} when split at "
                            f"{delimiter_name(delimiter)}, and no header; {len(wanted):,} are described. Describe "
                            f"every column in the file's order (role ignore for those not needed)"
                            f"{_other(path, delimiter)}.")
        names = wanted
    try:
        frame = pl.read_csv(path, separator=delimiter, has_header=False, infer_schema=False, glob=False,
                            quote_char='"' if shape.quoted else None,
                            schema={f"column_{i}": pl.String for i in range(shape.columns)},
                            columns=[names.index(name) for name in wanted], n_rows=shape.lines)
    except (Exception, pl.exceptions.PanicException):
        raise DataError(f"{path.name} can't be read as {description.format.upper()} with the delimiter "
                        f"{delimiter_name(delimiter)}. Write it again with one row a line and quotes around cells that "
                        "hold the delimiter.") from None
    frame = frame.select(pl.col(f"column_{names.index(name)}").alias(name) for name in wanted)
    if frame.height != shape.lines:
        raise DataError(f"{path.name} has {shape.lines:,} lines, but {frame.height:,} rows could be read. A quote may "
                        "be open: write the file again with quotes around cells that hold the delimiter.")
    frame = frame[1:] if description.header else frame
    return frame.with_columns(_with_points(frame[name]) for name in description.comma_columns)


def _with_points(raw: pl.Series) -> pl.Series:
    """A column of decimal commas, written with points. Raises DataError where a cell has a point already."""
    cells = raw.drop_nulls().unique().to_list()
    try:
        return raw.replace(cells, [with_point(cell) for cell in cells])
    except DataError as error:
        raise DataError(f"Column '{raw.name}': {error}") from None


def _read_parquet(path: Path, description: DataDescription) -> pl.DataFrame:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(max(0, size - 4))
        tail = file.read(4)
    if not size:
        raise DataError(f"{path.name} is empty (0 bytes). Upload it again or choose another.")
    if head != b"PAR1":
        check_magic(path, head)
        raise DataError(f"{path.name} is not a Parquet file: it does not start with PAR1. "
                        "If it is text, set format: csv or tsv.")
    if tail != b"PAR1":
        raise DataError(f"{path.name} is a Parquet file that ends too early (after {size:,} bytes). "
                        "It was cut while copied or uploaded: copy it again.")
    try:
        names = pl.scan_parquet(path, glob=False).collect_schema().names()
        _check_names(path, names, description, None)
        rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
        if rows * len(description.columns) > MAX_PARQUET_CELLS:
            raise DataError(f"{path.name} has {rows:,} rows × {len(description.columns)} columns; at most "
                            f"{MAX_PARQUET_CELLS:,} cells are read. Use fewer rows, or ignore columns by leaving "
                            "them out of the description.")
        return pl.read_parquet(path, columns=[column.name for column in description.columns], glob=False)
    except DataError:
        raise
    except (Exception, pl.exceptions.PanicException):
        raise DataError(f"{path.name} starts and ends like a Parquet file but can't be read: it is damaged, or uses a "
                        "feature that is not supported. Write it again.") from None


def _check_names(path: Path, names: list[str], description: DataDescription, delimiter: str | None) -> None:
    """Raise DataError unless the file's column names are fit, and hold all described ones."""
    missing = [column.name for column in description.columns if column.name not in names]
    is_row = bool(delimiter) and len(missing) == len(description.columns) and any(_is_number(name) for name in names)
    if not is_row:
        check_different(path, names)
    if len(names) > MAX_COLUMNS:
        raise DataError(f"{path.name} has {len(names):,} columns; at most {MAX_COLUMNS:,} are allowed. "
                        "Put many values of one kind into one multi column.")
    if not missing:
        return
    label = description.label.column
    first = label if label in missing else missing[0]
    role = next(str(column.role) for column in description.columns if column.name == first)
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    shown = _quoted([name[:40] for name in names[:12]]) + (" …" if len(names) > 12 else "")
    hint = _other(path, delimiter) if delimiter else ""
    if is_row and not hint:
        hint = "; if the first line is a row, the file has no header: add one, or set header: false"
    raise DataError(f"Column '{first}'{more} with the role {role} is not in {path.name}; it has: {shown}. "
                    f"Correct the columns of the description{hint}.")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _other(path: Path, delimiter: str) -> str:
    """A hint where another delimiter cuts the first line into more cells; empty otherwise."""
    with path.open("rb") as file:
        line = file.readline(1 << 16).decode("utf-8", "replace")
    counts = {other: line.count(other) + 1 for other in ",\t;|"}
    best = max(counts, key=counts.__getitem__)
    if best == delimiter or counts[best] <= 2 * (line.count(delimiter) + 1):
        return ""
    return f"; the first line has {counts[best]:,} cells when split at {delimiter_name(best)}: set that delimiter"


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
