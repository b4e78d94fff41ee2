"""The home folder: whose files lie in it, that only its owner reads them, and whether all of it can be used.

A home remembers the id of its database in `database.json`. Another database may be opened over it, by a wrong or a
forgotten DATABASE_URL; it names none of the files, and must therefore never tidy up. See docs/decisions/022.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from compression.spec.errors import StorageError
from storage.base import Base
from storage.narrowing import EVERY_WORKSPACE
from storage.tables import DataTable, JobTable, ModelTable, ResultFileTable, SettingTable

LOG = logging.getLogger("recpress")
DATABASE_ID = "database_id"  # a setting: made once in each database, copied and restored with it
OWNER_FILE = "database.json"
CONTENT = ("files", "jobs", "uploads")  # what a sweep would look through
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Home(Base):
    """The part of the machine that keeps the home folder."""

    @property
    def database_id(self) -> str:
        """The id of this database."""
        if self.opened.database_id is None:
            self.opened.database_id = self._read_id()
        return self.opened.database_id

    def _read_id(self) -> str:
        with self.database.reading(EVERY_WORKSPACE) as session:
            row = session.get(SettingTable, DATABASE_ID)
        if row is None:
            with self.database.writing(EVERY_WORKSPACE) as session:
                self.insert_if_absent(session, SettingTable, {"key": DATABASE_ID, "value": {"value": uuid.uuid4().hex}})
                row = session.get(SettingTable, DATABASE_ID)
        return str(row.value["value"])

    def owns_home(self) -> bool:
        """Whether the home's files are this database's to tidy up."""
        owner = self._owner()
        return owner is not None and owner.get("id") == self.database_id

    def home_notice(self) -> str | None:
        """What is wrong between home and database and what to do, in sentences; None when they belong together."""
        owner = self._owner()
        if owner is not None and owner.get("id") == self.database_id:
            return None
        fix = "Set DATABASE_URL and RECPRESS_HOME to the pair that belongs together, then restart RecPress"
        if owner is not None:
            return (f"The folder {self.home} belongs to another database ({owner.get('address', 'unknown')}) than the "
                    f"one in use ({self.database.address}), so nothing in it is tidied up. {fix}; if the database in "
                    f"use is to own the folder from now on, delete {self.home / OWNER_FILE}.")
        if self._has_content():
            return (f"The database in use ({self.database.address}) lists none of the files in {self.home}, so nothing "
                    f"in it is tidied up. {fix}.")
        return f"The database in use ({self.database.address}) lists files, but {self.home} has none of them. {fix}."

    def adopt_home(self) -> bool:
        """Let this database own the home if nothing speaks against it; tells whether it does. Says so if it doesn't.

        A home that has no owner belongs to the first database that lists one of its files, an empty home to the first
        that lists none.
        """
        owner = self._owner()
        if owner is not None and owner.get("id") == self.database_id:
            if owner.get("address") != self.database.address:  # it was moved
                self._write_owner()
            return True
        fits = not self._has_content() if owner is not None else self._fits()
        if fits:
            self._write_owner(replaces=owner is not None)
        if not self.owns_home():
            LOG.warning("%s", self.home_notice())
            return False
        return True

    def check(self) -> None:
        """Raise StorageError unless the database is the one that was opened, whole, and the home can be written.

        Cheap enough to be asked every second; for a health check.
        """
        if self.database.file:
            self.database.file.check_whole()
        with self.database.reading(EVERY_WORKSPACE) as session:
            row = session.get(SettingTable, DATABASE_ID)
        if row is None or row.value["value"] != self.database_id:
            raise StorageError(f"The database {self.database.address} is not the one that was opened. "
                               "Restart RecPress.")
        try:
            with tempfile.TemporaryFile(dir=self.home):
                pass
        except OSError as error:
            raise StorageError(f"{self.home} can't be written: {error.strerror}. Check the folder named by "
                               "RECPRESS_HOME and its permissions.") from error

    def named_digests(self) -> set[str]:
        """Digests of every file that a row of any workspace still names, uploads waiting for their import included."""
        with self.database.reading(EVERY_WORKSPACE) as session:
            named = set(session.scalars(sa.select(ResultFileTable.digest)))
            for column in (ModelTable.manifest, DataTable.manifest):
                for manifest in session.scalars(sa.select(column)):
                    named.update(manifest.values())
            for notes in session.scalars(sa.select(ModelTable.notes)):
                named.update((notes.get("upload") or {}).values())
            imports = sa.select(JobTable.spec).where(JobTable.kind.in_(("import_model", "import_data")),
                                                     JobTable.state.in_(("queued", "running", "failed")))
            for spec in session.scalars(imports):
                named.update(json.loads(spec)["files"].values())
        return named

    def _fits(self) -> bool:
        named = self.named_digests()
        return any(digest in named for digest in self.files.digests()) if self._has_content() else not named

    def _has_content(self) -> bool:
        return any(path.is_file() for name in CONTENT for path in _below(self.home / name))

    def _owner(self) -> dict[str, Any] | None:
        """What the home remembers of its database; a file that can't be read names one that nobody is."""
        try:
            found = json.loads((self.home / OWNER_FILE).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write_owner(self, *, replaces: bool = True) -> None:
        """Write the owner file whole; without `replaces` the first of several processes wins."""
        handle, temporary = tempfile.mkstemp(dir=self.home, prefix=".owner-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"id": self.database_id, "address": self.database.address}, file)
            if replaces:
                os.replace(temporary, self.home / OWNER_FILE)
            else:
                with suppress(FileExistsError):
                    os.link(temporary, self.home / OWNER_FILE)
        except OSError as error:  # without an owner nothing is tidied up; the next start tries again
            LOG.warning("%s can't be written: %s.", self.home / OWNER_FILE, error.strerror)
        finally:
            Path(temporary).unlink(missing_ok=True)


def make_private(home: Path) -> None:
    """Take the access of others to the home away. What is in an open home is gone through once; then it is closed."""
    if os.name != "posix":
        return
    mode = home.stat().st_mode
    if not mode & OTHERS or mode & stat.S_ISVTX or home in (Path.home(), home.parent):
        return  # closed already; or a folder that others are meant to use, as /tmp
    try:
        for path in (path for part in home.iterdir() if part.name in PARTS for path in (part, *_below(part))):
            with suppress(FileNotFoundError):
                if not path.is_symlink() and (found := path.stat().st_mode) & OTHERS:
                    path.chmod(stat.S_IMODE(found) & ~OTHERS)
        home.chmod(stat.S_IMODE(mode) & ~OTHERS)
    except PermissionError:
        LOG.warning("%s belongs to another user, who decides whether others can read it.", home)


PARTS = {*CONTENT, "downloads", "looks", "reserve", "steps", "workers", "workers.lock",
         "recpress.db", "recpress.db-wal", "recpress.db-shm"}


def _below(folder: Path) -> Iterator[Path]:
    return folder.rglob("*") if folder.is_dir() else iter(())
