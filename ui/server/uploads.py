"""Uploads on their way in: a half-written file and a note beside it, which outlive the browser and the server.

    uploads = Uploads(store.home / "uploads", store.files)
    upload = uploads.create("model.onnx", 2_000_000_000, kind="model", owner="local")
    uploads.append(upload, 0, chunk) …          # at exactly the offset reached
    uploads.finish(upload.id, owner="local")    # checked, hashed, moved into the artifact store

The bytes never stay in memory; names are checked before the first byte is taken.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from compression.importers.format import accepted_endings
from compression.importers.format_sniffing import PICKLE_ENDINGS
from compression.importers.other_files import ENDINGS as OTHER_ENDINGS
from compression.spec.errors import StorageError
from compression.spec.records import Record
from storage.files import Files
from storage.trash import Trash

Kind = Literal["model", "data"]
PLAIN_TABLES = (".csv", ".tsv", ".txt", ".dat", ".data", ".rating", ".inter", ".train", ".test", ".libsvm",
                ".libfm", ".ffm", ".svm", ".negative", ".qrels", ".run", ".trec", ".json", ".jsonl", ".ndjson")
TABLES = (*PLAIN_TABLES, ".parquet", *(f"{ending}{packed}" for ending in PLAIN_TABLES for packed in (".gz", ".zst")))
COMPANIONS = (".query", ".group")  # sizes of queries beside a table
COLLECTIONS = (".zip", ".xml")  # of text: looked at, not yet read
SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "model": accepted_endings(),
    "data": (*TABLES, *COMPANIONS, *COLLECTIONS, ".yaml", ".yml"),
}
NAME = re.compile(r"[^\W_][\w .()+=@-]{0,149}")  # starts with a letter or a digit, no folder
UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
WEEK_S = 7 * 24 * 3600.0
LARGEST = 2**63  # bytes; what is announced beyond is not written out
SPARE_BYTES = 500_000_000  # left free for the database and the jobs
MOST_OPEN = 100  # unfinished uploads of one owner
DEFAULT_MOST_GB = 50.0


class UploadRefused(StorageError):
    """An upload that can't begin or go on; `status` is the HTTP status that says so."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


class Upload(Record):
    """What is known of an upload; `offset` bytes have arrived, `digest` once it is in the artifact store."""

    id: str
    name: str
    size: int
    kind: Kind
    owner: str
    session: str = ""  # whose token it was begun or gone on with
    created: float
    offset: int = 0
    digest: str | None = None

    def is_of(self, session: str) -> bool:
        """Whether it is this session's own; what no page began (an older version, a script) is open to each."""
        return self.session in ("", session)


