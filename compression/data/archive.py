"""Unpack a zip without trusting it: kinds, places and sizes are checked before and while bytes are written.

    unzip(path, "bundle.zip", folder, plan=lambda members: [(member, "a name of ours") for member in members])
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from compression.spec.errors import ModelError

MAX_RATIO = 200  # unpacked bytes for a packed one; zeros reach 1000, weights hardly 2
MAX_BYTES = 16 << 30
_FREE_BYTES = 10 << 20  # below this the ratio doesn't matter
_CHUNK = 1 << 20
Plan = Callable[[list[zipfile.ZipInfo]], list[tuple[zipfile.ZipInfo, str]]]


def unzip(path: Path, name: str, folder: Path, *, plan: Plan, max_bytes: int = MAX_BYTES,
          again: str = "is a broken zip archive ({error}). Upload it again.") -> dict[str, Path]:
    """Unpack the members that `plan` chooses under the names it gives, flat: name → path.

    `plan` raises ModelError for members that have no business there. Raises ModelError for links, passwords, bombs
    and damage; of damage it says `again`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            planned = plan(archive.infolist())
            for member, _ in planned:
                _check_kind(member, name)
            _check_sizes([member for member, _ in planned], path, name, max_bytes)
            folder.mkdir(parents=True, exist_ok=True)
            left = max_bytes
            for member, plain in planned:
                left -= _write(archive, member, folder / plain, name)
                if left < 0:
                    raise ModelError(f"{name} unpacks to more than {max_bytes:,} bytes. Upload a smaller model.")
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, zlib.error) as error:
        raise ModelError(f"{name} {again.format(error=error)}") from None
    return {plain: folder / plain for _, plain in planned}


def _check_kind(member: zipfile.ZipInfo, name: str) -> None:
    if member.header_offset < 0:
        raise zipfile.BadZipFile(f"{member.filename} begins before the file does")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ModelError(f"{name} holds a link ({member.filename}), which is not followed.")
    if member.flag_bits & 1:
        raise ModelError(f"{name} is encrypted. Upload it without a password.")


def _check_sizes(members: list[zipfile.ZipInfo], path: Path, name: str, max_bytes: int) -> None:
    unpacked, packed = sum(member.file_size for member in members), max(1, path.stat().st_size)
    if unpacked > max_bytes:
        raise ModelError(f"{name} unpacks to {unpacked:,} bytes; at most {max_bytes:,} are taken.")
    if unpacked > _FREE_BYTES and unpacked > MAX_RATIO * packed:
        raise ModelError(f"{name} unpacks to {unpacked // packed:,} times its size, as a zip bomb does; weights don't "
                         f"shrink that much. At most {MAX_RATIO} times are taken.")


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, name: str) -> int:
    written = 0
    with archive.open(member) as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > member.file_size:
                raise ModelError(f"{name} holds more in {member.filename!r} than its list of contents says.")
            file.write(chunk)
    return written
