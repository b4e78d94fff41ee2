"""Files packed with gzip or zstd, as plain files for a moment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compression.spec.errors import DataError

KINDS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
ENDINGS = (".gz", ".zst", ".gzip", ".zstd")
MAX_TIMES = 200  # tables of text shrink to a tenth; what unpacks to more than this is a bomb
ALWAYS_ALLOWED = 64 << 20
PIECE = 1 << 22


@contextmanager
def unpacked(path: Path, *, most: int | None = None) -> Iterator[Path]:
    """The file itself, or what is packed in it; at most the first `most` bytes of that where only a look is needed.

    Raises DataError: cut, damaged, or unpacking to more than MAX_TIMES its size.
    """
    kind = packing(path)
    if kind is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=path.parent) as folder:
        plain = Path(folder) / plain_name(path.name)
        _unpack(path, kind, plain, most)
        yield plain


def packing(path: Path) -> str | None:
    """"gzip", "zstd" or None, by the first bytes."""
    with path.open("rb") as file:
        head = file.read(4)
    return next((kind for magic, kind in KINDS.items() if head.startswith(magic)), None)


def plain_name(name: str) -> str:
    """ratings.csv.gz → ratings.csv"""
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    return name[:len(name) - len(ending)] or name


def _unpack(path: Path, kind: str, plain: Path, most: int | None) -> None:
    import pyarrow

    allowed = max(ALWAYS_ALLOWED, MAX_TIMES * path.stat().st_size)
    written = 0
    try:
        with pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), kind) as source, plain.open("wb") as out:
            while piece := source.read(PIECE if most is None else min(PIECE, most - written)):
                written += len(piece)
                if written > allowed:
                    raise DataError(f"{path.name} unpacks to more than {MAX_TIMES} times its size, which no table "
                                    "does. It was refused; unpack it yourself and look at it.")
                out.write(piece)
                if most is not None and written >= most:
                    break
    except (OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path.name} is packed with {kind}, but is cut or damaged ({reason}). "
                        "Copy it again.") from None
