"""The walk of every upload: check names → refuse what can run code → open archives → choose the format → look or read.

    read_upload({"model.onnx": path}, folder)     # the model folder and its description
    look_at({"model.onnx": path}, folder)         # what the upload asks for, before it is imported

Runs inside the sandboxed child; every way it can go wrong is a ModelError.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compression.importers.format import FORMATS, Format, Given, Upload, formats_in_words, formats_of
from compression.importers.format_sniffing import refuse_dangerous
from compression.importers.inspection import Look
from compression.importers.other_files import what_it_is
from compression.spec.errors import ModelError
from compression.spec.names import PLAIN_NAME
from compression.spec.records import ModelDescription

MAX_FILES = 64


def read_upload(files: dict[str, Path], out: Path, *, data_folder: Path | None = None,
                binding: dict[str, Any] | None = None) -> ModelDescription:
    """Check the files and write the model into `out`. Raises ModelError with what is wrong and what to do."""
    with opened(files, out.parent) as (found, upload):
        return found.read(upload, out, Given(binding or {}, data_folder))


def look_at(files: dict[str, Path], out: Path, *, keep: Path | None = None) -> Look:
    """What the files ask for; scratch is written beside `out`. Raises ModelError with what is wrong with them.

    Files that had to be unpacked or converted are left in the folder `keep`, and can be read in place of the upload.
    """
    with opened(files, out.parent) as (found, upload):
        look = found.look(upload)
        if keep is not None and upload.files != files:
            keep.mkdir()
            for name, path in upload.files.items():
                if _says_nothing(path, name):  # it would be refused as an upload
                    continue
                place = shutil.move if path.is_relative_to(upload.scratch) else shutil.copyfile
                place(path, keep / name)
        return look


@contextmanager
def opened(files: dict[str, Path], scratch: Path) -> Iterator[tuple[Format, Upload]]:
    """The upload as files of a format that is read, and that format. Raises ModelError."""
    _check_names(files)
    with tempfile.TemporaryDirectory(prefix="opened-", dir=scratch) as folder:
        found, upload = _checked(files, Path(folder))
        through = set()
        while found.opens is not None:
            if found.key in through:
                raise ModelError(f"{upload.name} is a {found.title} inside another one, which is not opened.")
            through.add(found.key)
            found, upload = _checked(found.opens(upload), Path(folder))
        yield found, upload


def _checked(files: dict[str, Path], scratch: Path) -> tuple[Format, Upload]:
    """As `choose`; what came out of an archive is looked at like what was uploaded."""
    for name, path in files.items():
        refuse_dangerous(path, name)
    return choose(files, scratch)


def choose(files: dict[str, Path], scratch: Path) -> tuple[Format, Upload]:
    """The format of the one model among the files: by its ending, and what it recognises. Raises ModelError."""
    attached = {name for one in FORMATS.values() for name in one.attached(files)}
    models = [name for name in files if formats_of(name) and name not in attached]
    for name in models:
        if len(files) > 1 and any(one.alone for one in formats_of(name)):
            raise ModelError(f"Upload the bundle {name} alone, without other files.")
    if not models:
        for name, path in sorted(files.items()):
            if said := what_it_is(path):
                raise ModelError(f"{name} {said}")
    if len(models) != 1:
        found = ", ".join(sorted(models)) or ", ".join(sorted(files))
        raise ModelError(f"Upload one model at a time: {'; '.join(formats_in_words())}. Got: {found}.")
    upload = Upload(files, models[0], scratch)
    claimed = formats_of(upload.name)
    able = [one for one in claimed if one.sniff is not None and one.sniff(upload)]
    able = able or [one for one in claimed if one.sniff is None]
    if len(able) != 1:
        read = " and ".join(one.title for one in able) or "none of the formats that end so"
        raise ModelError(f"{upload.name} is taken for {read}, so it can't be read. Upload one of: "
                         f"{'; '.join(formats_in_words())}.")
    return able[0], upload


def _check_names(files: dict[str, Path]) -> None:
    if not files:
        raise ModelError("No file was uploaded.")
    if len(files) > MAX_FILES:
        raise ModelError(f"{len(files)} files were uploaded; a model has at most {MAX_FILES}.")
    for name, path in files.items():
        if not PLAIN_NAME.fullmatch(name):
            raise ModelError(f"A file is named {name!r}; letters, digits, '.', '_' and '-' are allowed. Rename it.")
        if not path.is_file():
            raise ModelError(f"{name} did not arrive; upload it again.")
        if _says_nothing(path, name):
            raise ModelError(f"{name} is empty; upload it again.")


def _says_nothing(path: Path, name: str) -> bool:
    return path.stat().st_size == 0 and not name.endswith(".data")
