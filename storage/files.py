"""Artifacts by content: a file is stored once under its sha256, written whole or not at all.

Stored files are read-only and never change, so that a folder for a job is made of hard links to them. Only the owner
reads them. A sweep moves files aside (storage.trash); one that is asked for again comes back.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from compression.spec.disk import is_disk_full
from compression.spec.errors import StorageError
from storage.trash import Trash

CHUNK = 1 << 20
DAY_S = 24 * 3600.0
DIGEST = re.compile(r"[0-9a-f]{64}")


class Files:
    """The artifact store in one folder: `ab/cdef…` below `objects`, half-written in `incoming`, swept in `trash`."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.objects = self.root / "objects"
        self.incoming = self.root / "incoming"
        self.trash = Trash(self.root)
        with _explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.objects.mkdir(exist_ok=True, mode=0o700)
            self.incoming.mkdir(exist_ok=True, mode=0o700)

    def put(self, path: Path) -> str:
        """Store a copy of a file and give its sha256. Raises StorageError when the disk is full."""
        with _explained(self.root), open(path, "rb") as source:
            return self._store(iter(lambda: source.read(CHUNK), b""))

    def put_bytes(self, data: bytes) -> str:
        """Store bytes and give their sha256."""
        with _explained(self.root):
            return self._store(iter([data]))

    def put_folder(self, folder: Path) -> dict[str, str]:
        """Store every file below a folder: the manifest, relative name → sha256."""
        folder = Path(folder)
        return {file.relative_to(folder).as_posix(): self.put(file)
                for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink()}

    def path(self, digest: str) -> Path:
        """Where a stored file lies; open it for reading only. Raises StorageError if it isn't there."""
        place = self._place(digest)
        if not self._is_there(place):
            raise StorageError(f"The file {digest[:12]}… is not in {self.objects}; it was deleted outside RecPress. "
                               "Upload it again, or restore the folder from a backup.")
        return place

    def has(self, digest: str) -> bool:
        return DIGEST.fullmatch(digest) is not None and self._is_there(self._place(digest))

    def size(self, manifest: dict[str, str]) -> int:
        """Bytes of a manifest's files."""
        return sum(self.path(digest).stat().st_size for digest in manifest.values())

    def materialise(self, manifest: dict[str, str], folder: Path) -> Path:
        """Lay a manifest's files out under their names: hard links where the disk allows, else copies."""
        with _explained(folder):
            for name, digest in manifest.items():
                target = Path(folder) / checked_name(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                source = self.path(digest)
                target.unlink(missing_ok=True)
                try:
                    os.link(source, target)
                except OSError:
                    shutil.copyfile(source, target)
        return Path(folder)

    def sweep(self, keep: Collection[str], *, now: float | None = None, older_than_s: float = DAY_S) -> int:
        """Move files aside that nothing names and that nobody stored or touched for a day; gives how many.

        The day protects what a running job has stored and not yet saved; storing a file again counts as a touch.
        What was moved aside a week ago is deleted.
        """
        now = time.time() if now is None else now
        with _explained(self.root):
            for digest in keep:  # named again since: by a restored database, or by a job that stored it meanwhile
                self.has(digest)
            self.trash.empty(now=now)
            return sum(self._sweep_one(file, now, older_than_s)
                       for file in [*self.objects.glob("??/*"), *self.incoming.iterdir()]
                       if file.parent.name + file.name not in keep)

    def digests(self) -> Iterator[str]:
        """The digest of every stored file, those moved aside included."""
        for folder in (self.objects, *self.trash.folder.glob("*/objects")):
            for file in folder.glob("??/*"):
                yield file.parent.name + file.name

    def _sweep_one(self, file: Path, now: float, older_than_s: float) -> bool:
        try:
            if file.stat().st_mtime >= now - older_than_s:
                return False
            self.trash.take(file, now=now)
        except FileNotFoundError:
            return False  # another process sweeps too
        return True

    def _is_there(self, place: Path) -> bool:
        return place.is_file() or self.trash.bring_back(place)

    def _place(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise StorageError(f"A file is named by its sha256 (64 hex digits); got {digest[:80]!r}.")
        return self.objects / digest[:2] / digest[2:]

    def _store(self, chunks: Iterator[bytes]) -> str:
        handle, name = tempfile.mkstemp(dir=self.incoming)
        temporary = Path(name)
        try:
            sha256 = hashlib.sha256()
            with os.fdopen(handle, "wb") as out:
                for chunk in chunks:
                    sha256.update(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            temporary.chmod(0o400)
            place = self._place(sha256.hexdigest())
            place.parent.mkdir(exist_ok=True, mode=0o700)
            # replacing an equal file renews its time, which keeps it from a sweep that is under way
            os.replace(temporary, place)
            _sync_folder(place.parent)
            return sha256.hexdigest()
        finally:
            temporary.unlink(missing_ok=True)


def checked_name(name: str) -> str:
    """A relative name that stays below its folder, or a StorageError."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or "\0" in name or ".." in parts or ":" in parts[0]:
        raise StorageError(f"A file in a manifest must have a name below its folder; got {name[:80]!r}.")
    return name


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where folders can be opened (not on Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise StorageError(f"The disk that holds {place} is full; nothing was stored. "
                               "Free some space, or set RECPRESS_HOME to a larger disk.") from error
        raise StorageError(f"{place} can't be read or written: {error.strerror or error}. "
                           "Check the folder and its permissions.") from error
