"""A text file as its readers want it: UTF-8, lines ended by a line feed, one character between cells.

Most files are so already and are given back as they are. Ingest and predict.py, which has this file beside it, write
the others anew for a moment. Standard library alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    from compression.spec.errors import DataError
except ImportError:  # in a bundle, where RecPress is not installed
    from cells import DataError

PIECE = 1 << 20  # characters
UTF8 = (None, "utf-8")


@contextmanager
def plain_text(path: Path, *, delimiter: str | None = None, encoding: str | None = None, most: int | None = None,
               folder: Path | None = None) -> Iterator[tuple[Path, str | None]]:
    """The file, and the delimiter in it: `::`, as in MovieLens-1M, becomes a tab.

    At most the first `most` characters where only a look is needed; what is written anew lies in `folder`, which is
    the file's own where none is given. Raises DataError: text that is not of the encoding, tabs beside `::`.
    """
    ends_by_return = _ends_by_return(path, encoding)
    two = delimiter is not None and len(delimiter) > 1
    if encoding in UTF8 and not ends_by_return and not two:
        yield path, delimiter
        return
    with tempfile.TemporaryDirectory(prefix="plain-", dir=folder or path.parent) as place:
        plain = Path(place) / path.name
        with plain.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as out:
            for piece in _pieces(path, encoding, translated=ends_by_return, most=most,
                                 delimiter=delimiter if two else None):
                out.write(piece)
        yield plain, "\t" if two else delimiter


def _ends_by_return(path: Path, encoding: str | None) -> bool:
    """Whether lines end as on old Macintoshes, by a carriage return alone."""
    with path.open(encoding=encoding or "utf-8", errors="replace", newline="") as file:
        head = file.read(PIECE)
    return "\r" in head.rstrip("\r") and "\n" not in head


def _pieces(path: Path, encoding: str | None, *, translated: bool, most: int | None,
            delimiter: str | None) -> Iterator[str]:
    """The text piece by piece; bytes that are no UTF-8 pass through, and are complained of where it is checked."""
    errors = "surrogateescape" if encoding in UTF8 else "strict"
    left, kept = most, ""
    try:
        with path.open(encoding=encoding or "utf-8", errors=errors, newline=None if translated else "") as source:
            while piece := source.read(PIECE if left is None else min(PIECE, left)):
                left = None if left is None else left - len(piece)
                if delimiter is None:
                    yield piece
                    continue
                if "\t" in piece:
                    raise DataError(f"{path.name} holds tabs beside the delimiter {delimiter!r}, so its cells can't be "
                                    "told apart. Write it again as CSV.")
                piece = kept + piece
                whole = len(piece) - _cut_short(piece, delimiter)
                kept = piece[whole:]
                yield piece[:whole].replace(delimiter, "\t")
    except UnicodeError:
        raise DataError(f"{path.name} is not text in the encoding {encoding}: it holds bytes that this encoding does "
                        "not have. Choose another encoding, or save it as UTF-8.") from None
    yield kept


def _cut_short(piece: str, delimiter: str) -> int:
    """How many characters at the end may be the first of a delimiter that goes on in the next piece."""
    run = len(piece) - len(piece.rstrip(delimiter[0]))
    return run % 2 if delimiter[0] == delimiter[1] else min(run, 1)