class Uploads:
    """The folder of uploads: `id.json` says what is coming, `id.part` holds what has come."""

    def __init__(self, folder: Path, files: Files, *, most_bytes: int | None = None,
                 clock: Callable[[], float] = time.time) -> None:
        self.folder = Path(folder)
        self.files = files
        self.most_bytes = most_bytes if most_bytes is not None else _most_bytes()
        self.clock = clock
        self.trash = Trash(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def create(self, name: str, size: int, *, kind: Kind, owner: str, session: str = "") -> Upload:
        """Begin an upload. Raises UploadRefused for a name, type or size that isn't allowed, or too little disk."""
        check_name(name, kind)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise UploadRefused(f"{name} is empty (0 bytes). Choose another file.")
        if size > self.most_bytes:
            raise UploadRefused(f"{name} weighs {min(size, LARGEST) / 1e9:,.1f} GB; at most "
                                f"{self.most_bytes / 1e9:.1f} GB are taken. Set RECPRESS_MAX_UPLOAD_GB higher on the "
                                "server, or use the command line there.", 413)
        self.sweep()
        unfinished = [upload for upload in self._all() if upload.digest is None]
        free = shutil.disk_usage(self.folder).free
        promised = sum(map(self._still_needs, unfinished))
        if 2 * size + SPARE_BYTES > free - promised:  # the part, then its copy in the artifact store
            others = f", of which {promised / 1e9:.1f} GB are promised to unfinished uploads" if promised else ""
            raise UploadRefused(f"{name} needs {2 * size / 1e9:.1f} GB of disk while it is stored; the server has "
                                f"{free / 1e9:.1f} GB free{others}. Free some space, then choose the file again.", 507)
        if sum(1 for upload in unfinished if upload.owner == owner) >= MOST_OPEN:
            raise UploadRefused(f"{MOST_OPEN} uploads are unfinished already. Finish or remove some first.", 429)
        upload = Upload(id=secrets.token_hex(16), name=name, size=size, kind=kind, owner=owner, session=session,
                        created=self.clock())
        self._part(upload.id).touch(mode=0o600)
        self._write(upload)
        return upload

    def find(self, upload_id: str, *, owner: str) -> Upload:
        """An upload with the offset it has reached. Raises UploadRefused (404) if it isn't the owner's or is gone."""
        upload = self._wanted(upload_id) if UPLOAD_ID.fullmatch(upload_id) else None
        if upload is None or upload.owner != owner:
            raise UploadRefused("This upload is no longer kept. Choose the file again.", 404)
        part = self._part(upload_id)
        offset = upload.size if upload.digest else part.stat().st_size if part.exists() else 0
        return upload.model_copy(update={"offset": offset})

    def hand_over(self, upload: Upload, session: str) -> Upload:
        """The upload as one of another session, which goes on with it."""
        if upload.session != session:
            upload = upload.model_copy(update={"session": session})
            self._write(upload)
        return upload

    def append(self, upload: Upload, offset: int, data: bytes) -> int:
        """Write bytes at the offset and give the next one. Raises UploadRefused: 409 stale offset, 413, 507."""
        part = self._part(upload.id)
        reached = part.stat().st_size if part.exists() else -1
        if reached != offset:
            raise UploadRefused(f"{upload.name} has reached byte {reached:,}; got bytes from {offset:,} on.", 409)
        if offset + len(data) > upload.size:
            raise UploadRefused(f"{upload.name} was announced with {upload.size:,} bytes; more arrived. "
                                "The file changed meanwhile: choose it again.", 413)
        try:
            with part.open("r+b") as file:
                file.seek(offset)
                file.write(data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UploadRefused(f"The server's disk is full; {upload.name} stopped at {offset / 1e9:.2f} GB. "
                                    "Free some space and resume.", 507) from None
            raise
        return offset + len(data)

    def finish(self, upload_id: str, *, owner: str) -> Upload:
        """Move a complete upload into the artifact store; doing it twice changes nothing. Raises UploadRefused."""
        upload = self.find(upload_id, owner=owner)
        if upload.digest:
            return upload
        if upload.offset != upload.size:
            raise UploadRefused(f"{upload.name} is not complete: {upload.offset:,} of {upload.size:,} bytes have "
                                "arrived. Resume it first.", 409)
        part = self._part(upload_id)
        done = upload.model_copy(update={"digest": self.files.put(part)})
        self._write(done)
        part.unlink(missing_ok=True)
        return done

    def remove(self, upload_id: str, *, owner: str) -> None:
        """Forget an upload. What the artifact store already holds is swept there when nothing names it."""
        self.find(upload_id, owner=owner)
        self._part(upload_id).unlink(missing_ok=True)
        self._note(upload_id).unlink(missing_ok=True)

    def sweep(self, *, older_than_s: float = WEEK_S) -> int:
        """Move uploads aside that nobody touched for a week, and delete them a week later; gives how many."""
        now, swept = self.clock(), 0
        before = now - older_than_s
        self.trash.empty(now=now)
        for note in self.folder.glob("*.json"):
            part = note.with_suffix(".part")
            try:
                touched = max(file.stat().st_mtime for file in (note, part) if file.exists())
                if touched < before:
                    if part.exists():
                        self.trash.take(part, now=now)
                    self.trash.take(note, now=now)
                    swept += 1
            except (FileNotFoundError, ValueError):
                continue  # another process sweeps too
        return swept

    def _part(self, upload_id: str) -> Path:
        return self.folder / f"{upload_id}.part"

    def _note(self, upload_id: str) -> Path:
        return self.folder / f"{upload_id}.json"

    def _all(self) -> list[Upload]:
        found = (self._read(note.stem) for note in self.folder.glob("*.json"))
        return [upload for upload in found if upload is not None]

    def _still_needs(self, upload: Upload) -> int:
        """Bytes that an unfinished upload will still take: the rest of its part, then the copy."""
        part = self._part(upload.id)
        return 2 * upload.size - (part.stat().st_size if part.exists() else 0)

    def _wanted(self, upload_id: str) -> Upload | None:
        """What is known of an upload; one that was moved aside comes back."""
        if not self._note(upload_id).exists() and self.trash.bring_back(self._note(upload_id)):
            self.trash.bring_back(self._part(upload_id))
        return self._read(upload_id)

    def _read(self, upload_id: str) -> Upload | None:
        try:
            return Upload.model_validate_json(self._note(upload_id).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def _write(self, upload: Upload) -> None:
        place = self._note(upload.id)
        temporary = place.with_suffix(f".{secrets.token_hex(4)}.new")
        temporary.write_text(json.dumps(upload.model_dump(mode="json", exclude={"offset"})), encoding="utf-8")
        os.replace(temporary, place)


def check_name(name: str, kind: Kind) -> None:
    """Raise UploadRefused unless the file may come in under this name."""
    if not isinstance(kind, str) or kind not in SUFFIXES:
        raise UploadRefused(f"An upload is for 'model' or 'data'; got {str(kind)[:20]!r}.")
    if not isinstance(name, str) or not NAME.fullmatch(name) or ".." in name:
        raise UploadRefused(f"A file name has up to 150 letters, digits, spaces and . _ - ( ) + = @, and starts with a "
                            f"letter or a digit; got {str(name)[:80]!r}. Rename the file.")
    lower = name.lower()
    if lower.endswith(SUFFIXES[kind]):
        return
    if kind == "model" and lower.endswith(PICKLE_ENDINGS):
        raise UploadRefused(f"{name} looks like a pickled checkpoint, which can run code when it is opened, so it is "
                            "not taken. Save the weights as .safetensors with a config.json, or export to .onnx.")
    if kind == "model" and lower.endswith(OTHER_ENDINGS):
        raise UploadRefused(f"{name} is no network that RecPress reads: such files hold decision trees, graphs of "
                            "other tools, pictures or documents. Convert a network to .onnx; trees have nothing to "
                            "compress.")
    allowed = ", ".join(SUFFIXES[kind])
    what = "A model" if kind == "model" else "A dataset"
    raise UploadRefused(f"{what} comes as {allowed}; got {name}. Unpack or convert it first.")


def _most_bytes() -> int:
    text = os.environ.get("RECPRESS_MAX_UPLOAD_GB", "")
    try:
        return int(float(text) * 1e9) if text else int(DEFAULT_MOST_GB * 1e9)
    except ValueError:
        raise StorageError(f"RECPRESS_MAX_UPLOAD_GB must be a number of gigabytes; got {text!r}.") from None
