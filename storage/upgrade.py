"""Bring a database to the tables of this version, safely when several processes start at once.

Everything happens in one transaction under one lock (BEGIN IMMEDIATE on SQLite, an advisory lock on PostgreSQL):
who comes second finds the work done. Foreign keys are off meanwhile on SQLite, because a table is altered there
by copying and dropping it, and the drop would delete the rows that point to it.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event

from compression.spec.errors import StorageError
from storage.engine import make_engine
from storage.migrations import HEAD

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 7_221_905  # any number, the same in every process


def upgrade(url: str | sa.URL) -> None:
    """Create or migrate the tables behind `url`. Raises StorageError for a database made by a newer RecPress."""
    engine = make_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _foreign_keys_off)
    try:
        with engine.connect().execution_options(writes=False) as connection:
            if _version(connection) == HEAD:
                return
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            if _version(connection) != HEAD:  # nobody did it while this process waited
                _migrate(connection)
    except sa.exc.DatabaseError as error:
        raise StorageError(f"The database can't be opened: {' '.join(str(error.orig).split())}. "
                           "Check RECPRESS_HOME or DATABASE_URL.") from error
    finally:
        engine.dispose()


def _foreign_keys_off(connection, record) -> None:
    connection.execute("PRAGMA foreign_keys=OFF")  # has no effect inside a transaction, so it comes before


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StorageError(f"This database was made by a newer RecPress ({error}); this one knows it up to "
                           f"version {HEAD}. Update RecPress, or name another RECPRESS_HOME.") from error
