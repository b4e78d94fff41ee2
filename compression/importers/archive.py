"""Unpack an uploaded zip: which names its files may have, and what they are named here."""

from __future__ import annotations

import zipfile
from pathlib import Path

from compression.data.archive import MAX_BYTES, unzip
from compression.importers.hugging_face.settings import MODULE_FOLDER
from compression.spec.errors import ModelError
from compression.spec.names import PLAIN_NAME

MAX_MEMBERS = 200


def unpack(path: Path, name: str, folder: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Path]:
    """Unpack into `folder`, flat: file name → path; what lies in 1_Pooling is named "1_Pooling.config.json".

    Raises ModelError for a bomb or a name that leads elsewhere.
    """
    return unzip(path, name, folder, max_bytes=max_bytes, plan=lambda members: _planned(members, name))


def _planned(members: list[zipfile.ZipInfo], name: str) -> list[tuple[zipfile.ZipInfo, str]]:
    """The files among the members, and their names here."""
    members = [member for member in members if not member.is_dir()]
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
        module = folders.pop() if folders and MODULE_FOLDER.fullmatch(folders[-1]) else ""
        if len(folders) > 1:
            raise ModelError(f"{name} holds {member.filename!r}; a bundle has its files at the top or in one folder.")
        names.append(f"{module}.{plain}" if module else plain)
    twice = {plain for plain in names if names.count(plain) > 1}
    if twice:
        raise ModelError(f"{name} holds {sorted(twice)[0]!r} twice.")
    return list(zip(members, names, strict=True))
