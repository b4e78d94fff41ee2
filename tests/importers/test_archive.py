"""Zips whose list of contents or whose packed bytes are damaged: a sentence, from uploads and from bundles alike."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from compression.export.bundle.files import LARGEST_BYTES, read_bundle
from compression.importers.archive import unpack
from compression.spec.errors import ModelError

END, PLACE_OF_LIST, FIRST_BYTES = b"PK\x05\x06", 16, 60  # of the last record; of the first member


def whole(folder: Path) -> Path:
    path = folder / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in LARGEST_BYTES:
            archive.writestr(name, bytes(range(256)) * 40)
    return path


def begun_before_the_file(path: Path) -> None:
    """The list of contents is said to lie further back than it does, so that members begin at a negative place."""
    data = bytearray(path.read_bytes())
    place = data.rindex(END) + PLACE_OF_LIST
    struct.pack_into("<I", data, place, struct.unpack_from("<I", data, place)[0] + 1000)
    path.write_bytes(data)


def with_packed_bytes_changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[FIRST_BYTES:FIRST_BYTES + 8] = b"\xff" * 8
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [begun_before_the_file, with_packed_bytes_changed])
def test_a_damaged_zip_is_refused_with_a_sentence(tmp_path, damage):
    path = whole(tmp_path)
    damage(path)
    with pytest.raises(ModelError, match=r"model\.zip is a broken zip archive \(.+\)\. Upload it again"):
        unpack(path, path.name, tmp_path / "out")
    with pytest.raises(ModelError, match=r"model\.zip is not a whole zip file \(.+\)\. Download the bundle again"):
        read_bundle(path, tmp_path / "bundle")


def with_flags(path: Path, *, link: bool = False, encrypted: bool = False) -> None:
    """The first member is a link, or has a password, as its entry in the list of contents says."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    if encrypted:
        data[entry + 8] |= 1
    if link:
        struct.pack_into("<I", data, entry + 38, 0o120777 << 16)
    path.write_bytes(data)


@pytest.mark.parametrize(("flags", "message"), [({"link": True}, "holds a link"),
                                                ({"encrypted": True}, "is encrypted")])
def test_a_link_and_a_password_are_refused_in_uploads_and_bundles(tmp_path, flags, message):
    path = whole(tmp_path)
    with_flags(path, **flags)
    for read in (lambda: unpack(path, path.name, tmp_path / "out"), lambda: read_bundle(path, tmp_path / "bundle")):
        with pytest.raises(ModelError, match=message):
            read()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for content in ("{}", "[]"):
            archive.writestr("config.json", content)
    with pytest.raises(ModelError, match=r"model\.zip holds 'config\.json' twice"):
        unpack(tmp_path / "model.zip", "model.zip", tmp_path / "out")
