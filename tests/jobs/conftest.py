import pytest

from jobs.local import LocalExecutor
from jobs.worker import Worker
from storage.access import LOCAL_ACCESS
from storage.machine import Machine
from storage.store import Store, open_store
from tests.jobs.fake import submitter


@pytest.fixture
def store(tmp_path) -> Store:
    opened = open_store(LOCAL_ACCESS, None, tmp_path / "home")
    yield opened
    opened.close()


@pytest.fixture
def worker(store) -> Worker:
    executor = LocalExecutor(device="cpu", threads=1, perform="tests.jobs.fake:perform")
    return Worker(Machine(store.opened), "cpu", executor)


@pytest.fixture
def queue(store):
    """Queue a run whose name is its action; see tests.jobs.fake."""
    return submitter(store)
