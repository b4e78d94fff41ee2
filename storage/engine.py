"""The connection to the database: SQLite that loses no update, or PostgreSQL.

SQLAlchemy leaves BEGIN to sqlite3, which starts a write transaction as a reader and upgrades it later:
two processes that read, then write, overwrite one another in silence. Here writes begin with
BEGIN IMMEDIATE (one writer at a time, the others wait up to 30 s) and reads with a plain BEGIN.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from compression.errors import StorageError

BUSY_TIMEOUT_S = 30


def make_engine(url: str) -> sa.Engine:
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
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
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


def _postgresql(url: sa.URL) -> sa.Engine:
    try:
        return sa.create_engine(url, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise StorageError(f"PostgreSQL needs the package {error.name}: pip install 'psycopg[binary]'.") from None


class Database:
    """An engine with its two kinds of transaction. Thread-safe; a fork must open its own."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the database and changes nothing."""
        with _explained(), self.engine.connect() as connection:
            connection = connection.execution_options(writes=False)
            with connection.begin(), Session(connection, autoflush=False, expire_on_commit=False) as session:
                yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes all happen, or none. On SQLite it is the only writer."""
        with (_explained(), self.engine.connect() as connection, connection.begin(),
              Session(connection, expire_on_commit=False) as session):
            yield session
            session.flush()

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the database says about disk, lock or access into a StorageError with a next step."""
    try:
        yield
    except OperationalError as error:
        raise StorageError(_sentence(str(error.orig))) from error
    except DBAPIError as error:
        raise StorageError(f"The database refused: {' '.join(str(error.orig).split())}.") from error


def _sentence(said: str) -> str:
    text = " ".join(said.split())
    if "disk is full" in text or "No space left" in text:
        return "The disk that holds the database is full; nothing was changed. Free some space and try again."
    if "locked" in text:
        return f"The database was locked for {BUSY_TIMEOUT_S} s by another process; try again."
    if "readonly" in text or "unable to open" in text:
        return f"The database can't be written ({text}); check the folder named by RECPRESS_HOME and its permissions."
    return f"The database can't be reached: {text}."
