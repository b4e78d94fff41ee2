"""A PostgreSQL server of one's own for the tests: Debian's programs, a folder that goes with it, no network.

    with temporary_server() as url: …      # postgresql+psycopg://…, a database that nobody else uses

TEST_DATABASE_URL names another server instead.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

OPTIONS = "-c listen_addresses='' -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=60"


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, the newest version first."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("pg_ctl")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def missing() -> str | None:
    """Why there can be no server, None if there can."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed (requirements-dev.txt)"
    if os.environ.get("TEST_DATABASE_URL"):
        return None
    if os.name != "posix" or programs() is None:
        return "PostgreSQL is not installed (Debian: apt install postgresql), and TEST_DATABASE_URL names no server"
    if os.geteuid() == 0 and (shutil.which("runuser") is None or not _has_user("postgres")):
        return "PostgreSQL doesn't run as root, and there is no user postgres here"
    return None


@contextmanager
def temporary_server() -> Iterator[str]:
    """The address of a server; one that was started here is stopped and removed. Skips the test where there is none."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    if os.environ.get("TEST_DATABASE_URL"):
        yield os.environ["TEST_DATABASE_URL"]
        return
    # a short path, because a socket's is limited, and one that the user postgres may enter
    folder = Path(tempfile.mkdtemp(prefix="recpress-pg-", dir="/tmp"))
    as_owner: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_owner = ["runuser", "-u", "postgres", "--"]
    data, tools = folder / "data", programs()
    control = [*as_owner, str(tools / "pg_ctl"), "-D", str(data), "-w", "-s"]
    try:
        _quiet([*as_owner, str(tools / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"])
        _quiet([*control, "-l", str(folder / "log"), "-o", f"{OPTIONS} -k {folder}", "start"])
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            _quiet([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_schema(server: str) -> Iterator[str]:
    """The address of an empty schema, which goes at the end."""
    schema = f"test_{secrets.token_hex(6)}"
    engine = sa.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
    try:
        yield sa.make_url(server).update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(False)
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text(f"DROP SCHEMA {schema} CASCADE"))
        engine.dispose()


def _quiet(command: list[str]) -> None:
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[-1]}: {done.stderr.strip() or done.stdout.strip()}")


def _has_user(name: str) -> bool:
    import pwd  # not on Windows

    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
