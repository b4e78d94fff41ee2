"""One contract for every backend: each test of this folder that takes `store` runs on SQLite and on PostgreSQL."""

import pytest

from storage.access import LOCAL_ACCESS
from storage.machine import Machine, open_machine
from storage.store import Store
from tests.postgresql import own_schema
from tests.storage.given import Clock

BACKENDS = ("sqlite", "postgresql")


@pytest.fixture(params=BACKENDS)
def database_url(request, tmp_path):
    """The address of an empty database of its own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    with own_schema(request.getfixturevalue("postgresql")) as url:
        yield url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monotonic() -> Clock:
    return Clock()


@pytest.fixture
def machine(database_url, tmp_path, clock, monotonic) -> Machine:
    opened = open_machine(database_url, tmp_path / "home", clock=clock, monotonic=monotonic)
    yield opened
    opened.close()


@pytest.fixture
def store(machine) -> Store:
    return Store(machine, LOCAL_ACCESS)
