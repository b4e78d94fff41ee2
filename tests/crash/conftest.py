import os

import pytest

from tests.crash.served import App, wait_for
from tests.jobs.fake import submitter
from tests.postgresql import own_schema


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "crash":
            item.add_marker("crash")
            item.add_marker(pytest.mark.timeout(1200))
            item.add_marker(pytest.mark.skipif(os.name != "posix", reason="kills processes by signals"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    """The address of the app's database; None for SQLite in its home."""
    if request.param == "sqlite":
        yield None
        return
    with own_schema(request.getfixturevalue("postgresql")) as url:
        yield url


@pytest.fixture
def app(tmp_path, database):
    """The app over an empty home, not started yet; all of it is gone at the end."""
    made = App(tmp_path, tmp_path / "home", database)
    yield made
    made.stop()
    wait_for(made.is_gone, "every worker and job ends with the app", 60)


@pytest.fixture
def store(app):
    opened = app.open_store()
    yield opened
    opened.close()


@pytest.fixture
def queue(store):
    """Queue a run whose name is its action; see tests.jobs.fake."""
    return submitter(store)
