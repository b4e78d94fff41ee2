"""A CSV or TSV file checked byte by byte before it is parsed, in one pass with little memory.

A parser that meets a short row fills it with nothing, and one that meets a long row stops without a
line number. Here every line is counted first, about as fast as the disk gives it, so that a broken file
gets a sentence with the line, and a whole one is parsed without surprises.

Ingest parses with polars what is found whole here; predict.py, which has this file beside it, with `rows_of`.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

try:
    from compression.spec.errors import DataError
except ImportError:  # in a bundle, where RecPress is not installed
    from cells import DataError

CHUNK = 1 << 23
MAX_COLUMNS = 2000
MAX_FIRST_LINE = 1 << 20
NAMES = {",": "','", "\t": "tab", ";": "';'", "|": "'|'", " ": "space"}
QUOTE, NEWLINE, RETURN = 34, 10, 13
MAGIC = {b"PAR1": "a Parquet file; set format: parquet",
         b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save the sheet as CSV",
         b"\x1f\x8b": "packed with gzip twice; unpack it first",
         b"\x28\xb5\x2f\xfd": "packed with zstd twice; unpack it first",
         b"BZh": "compressed with bzip2; unpack it first",
         b"\xfd7zXZ": "compressed with xz; unpack it first",
         b"\x80\x04\x95": "a Python pickle, which is never loaded; write the rows as CSV or Parquet",
         b"\x80\x05\x95": "a Python pickle, which is never loaded; write the rows as CSV or Parquet",
         b"\x80\x02": "a Python pickle, which is never loaded; write the rows as CSV or Parquet",
         b"\x89PNG": "a picture (PNG)",
         b"\xff\xd8\xff": "a picture (JPEG)",
         b"GIF8": "a picture (GIF)",
         b"%PDF": "a PDF; export its tables as CSV",
         b"\x93NUM": "a NumPy array; write it as CSV or Parquet with names of columns",
         b"\x89HDF": "an HDF5 file; write its table as CSV or Parquet",
         b"ARRO": "a Feather or Arrow file; write it as Parquet",
         b"ORC": "an ORC file; write it as Parquet",
         b"Obj\x01": "an Avro file; write it as Parquet",
         b"SQLi": "an SQLite database; export the table as CSV",
         b"\xd0\xcf\x11\xe0": "an old Excel file; save the sheet as CSV",
         b"\xff\xfe": "text in UTF-16; set encoding: utf-16",
         b"\xfe\xff": "text in UTF-16; set encoding: utf-16"}


@dataclass(frozen=True)
class TextShape:
    """What a checked text file holds: its first line's cells, its columns and lines, and whether cells are quoted."""

    first: tuple[str, ...]
    columns: int
    lines: int  # with the header, without blank lines at the end
    quoted: bool


@dataclass
class _Ragged:
    """Lines whose number of cells differs from the first line's."""

    count: int = 0
    first_line: int = 0
    first_cells: int = 0


@dataclass
class _Counts:
    """Running totals of one way of reading the file: with quotes, or taking quotes as plain characters."""

    line: int = 0  # complete lines so far
    cells_before: int = 0  # delimiters of the line that the chunk cut
    bytes_before: int = 0  # its length
    blank_from: int = 0  # 0, or the first blank line of the run that reaches to here
    ragged: _Ragged = field(default_factory=_Ragged)

    def lines_end(self, ends: np.ndarray, delimiters: np.ndarray, chunk: np.ndarray, columns: int) -> None:
        """Add the lines that end at `ends`; `delimiters` are the positions of those outside quotes."""
        cells = np.diff(np.searchsorted(delimiters, ends), prepend=0) + 1
        lengths = np.diff(ends, prepend=-1) - 1
        if len(ends):
            returns = chunk[np.maximum(ends - 1, 0)] == RETURN
            cells[0] += self.cells_before
            lengths[0] += self.bytes_before
            lengths = lengths - (returns & (lengths > 0))
            self.cells_before = self.bytes_before = 0
            blank = lengths == 0
            filled = np.flatnonzero(~blank)
            if len(filled):  # blank lines may stand at the end of the file, not before a filled line
                inner = np.flatnonzero(blank[: filled[-1]])
                if self.blank_from or len(inner):
                    at = self.blank_from or self.line + 1 + int(inner[0])
                    self._add(len(inner) + bool(self.blank_from), at, 0)
                wrong = np.flatnonzero((cells != columns) & ~blank)
                if len(wrong):
                    self._add(len(wrong), self.line + 1 + int(wrong[0]), int(cells[wrong[0]]))
                tail = int(filled[-1]) + 1
                self.blank_from = self.line + tail + 1 if tail < len(ends) else 0
            elif not self.blank_from:
                self.blank_from = self.line + 1
            self.line += len(ends)
        last = int(ends[-1]) if len(ends) else -1
        self.cells_before += int(len(delimiters) - np.searchsorted(delimiters, last))
        self.bytes_before += len(chunk) - 1 - last

    def _add(self, count: int, line: int, cells: int) -> None:
        if not self.ragged.count or line < self.ragged.first_line:
            self.ragged.first_line, self.ragged.first_cells = line, cells
        self.ragged.count += count

    @property
    def lines(self) -> int:
        return self.blank_from - 1 if self.blank_from else self.line


