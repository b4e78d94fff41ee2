"""A full disk, recognised in what the libraries that write say about it. Loads without torch."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
# who keeps the number to himself says it in words: Rust (polars, safetensors), torch by path, HDF5, SQLite, PostgreSQL
SIGNS = ("no space left on device", "disk quota exceeded", "os error 28)", "os error 122)", "errno = 28,",
         "disk is full", "disk full", "not enough space on the disk")
# who only notices that less was written than asked: torch's zip writer, numpy's tofile
SHORT_WRITES = (("inline_container.cc", "unexpected pos"), ("pytorchstreamwriter failed", "writ"),
                (" requested and ", " written"))
NOTHING_BYTES = 1 << 20  # what is left when a writer gave up


def is_disk_full(error: BaseException, *folders: Path) -> bool:
    """Whether an exception, or what caused it, comes from a full disk.

    folders: where it was writing; an error of a library that gives no reason counts if one of their disks is full.
    """
    return any(_says_so(link) or (_may_be(link) and any(map(is_full, folders))) for link in causes(error))


def is_full(folder: Path) -> bool:
    """Whether the disk that holds a folder has next to nothing left."""
    try:
        found = os.statvfs(folder)
    except (OSError, AttributeError):  # gone, or Windows, where the error has its number
        return False
    return found.f_bavail * found.f_frsize < min(NOTHING_BYTES, found.f_blocks * found.f_frsize // 20)


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, then what caused it, down to the first."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        yield link
        link = link.__cause__ or link.__context__


def _says_so(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    text = str(error).lower()
    return any(sign in text for sign in SIGNS) or any(all(part in text for part in parts) for parts in SHORT_WRITES)


def _may_be(error: BaseException) -> bool:
    """An error of the system without a number, or of a library that is not ours."""
    if isinstance(error, OSError | RuntimeError):
        return getattr(error, "errno", None) is None
    return type(error).__module__.split(".")[0] not in {"builtins", "compression"}
