"""One contract for every backend: each test of this folder that takes `store` runs on SQLite and on PostgreSQL."""

import os
import secrets

import pytest
import sqlalchemy as sa

from storage.store import Store, open_store
from tests.storage.given import Clock

BACKENDS = ("sqlite", "postgresql")


@pytest.fixture(params=BACKENDS)
def database_url(request, tmp_path):
    """The address of an empty database of its own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server = os.environ.get("TEST_DATABASE_URL")
    if not server:
        pytest.skip("PostgreSQL is tested where TEST_DATABASE_URL names a server, as postgresql+psycopg://user@host/db")
    schema = f"test_{secrets.token_hex(6)}"
    engine = sa.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
    yield sa.make_url(server).update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(False)
    with engine.begin() as connection:
        connection.execute(sa.text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monotonic() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url, tmp_path, clock, monotonic) -> Store:
    opened = open_store(database_url, tmp_path / "home", clock=clock, monotonic=monotonic)
    yield opened
    opened.close()
