"""The connection to the database: SQLite that loses no update, or PostgreSQL.

SQLAlchemy leaves BEGIN to sqlite3, which starts a write transaction as a reader and upgrades it later:
two processes that read, then write, overwrite one another in silence. Here writes begin with
BEGIN IMMEDIATE (one writer at a time, the others wait up to 30 s) and reads with a plain BEGIN.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError

from compression.spec.disk import is_disk_full
from compression.spec.errors import StorageError
from storage.access import Access
from storage.narrowing import Everywhere, NarrowedSession
from storage.reserve import Reserve
from storage.sqlite_file import SqliteFile, damaged

BUSY_TIMEOUT_S = 30


def sqlite_url(path: Path) -> sa.URL:
    """The address of a SQLite file, whatever characters its path has."""
    return sa.URL.create("sqlite", database=str(path))


def make_engine(url: str | sa.URL) -> sa.Engine:
    """An engine for a SQLAlchemy URL. Raises StorageError for a URL or a database it can't use."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StorageError("DATABASE_URL is not a database address; it looks like "
                           "sqlite:////folder/recpress.db or postgresql+psycopg://user@host/name.") from None
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    if parsed.get_backend_name() == "postgresql":
        return _postgresql(parsed)
    raise StorageError(f"DATABASE_URL names {parsed.get_backend_name()}; sqlite and postgresql are supported.")


def _sqlite(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise StorageError("An in-memory database can't be shared with the workers; give a file: "
                           "sqlite:////folder/recpress.db.")
    _owner_only(Path(url.database))
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def prepare(connection, record):
        connection.isolation_level = None  # sqlite3 must not begin by itself
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")  # survives a killed process; a power cut may undo the last commits
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection):
        writes = connection.get_execution_options().get("writes", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _owner_only(file: Path) -> None:
    """Make the database file, or take others' access to it away; SQLite gives its other files the same mode.

    A file that is there is never opened: closing it again would drop the locks that this process has on it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # SQLite says what is wrong with it; a file of another owner stays as it is
        if not file.exists():
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        elif os.name == "posix" and file.stat().st_mode & 0o077:
            file.chmod(0o600)


def _postgresql(url: sa.URL) -> sa.Engine:
    try:
        return sa.create_engine(url, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise StorageError(f"PostgreSQL needs the package {error.name}: pip install 'psycopg[binary]'.") from None


class Database:
    """An engine with its two kinds of transaction. Thread-safe; a fork must open its own."""

    def __init__(self, engine: sa.Engine, reserve: Reserve | None = None) -> None:
        """reserve: what is given up when the disk is full, so that the next try succeeds."""
        self.engine = engine
        self.reserve = reserve
        self.file = SqliteFile(_file_of(engine)) if self.is_sqlite else None

    @property
    def address(self) -> str:
        """Where the database is, for people; without a password."""
        return str(self.file.path) if self.file else self.engine.url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self, access: Access | Everywhere) -> Iterator[NarrowedSession]:
        """A session that sees one state of a workspace and changes nothing."""
        with self._connected() as connection:
            connection = connection.execution_options(writes=False)
            with (connection.begin(),
                  NarrowedSession(connection, access, autoflush=False, expire_on_commit=False) as session):
                yield session

    @contextmanager
    def writing(self, access: Access | Everywhere) -> Iterator[NarrowedSession]:
        """A session whose changes all happen, or none. On SQLite it is the only writer."""
        with (self._connected() as connection, connection.begin(),
              NarrowedSession(connection, access, expire_on_commit=False) as session):
            yield session
            session.flush()

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        if self.file:
            self.file.check_identity()
        try:
            with _explained(), self.engine.connect() as connection:
                yield connection
        except StorageError as error:
            if self.reserve and is_disk_full(error, self.reserve.file.parent):
                self.reserve.release()
            raise


def _file_of(engine: sa.Engine) -> Path:
    with _explained(), engine.connect() as connection:
        connection = connection.execution_options(writes=False)
        return Path(connection.exec_driver_sql("PRAGMA database_list").first()[2])


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the database says about disk, lock or access into a StorageError with a next step."""
    try:
        yield
    except OperationalError as error:
        raise StorageError(_sentence(error.orig)) from error
    except DBAPIError as error:
        said = str(error.orig)
        if "malformed" in said or "not a database" in said:
            raise StorageError(damaged(said)) from error
        raise StorageError(f"The database refused: {' '.join(str(error.orig).split())}.") from error


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if is_disk_full(error):
        return "The disk that holds the database is full; nothing was changed. Free some space and try again."
    if "locked" in text:
        return f"The database was locked for {BUSY_TIMEOUT_S} s by another process; try again."
    if "readonly" in text or "unable to open" in text:
        return f"The database can't be written ({text}); check the folder named by RECPRESS_HOME and its permissions."
    return f"The database can't be reached: {text}."