def check_text_file(path: Path, delimiter: str) -> TextShape:
    """The shape of a CSV or TSV file, after a pass over all its bytes.

    Raises DataError: empty, binary, not UTF-8, NUL bytes, too many columns, ragged rows, a quote left open.
    """
    line = read_first_line(path)
    as_plain, as_quoted = line.split("\n", 1)[0].removesuffix("\r").split(delimiter), split_line(line, delimiter)
    if min(len(as_plain), len(as_quoted)) > MAX_COLUMNS:
        raise too_many_columns(path, len(as_plain), delimiter)
    quoted, plain = _Counts(), _Counts()
    inside, stray, any_quote = False, False, False
    code, before = ord(delimiter), NEWLINE
    for chunk in _chunks(path):
        quotes = np.flatnonzero(chunk == QUOTE)
        delimiters = np.flatnonzero(chunk == code)
        ends = np.flatnonzero(chunk == NEWLINE)
        if any_quote or len(quotes):
            if not any_quote:
                quoted = _copy(plain)
                any_quote = True
            plain.lines_end(ends, delimiters, chunk, len(as_plain))
            stray = stray or _has_stray(chunk, quotes, inside, before, code)
            outside = [(np.searchsorted(quotes, at) + inside) % 2 == 0 for at in (ends, delimiters)]
            quoted.lines_end(ends[outside[0]], delimiters[outside[1]], chunk, len(as_quoted))
            inside = bool((len(quotes) + inside) % 2)
        else:
            plain.lines_end(ends, delimiters, chunk, len(as_plain))
        before = int(chunk[-1])
    use_quotes = any_quote and not stray and not inside
    counts, first = (quoted, as_quoted) if use_quotes else (plain, as_plain)
    if counts.ragged.count and any_quote and not use_quotes:
        _complain_of_quotes(path, inside)
    if counts.ragged.count:
        raise _ragged(path, delimiter, len(first), counts)
    return TextShape(tuple(first), len(first), counts.lines, use_quotes)


def rows_of(path: Path, delimiter: str, shape: TextShape) -> Iterator[list[str]]:
    """The cells of every line of a checked file, the first one included."""
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for _ in range(shape.lines):
            lines, is_open = [file.readline()], False
            while shape.quoted and lines[-1] and (is_open := is_open ^ bool(lines[-1].count('"') % 2)):
                lines.append(file.readline())
            line = "".join(lines).removesuffix("\n").removesuffix("\r")
            yield split_line(line, delimiter) if shape.quoted else line.split(delimiter)


def split_line(line: str, delimiter: str) -> list[str]:
    """A line cut into cells where quotes are around them; after a quote that is never closed, the rest is one cell."""
    if '"' not in line:
        return line.split(delimiter)
    cells, at = [], 0
    while True:
        cell = ""
        if line.startswith('"', at):
            end = line.find('"', at + 1)
            while end >= 0 and line.startswith('"', end + 1):
                end = line.find('"', end + 2)
            end = len(line) if end < 0 else end
            cell, at = line[at + 1:end].replace('""', '"'), end + 1
        end = line.find(delimiter, at)
        end = len(line) if end < 0 else end
        cells.append(cell + line[at:end])
        if end >= len(line):
            return cells
        at = end + len(delimiter)


def read_first_line(path: Path) -> str:
    """The first line without its end, with those after it while a quote is open. Raises DataError: empty or binary
    file, a first line over 1 MiB."""
    with path.open("rb") as file:
        head = file.read(MAX_FIRST_LINE)
    check_magic(path, head)
    if not head.strip():
        raise DataError(f"{path.name} is empty ({path.stat().st_size:,} bytes). "
                        "A data file needs at least a few hundred rows; upload it again or choose another.")
    if b"\0" in head:
        raise _nul(path, head.index(b"\0"))
    text = _decode_head(path, head)
    if "\n" not in text and len(head) >= MAX_FIRST_LINE:
        raise DataError(f"The first line of {path.name} is longer than {MAX_FIRST_LINE:,} bytes, so it is not a table "
                        "of rows. Write one row a line, ended by a newline.")
    lines, is_open = [], False
    for line in text.split("\n"):
        lines.append(line)
        is_open ^= bool(line.count('"') % 2)
        if not is_open:
            break
    return "\n".join(lines).removesuffix("\r")


