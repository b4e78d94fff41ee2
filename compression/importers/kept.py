"""What was found in an upload, kept for its import: the look, and the files that were unpacked or converted for it.

    kept = KeptLook.of(home / LOOKS, {"bundle.zip": digest})
    look_in_sandbox(files, kept=kept)                  # in the sandboxed child, once
    open_in_sandbox(files, folder, kept)               # what the import reads in place of the upload

It belongs to the digests of the files and the version of the code, plug-ins included. The files were written by a
child that read a stranger's upload: they are taken as another upload, checked and read in the sandbox. This process
wrote down their digests when it took them, and takes none back that has another. What can't be kept or read is done
again. Folders used longest ago go when there is more than `MOST_BYTES`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from compression.importers.inspection import Look
from compression.importers.reader import MAX_FILES
from compression.spec.code_version import code_version
from compression.spec.names import PLAIN_NAME
from compression.spec.records import Record

LOOKS = "looks"  # the folder of a home that they are kept in
MOST_BYTES = 5 * 10**9
MOST_LOOKS = 1000
MAX_RECORD_BYTES = 64 << 20
_RECORD, _OPENED = "look.json", "opened"


class _Record(Record):
    """look.json: the look as plain values, and the digests of the files beside it."""

    look: dict
    files: dict[str, str]


@dataclass(frozen=True)
class KeptLook:
    """The place of one upload's look."""

    folder: Path

    @classmethod
    def of(cls, root: Path, digests: dict[str, str]) -> "KeptLook":
        """The place in `root` of an upload, name → sha256, as this code reads it."""
        what = json.dumps([code_version(), sorted(digests.items())])
        return cls(Path(root) / hashlib.sha256(what.encode()).hexdigest()[:32])

    def place(self) -> Path | None:
        """The folder in which a look can be made so that it is kept by a rename; None where there can't be one."""
        with suppress(OSError):
            self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return self.folder.parent
        return None

    def look(self) -> Look | None:
        """What was found; None where nothing is kept."""
        record = self._record()
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            return Look.from_plain(record.look) if record else None
        return None

    def opened(self, folder: Path) -> dict[str, Path] | None:
        """The files to read in place of the upload, linked into `folder`; None where it is read as it came."""
        record = self._record()
        if record is None or not record.files:
            return None
        found = {}
        with suppress(OSError):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name, digest in record.files.items():
                found[name] = folder / name
                _link(self.folder / _OPENED / name, found[name])
                if _digest(found[name]) != digest:
                    _leave(self.folder)
                    return None
            return found
        return None

    def keep(self, look: Look, opened: Path) -> None:
        """Keep what the child found and left in `opened`, where it is plain files with plain names and not too much."""
        with suppress(OSError):
            files = list(opened.iterdir()) if opened.is_dir() and not opened.is_symlink() else []
            if any(path.is_symlink() or not path.is_file() or not PLAIN_NAME.fullmatch(path.name) for path in files) \
                    or len(files) > MAX_FILES or sum(path.stat().st_size for path in files) > MOST_BYTES:
                return
            record = _Record(look=look.plain(), files={path.name: _digest(path) for path in files})
            with tempfile.TemporaryDirectory(prefix=".keeping-", dir=self.folder.parent) as whole:
                made = Path(whole) / "look"
                made.mkdir()
                (made / _RECORD).write_text(record.model_dump_json(), encoding="utf-8")
                if files:
                    os.rename(opened, made / _OPENED)
                if self.folder.exists():  # of a process that was faster, or no longer readable
                    _leave(self.folder)
                os.rename(made, self.folder)
            _evict(self.folder.parent)

    def _record(self) -> _Record | None:
        path = self.folder / _RECORD
        with suppress(OSError, ValidationError):
            if path.stat().st_size <= MAX_RECORD_BYTES:
                os.utime(self.folder)
                return _Record.model_validate_json(path.read_bytes())
        return None


def _evict(root: Path) -> None:
    """Let the folders go that were used longest ago."""
    folders = sorted((path for path in root.iterdir() if not path.name.startswith(".")),
                     key=lambda path: path.stat().st_mtime, reverse=True)
    size = 0
    for number, folder in enumerate(folders):
        size += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if size > MOST_BYTES or number >= MOST_LOOKS:
            _leave(folder)


def _leave(folder: Path) -> None:
    """Remove a folder that others may be reading: it is there whole, or not at all."""
    with tempfile.TemporaryDirectory(prefix=".leaving-", dir=folder.parent) as leaving:
        os.rename(folder, Path(leaving) / "look")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
