"""Unpack an uploaded zip without trusting it: names, kinds and sizes are checked before and while bytes are written."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from pathlib import Path

from compression.spec.errors import ModelError
from compression.spec.names import PLAIN_NAME

MAX_MEMBERS = 200
MAX_RATIO = 200  # unpacked bytes for a packed one; zeros reach 1000, weights hardly 2
MAX_BYTES = 16 << 30
_MODULE_FOLDER = re.compile(r"[0-9]{1,2}_[A-Za-z]{1,40}")  # of sentence-transformers: 1_Pooling, 2_Dense
_FREE_BYTES = 10 << 20  # below this the ratio doesn't matter
_CHUNK = 1 << 20


def unpack(path: Path, name: str, folder: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Path]:
    """Unpack into `folder`, flat: file name → path; what lies in 1_Pooling is named "1_Pooling.config.json".

    Raises ModelError for a bomb or a name that leads elsewhere.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            names = _checked_names(members, name)
            _check_sizes(members, path, name, max_bytes)
            folder.mkdir(parents=True, exist_ok=True)
            left = max_bytes
            for member, plain in zip(members, names, strict=True):
                left -= _write(archive, member, folder / plain, name)
                if left < 0:
                    raise ModelError(f"{name} unpacks to more than {max_bytes:,} bytes. Upload a smaller model.")
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, zlib.error) as error:
        raise ModelError(f"{name} is a broken zip archive ({error}). Upload it again.") from None
    return {plain: folder / plain for plain in names}


def _checked_names(members: list[zipfile.ZipInfo], name: str) -> list[str]:
    if not members:
        raise ModelError(f"{name} is empty.")
    if len(members) > MAX_MEMBERS:
        raise ModelError(f"{name} holds {len(members):,} files; at most {MAX_MEMBERS} are read.")
    names = []
    for member in members:
        *folders, plain = member.filename.split("/")
        if not PLAIN_NAME.fullmatch(plain) or not all(PLAIN_NAME.fullmatch(folder) for folder in folders):
            raise ModelError(f"{name} holds a file named {member.filename!r}; plain names are unpacked, and paths that "
                             "lead elsewhere are not.")
        module = folders.pop() if folders and _MODULE_FOLDER.fullmatch(folders[-1]) else ""
        if len(folders) > 1:
            raise ModelError(f"{name} holds {member.filename!r}; a bundle has its files at the top or in one folder.")
        if member.header_offset < 0:
            raise zipfile.BadZipFile(f"{member.filename} begins before the file does")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ModelError(f"{name} holds a link ({member.filename}), which is not followed.")
        if member.flag_bits & 1:
            raise ModelError(f"{name} is encrypted. Upload it without a password.")
        names.append(f"{module}.{plain}" if module else plain)
    twice = {plain for plain in names if names.count(plain) > 1}
    if twice:
        raise ModelError(f"{name} holds {sorted(twice)[0]!r} twice.")
    return names


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