def has_whole_quotes(text: str, delimiter: str) -> bool:
    """Whether quotes stand around whole cells, as far as the text goes."""
    raw = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
    return not _has_stray(raw, np.flatnonzero(raw == QUOTE), False, NEWLINE, ord(delimiter))


def check_different(path: Path, names: list[str]) -> None:
    """Raise DataError where two columns have the same name; blank ones can't be meant and may be several."""
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{path.name} has several columns named {', '.join(map(repr, twice))}. Column names must "
                        "differ: rename them in the first line.")


def too_many_columns(path: Path, columns: int, delimiter: str) -> DataError:
    return DataError(f"{path.name} has {columns:,} columns when split at {delimiter_name(delimiter)}; at most "
                     f"{MAX_COLUMNS:,} are allowed. Check the delimiter, or put many values of one kind into one "
                     "multi column.")


def check_magic(path: Path, head: bytes) -> None:
    """Raise DataError where the first bytes are those of another kind of file."""
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{path.name} is not text: it is {what}.")


def delimiter_name(delimiter: str) -> str:
    return NAMES.get(delimiter, f"'{delimiter}'")


def _chunks(path: Path) -> Iterator[np.ndarray]:
    """The file's bytes in pieces, checked for NUL and UTF-8; a missing newline at the end is added."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, last = 0, NEWLINE
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            if b"\0" in piece:
                raise _nul(path, offset + piece.index(b"\0"))
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                raise _not_utf8(path, offset + error.start) from None
            offset, last = offset + len(piece), piece[-1]
            yield np.frombuffer(piece, np.uint8)
    if last != NEWLINE:
        yield np.frombuffer(b"\n", np.uint8)


def _has_stray(chunk: np.ndarray, quotes: np.ndarray, inside: bool, before: int, code: int) -> bool:
    """Whether a quote opens in the middle of a cell, or closes before its end.

    A quote next to another one is a doubled quote; at a chunk's edge the benefit of the doubt is given.
    """
    opening, closing = (quotes[1::2], quotes[0::2]) if inside else (quotes[0::2], quotes[1::2])
    previous = np.where(opening > 0, chunk[np.maximum(opening - 1, 0)], before)
    closing = closing[closing + 1 < len(chunk)]
    following = chunk[closing + 1]
    may_open = np.isin(previous, (code, NEWLINE, QUOTE, 0xBF))  # 0xBF ends the byte order mark
    return not (may_open.all() and np.isin(following, (code, NEWLINE, RETURN, QUOTE)).all())


def _copy(counts: _Counts) -> _Counts:
    return _Counts(counts.line, counts.cells_before, counts.bytes_before, counts.blank_from, _Ragged(
        counts.ragged.count, counts.ragged.first_line, counts.ragged.first_cells))


def _decode_head(path: Path, head: bytes) -> str:
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error.start) from None


def _nul(path: Path, at: int) -> DataError:
    return DataError(f"{path.name} holds a NUL byte at byte {at:,}, so it is binary, text in UTF-16, or damaged. "
                     "Save it as CSV in UTF-8, or as Parquet with format: parquet.")


class NotUtf8(DataError):
    """Text of which a person has to say the encoding; no byte of it says so."""


def _not_utf8(path: Path, at: int) -> NotUtf8:
    return NotUtf8(f"{path.name} is not UTF-8 text: byte {at:,} can't be read. It may be binary, or text in another "
                   "encoding such as Latin-1. Set encoding: cp1252 (Western European, of Windows and Excel), latin-1, "
                   "or the one it was written in; or save it as UTF-8.")


def _complain_of_quotes(path: Path, still_open: bool) -> None:
    what = "a quote is opened and never closed" if still_open else "quotes stand in the middle of cells"
    raise DataError(f"In {path.name} {what}, so its cells can't be told apart. A quoted cell starts and ends with "
                    '"; a quote inside it is doubled (""). Mend the quotes or write the file again.')


def _ragged(path: Path, delimiter: str, columns: int, counts: _Counts) -> DataError:
    ragged = counts.ragged
    got = "is blank" if not ragged.first_cells else f"has {ragged.first_cells:,} cell{'s'[:ragged.first_cells != 1]}"
    others = f" {ragged.count:,} of {counts.lines:,} lines differ." if ragged.count > 1 else ""
    return DataError(f"{path.name}: line {ragged.first_line:,} {got}, but the first line has {columns:,} (delimiter: "
                     f"{delimiter_name(delimiter)}).{others} Every line needs the same number of cells: mend the line, "
                     'put cells that hold the delimiter in "quotes", or set another delimiter.')
