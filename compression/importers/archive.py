"""Unpack an uploaded zip: which of its files are unpacked, and what they are named here."""

from __future__ import annotations

import zipfile
from pathlib import Path

from compression.data.archive import MAX_BYTES, unzip
from compression.importers.format import accepted_endings, model_endings
from compression.importers.hugging_face.settings import MODULE_FOLDER
from compression.spec.errors import ModelError
from compression.spec.names import PLAIN_NAME

MAX_MEMBERS = 200


def unpack(path: Path, name: str, folder: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Path]:
    """Unpack into `folder`, flat: file name → path; what lies in 1_Pooling is named "1_Pooling.config.json".

    The files of the model's folder are unpacked, and those above it. Hidden files, what a system puts into every zip
    (__MACOSX) and other folders (onnx, assets) are left out. Raises ModelError for a bomb or a name that leads
    elsewhere.
    """
    return unzip(path, name, folder, max_bytes=max_bytes, plan=lambda members: _planned(members, name))


def _planned(members: list[zipfile.ZipInfo], name: str) -> list[tuple[zipfile.ZipInfo, str]]:
    """The files among the members that are unpacked, and their names here."""
    members = [member for member in members if not member.is_dir()]
    if not members:
        raise ModelError(f"{name} is empty.")
    if len(members) > MAX_MEMBERS:
        raise ModelError(f"{name} holds {len(members):,} files; at most {MAX_MEMBERS} are read.")
    seen = [(member, *_placed(member.filename, name)) for member in members]
    seen = [(member, folder, plain) for member, folder, plain in seen if not _is_hidden(member.filename)]
    base = _model_folder([(folder, plain) for _, folder, plain in seen], name)
    found: dict[tuple[str, ...], dict[str, zipfile.ZipInfo]] = {}
    for member, folder, plain in seen:
        if folder != base[:len(folder)] or not _has_plain_name(plain, member.filename, name):
            continue
        if plain in found.setdefault(folder, {}):
            raise ModelError(f"{name} holds {plain!r} twice.")
        found[folder][plain] = member
    nearest: dict[str, zipfile.ZipInfo] = {}
    for folder in sorted(found, key=len):  # of two files of one name, the one nearer to the model counts
        nearest |= found[folder]
    return [(member, plain) for plain, member in nearest.items()]


def _placed(filename: str, name: str) -> tuple[tuple[str, ...], str]:
    """(folder, name here) of a member; a folder of a module becomes part of the name. Raises ModelError."""
    *folders, plain = filename.split("/")
    if "\\" in filename or ".." in (*folders, plain) or (folders and not folders[0]):
        raise ModelError(f"{name} holds a file named {filename!r}; plain names are unpacked, and paths that lead "
                         "elsewhere are not.")
    module = folders.pop() if folders and MODULE_FOLDER.fullmatch(folders[-1]) else ""
    return tuple(folders), f"{module}.{plain}" if module else plain


def _is_hidden(filename: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in filename.split("/"))


def _model_folder(places: list[tuple[tuple[str, ...], str]], name: str) -> tuple[str, ...]:
    """The folder nearest to the top that holds a model. Raises ModelError where several are equally near."""
    holding = {folder for folder, plain in places if plain.lower().endswith(model_endings())}
    holding = holding or {folder for folder, _ in places}
    if not holding:
        raise ModelError(f"{name} holds hidden files alone. Zip the folder of the model.")
    depth = min(map(len, holding))
    nearest = sorted("/".join(folder) for folder in holding if len(folder) == depth)
    if len(nearest) > 1:
        raise ModelError(f"{name} holds models in several folders: {', '.join(nearest)[:200]}. Zip one of them.")
    return next(folder for folder in holding if len(folder) == depth)


def _has_plain_name(plain: str, filename: str, name: str) -> bool:
    """Whether a member can be unpacked under its name. Raises ModelError where it would have been read."""
    if PLAIN_NAME.fullmatch(plain):
        return True
    if plain.lower().endswith(accepted_endings()):
        raise ModelError(f"{name} holds a file named {filename!r}; letters, digits, '.', '_' and '-' are read. Rename "
                         "it.")
    return False
