"""The machine: what belongs to no workspace. Workers, their claims, settings, the home folder and its sweep.

    machine = open_machine()                  # DATABASE_URL and RECPRESS_HOME, else SQLite in ./recpress_data
    job = machine.claim("worker 1", "cpu")
    store = Store(machine, job.access)        # what people made is reached through a store, bound to an access

It has no method that reads or lists what people made.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from compression.spec.errors import StorageError
from storage.base import Clock, Opened
from storage.claims import Claims
from storage.engine import Database, make_engine, sqlite_url
from storage.files import Files
from storage.home import Home, make_private
from storage.narrowing import EVERY_WORKSPACE
from storage.reserve import Reserve
from storage.tables import JobTable
from storage.trash import Trash
from storage.upgrade import upgrade
from storage.workers import Settings, Workers

WEEK_S = 7 * 24 * 3600.0


class Machine(Claims, Workers, Settings, Home):
    """What workers and supervisors need. Share one in a process; open another in a child."""

    def job_folder(self, job_id: int) -> Path:
        """Where a job works: its inputs, checkpoints, outcome and log.

        Jobs are counted anew in each database: over the home of another, a job has a folder that says whose it is.
        """
        guest = self.home / "jobs" / f"{self.database_id}-{job_id}"
        return guest if guest.exists() or not self.owns_home() else self.home / "jobs" / str(job_id)

    def clear_job_folder(self, job_id: int) -> None:
        """Move aside what lies where a job begins: left by a job of the same number, of a database restored since."""
        folder = self.job_folder(job_id)
        if folder.exists():
            self._job_trash.take(folder, now=self.clock())

    def sweep(self) -> int:
        """Move aside files nothing names (a day old) and working folders of jobs that ended a week ago; gives how many.

        Logs stay as long as their job. What was moved aside a week ago is deleted. Nothing happens in a home that
        belongs to another database: `home_notice` says so.
        """
        if not self.adopt_home():
            return 0
        swept = self.files.sweep(self.named_digests(), now=self.clock())
        with self.database.reading(EVERY_WORKSPACE) as session:
            ended = dict(session.execute(sa.select(JobTable.id, JobTable.ended)).all())
        now = self.clock()
        self._job_trash.empty(now=now)
        if self.database.reserve:
            self.database.reserve.keep()
        for folder in (self.home / "jobs").iterdir():
            number = folder.name.removeprefix(f"{self.database_id}-")
            if not number.isdecimal():
                continue
            if int(number) not in ended:
                self._set_aside(folder)
            elif (ended[int(number)] or now) < now - WEEK_S:
                for entry in folder.iterdir():
                    if entry.is_dir():
                        self._set_aside(entry)
        return swept

    @property
    def _job_trash(self) -> Trash:
        return Trash(self.home / "jobs")

    def _set_aside(self, path: Path) -> None:
        with suppress(FileNotFoundError):  # another process tidies up too
            self._job_trash.take(path, now=self.clock())

    def close(self) -> None:
        self.database.close()


def open_machine(url: str | sa.URL | None = None, root: Path | str | None = None, *, clock: Clock = time.time,
               monotonic: Clock = time.monotonic) -> Machine:
    """Open the database and the home, creating or migrating the database.

    root: the home folder (RECPRESS_HOME, else ./recpress_data); url: DATABASE_URL, else SQLite in the home folder;
    clock: the time that rows show; monotonic: by which the silence of workers is measured.
    Raises StorageError when either can't be used.
    """
    home = Path(root or os.environ.get("RECPRESS_HOME") or "recpress_data").expanduser().resolve()
    files = Files(home / "files")
    try:
        (home / "jobs").mkdir(exist_ok=True, mode=0o700)
        make_private(home)
    except OSError as error:
        raise StorageError(f"{home} can't be written: {error.strerror}. Set RECPRESS_HOME elsewhere.") from error
    url = url or os.environ.get("DATABASE_URL") or sqlite_url(home / "recpress.db")
    upgrade(url)
    reserve = Reserve(home)
    reserve.keep()
    machine = Machine(Opened(Database(make_engine(url), reserve), files, home, clock, monotonic))
    machine.adopt_home()
    return machine
