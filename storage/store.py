"""The store: the one handle through which pages, workers and scripts reach the database and the artifacts.

    store = open_store()                      # DATABASE_URL and RECPRESS_HOME, else SQLite in ./recpress_data
    job = store.submit(RunSpec(model=…, data=…, recipe=recipe))
    points = store.points(model, data)

Each part is a file: catalogue (models, datasets), queue (jobs), results, points, comparisons (and settings, workers).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import sqlalchemy as sa

from compression.errors import StorageError
from storage.base import Clock
from storage.comparisons import Comparisons, Workers
from storage.engine import Database, make_engine
from storage.files import Files
from storage.points import Points
from storage.results import Results
from storage.tables import DataTable, JobTable, ModelTable, ResultFileTable
from storage.upgrade import upgrade

WEEK_S = 7 * 24 * 3600.0


class Store(Results, Points, Comparisons, Workers):
    """Everything RecPress remembers. Share one in a process; open another in a child."""

    def job_folder(self, job_id: int) -> Path:
        """Where a job works: its inputs, checkpoints, outcome and log."""
        return self.home / "jobs" / str(job_id)

    def log_path(self, job_id: int) -> Path:
        """The log of a job; the file is there once a worker has started it."""
        return self.job_folder(job_id) / "log.txt"

    def check(self) -> None:
        """Raise StorageError where the database can't be read any more: deleted, replaced, or damaged at its start."""
        # a connection that is open already would hide that the file is gone
        engine = sa.create_engine(self.database.engine.url, poolclass=sa.NullPool)
        place = engine.url.database if self.database.is_sqlite else None
        if place and not Path(place).is_file():
            raise StorageError(f"The database {place} is gone. Restore it, or restart RecPress to begin with an empty "
                               "one.")
        with Database(engine).reading() as session:
            session.execute(sa.select(JobTable.id).limit(1))

    def sweep(self) -> int:
        """Delete files nothing names (a day old) and the working folders of jobs that ended a week ago; gives how many.

        Logs stay as long as their job.
        """
        swept = self.files.sweep(self._named_digests(), now=self.clock())
        with self.database.reading() as session:
            ended = dict(session.execute(sa.select(JobTable.id, JobTable.ended)).all())
        for folder in (self.home / "jobs").glob("*"):
            if not folder.name.isdecimal():
                continue
            if int(folder.name) not in ended:
                shutil.rmtree(folder, ignore_errors=True)
            elif (ended[int(folder.name)] or self.clock()) < self.clock() - WEEK_S:
                for entry in folder.iterdir():
                    if entry.is_dir():
                        shutil.rmtree(entry, ignore_errors=True)
        return swept

    def close(self) -> None:
        self.database.close()

    def _named_digests(self) -> set[str]:
        """Digests of every file that a row still names, uploads waiting for their import included."""
        with self.database.reading() as session:
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


def open_store(url: str | None = None, root: Path | str | None = None, *, clock: Clock = time.time) -> Store:
    """Open the store, creating or migrating the database.

    root: the home folder (RECPRESS_HOME, else ./recpress_data); url: DATABASE_URL, else SQLite in the home folder.
    Raises StorageError when either can't be used.
    """
    home = Path(root or os.environ.get("RECPRESS_HOME") or "recpress_data").expanduser().resolve()
    files = Files(home / "files")
    try:
        (home / "jobs").mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"{home} can't be written: {error.strerror}. Set RECPRESS_HOME elsewhere.") from error
    url = url or os.environ.get("DATABASE_URL") or f"sqlite:///{home / 'recpress.db'}"
    upgrade(url)
    return Store(Database(make_engine(url)), files, home, clock)
