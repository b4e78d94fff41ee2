"""A first description of a file nobody described: format, delimiter and header here, roles and label in roles.py.

A guess is read off the names and the first rows; the person sees it with a preview and corrects it.
"""

from __future__ import annotations

import codecs
from collections import Counter
from pathlib import Path

import polars as pl

from compression.data.formats import recognise
from compression.data.known_tables import names_of, no_log
from compression.data.packed import unpacked
from compression.data.roles import described_frame
from compression.data.text_file import (
    MAX_COLUMNS,
    check_different,
    check_magic,
    delimiter_name,
    has_whole_quotes,
    read_first_line,
    split_line,
    too_many_columns,
)
from compression.data.text_form import plain_text
from compression.spec.data_description import DataDescription
from compression.spec.errors import DataError

SAMPLE_BYTES = 2 << 20
SAMPLE_ROWS = 10_000
MAX_CELL = 131_072  # characters; a longer cell is a quote that was never closed more often than a value
FEWEST_ROWS = 3  # by which an index is told
DELIMITERS = (",", "\t", ";", "|", "::")


def guess_description(path: Path, name: str, *, encoding: str | None = None) -> DataDescription:
    """A description of one file of rows, to be looked at and corrected. `name` is the dataset's.

    `encoding` of text, where it is not UTF-8, is said by a person; UTF-16 by its first bytes. Reads the first 2 MiB
    (of Parquet the first 10,000 rows). Raises DataError where the file is no table, NotUtf8 where an encoding is
    needed.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path.name}. Choose a CSV, TSV, Parquet or JSON lines file.")
    with unpacked(path, most=SAMPLE_BYTES) as plain:
        return _guess(plain, path.name, name, encoding)


def _guess(path: Path, file: str, name: str, encoding: str | None) -> DataDescription:
    with path.open("rb") as opened:
        head = opened.read(4)
    if head == b"PAR1":
        return described_frame(_parquet_head(path), file, name, format="parquet")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    if encoding != "utf-16":
        check_magic(path, head)
    with plain_text(path, encoding=encoding, most=SAMPLE_BYTES) as (plain, _):
        found = recognise(plain)
        if found:
            form, lines = found
            described = form.describe(lines, file, name)
        else:
            frame, delimiter, header = _text_head(plain)
            described = described_frame(frame, file, name, format="tsv" if delimiter == "\t" else "csv",
                                        delimiter=delimiter, header=header)
    return described.model_copy(update={"encoding": encoding}) if encoding else described


def guess_delimiter(lines: list[str]) -> str:
    """The delimiter that cuts the lines into the same, largest number of cells; a comma when none does."""
    best, most = ",", 0.0
    for delimiter in DELIMITERS:
        counts = Counter(len(row) for row in cells_of(lines, delimiter))
        if not counts:
            continue
        cells, rows = counts.most_common(1)[0]
        score = (cells > 1) * (rows / sum(counts.values())) ** 4 * min(cells, 4)
        if score > most:
            best, most = delimiter, score
    return best


def cells_of(lines: list[str], delimiter: str) -> list[list[str]]:
    """The lines cut into cells, blank ones left out; a delimiter of two characters knows no quotes.

    As in the reader, quotes count where they stand around whole cells. A cell that is still open at the end of the
    lines was cut with them and is left out, unless it takes in most of them.
    """
    if len(delimiter) > 1 or not has_whole_quotes("\n".join(lines), delimiter):
        return [line.split(delimiter) for line in lines if line]
    rows, held = [], []
    for line in lines:
        held.append(line)
        if bool(line.count('"') % 2) == (len(held) > 1):  # it neither opens a cell nor leaves one open
            rows.append("\n".join(held))
            held = []
    if len(held) > len(lines) / 2:
        return [line.split(delimiter) for line in lines if line]
    return [split_line(row, delimiter) for row in rows if row]


def has_header(rows: list[list[str]]) -> bool:
    """Whether the first of the rows names the columns: cells of which none is a number, unlike those below.

    A name above numbers tells a header even where other names are blank, as pandas writes its index, or stand twice.
    Above words, names differ, and a blank one stands first, above an index, or above nothing.
    """
    first, below = rows[0], rows[1:]
    if any(_is_number(cell) for cell in first):
        return False
    columns = list(zip(*(row for row in below if len(row) == len(first)), strict=True))
    if any(name.strip() and any(column) and all(_is_number(cell) or not cell for cell in column)
           for name, column in zip(first, columns, strict=False)):
        return True
    names = [name for name in first if name.strip()]
    unnamed = [place for place, name in enumerate(first[:len(columns)]) if not name.strip()]
    return (len(set(names)) == len(names) > 0
            and all(not any(columns[place]) or (place == 0 and _is_index(columns[place])) for place in unnamed)
            and not any(name in column for name, column in zip(first, columns, strict=False) if name.strip()))


def _text_head(path: Path) -> tuple[pl.DataFrame, str, bool]:
    """(first rows as text, delimiter, header) of a CSV or TSV."""
    read_first_line(path)  # complains of an empty or binary file
    with path.open("rb") as file:
        text = file.read(SAMPLE_BYTES).decode("utf-8-sig", "replace")
    lines = text.removesuffix("\n").split("\n", SAMPLE_ROWS + 1)[: SAMPLE_ROWS + 1]
    lines = [line.removesuffix("\r") for line in lines]
    if len(text) >= SAMPLE_BYTES // 4 and len(lines) > 1 and len(lines) <= SAMPLE_ROWS:
        lines = lines[:-1]  # the last one is cut
    delimiter = guess_delimiter(lines[:200])
    rows = cells_of(lines, delimiter)
    width = len(rows[0])
    if width > MAX_COLUMNS:
        raise too_many_columns(path, width, delimiter)
    if any(len(cell) > MAX_CELL for row in rows for cell in row):
        raise DataError(f"{path.name} can't be read as a table: a cell is longer than {MAX_CELL:,} characters. Check "
                        "that quotes are closed, or write a description of the file beside it.")
    if said := no_log(rows, delimiter, path.name):
        raise DataError(f"{path.name} {said}")
    header = has_header(rows)
    _check_width(path, rows, delimiter)
    if header and len(rows) == 1:
        raise DataError(f"{path.name} has a header but no rows. Upload the file again or choose another.")
    if header:
        names, rows = [cell.strip() for cell in rows[0]], rows[1:]
        check_different(path, names)
    else:
        names = names_of(rows, delimiter) or [f"column_{k + 1}" for k in range(width)]
    cells = list(zip(*(row for row in rows if len(row) == width), strict=True)) or [()] * width
    columns = zip(names, cells, strict=True)
    # a column without a name, such as pandas' index, can't be described
    frame = pl.DataFrame({name: pl.Series(values, dtype=pl.String) for name, values in columns if name})
    return frame, delimiter, header


def _check_width(path: Path, rows: list[list[str]], delimiter: str) -> None:
    """Raise DataError where the rows agree on a number of cells that is not the first line's."""
    counts = Counter(len(row) for row in rows[1:])
    usual, count = max(counts.items(), key=lambda found: found[1], default=(len(rows[0]), 0))
    if usual == len(rows[0]) or 2 * count <= len(rows) - 1:
        return
    raise DataError(f"{path.name}: the first line has {len(rows[0]):,} cell{'s'[:len(rows[0]) != 1]}, but the lines "
                    f"below have {usual:,} (delimiter: {delimiter_name(delimiter)}). Every line needs the same number "
                    "of cells: name every column in the first line, row names such as those of R too; remove "
                    "delimiters at the ends of lines; remove lines above the names.")


def _parquet_head(path: Path) -> pl.DataFrame:
    try:
        return pl.scan_parquet(path, glob=False).head(SAMPLE_ROWS).collect()
    except (Exception, pl.exceptions.PanicException):
        raise DataError(f"{path.name} starts like a Parquet file but can't be read: it is cut or damaged. "
                        "Copy or write it again.") from None


def _is_index(column: tuple[str, ...]) -> bool:
    """Whether each of several rows has a value of its own."""
    return all(column) and len(set(column)) == len(column) >= FEWEST_ROWS


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
