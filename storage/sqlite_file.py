"""The file of a SQLite database: still the one that was opened, and still whole.

An open connection goes on in a file that was deleted or replaced, and what it writes there is lost with the process.
Pages it has read stay in its memory, so a damaged file is seen by a new connection only.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from compression.spec.errors import StorageError

BUSY_S = 5
QUICK_S = 0.2  # a look at the whole file that takes longer is rationed: after it, none for
RESTS = 20  # times its duration


class SqliteFile:
    """The file behind an open database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened = self._identity()
        self._looked: tuple[tuple[int, int] | None, ...] | None = None  # the state of the files that was found whole
        self._rests_until = 0.0

    def check_identity(self) -> None:
        """Raise StorageError when the file was deleted or replaced since it was opened; one look at the folder."""
        now = self._identity()
        if now is None:
            raise StorageError(f"The database {self.path} was deleted while RecPress was running. Put it back from a "
                               "backup, or start with an empty one; then restart RecPress.")
        if self._opened is None:
            self._opened = now
        if now != self._opened:
            raise StorageError(f"The database {self.path} was replaced while RecPress was running. Restart RecPress "
                               "to use the new file.")

    def check_whole(self) -> None:
        """Raise StorageError when the file is damaged. A file that did not change since it was whole is not read."""
        self.check_identity()
        state = (_state(self.path), _state(Path(f"{self.path}-wal")))
        started = time.monotonic()
        if state == self._looked or (self._looked is not None and started < self._rests_until):
            return
        try:
            uri = f"{self.path.absolute().as_uri()}?mode=rw"  # rw never creates it
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as connection:
                said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if said == "ok":
                    connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                return  # somebody writes: it is there
            said = str(error)
        except sqlite3.DatabaseError as error:
            said = str(error)
        if said != "ok":
            self._looked = None
            raise StorageError(damaged(said))
        now = time.monotonic()
        self._looked, self._rests_until = state, now + RESTS * (now - started) if now - started > QUICK_S else now

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"The database {self.path} can't be reached: {error.strerror}.") from error
        return found.st_dev, found.st_ino


def damaged(said: str) -> str:
    """The sentence for a damaged database."""
    return (f"The database is damaged ({' '.join(said.split())}). Stop RecPress, and put the file back from a backup.")


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size
