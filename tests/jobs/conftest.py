import pytest

from jobs.worker import Worker
from storage.store import Store, open_store
from tests.storage.given import add_data, add_model, run_spec


@pytest.fixture
def store(tmp_path) -> Store:
    opened = open_store(None, tmp_path / "home")
    yield opened
    opened.close()


@pytest.fixture
def worker(store) -> Worker:
    return Worker(store, "cpu", threads=1, perform="tests.jobs.fake:perform")


@pytest.fixture
def queue(store):
    """Queue a run whose name is its action; see tests.jobs.fake."""
    model, data = add_model(store), add_data(store)
    count = iter(range(1000))

    def submit(action: str) -> int:
        return store.submit(run_spec(store, model=model, data=data, seed=next(count)), name=action)

    return submit
