"""A home folder of its own for each test, its store, and one filled with fabricated runs."""

import pytest

from tests.ui.filled import filled_home, store_at


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RECPRESS_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def ids(home):
    """Numbers of the fabricated runs by name."""
    return filled_home(home)


@pytest.fixture
def store(home):
    """The store of the home, closed in the end."""
    opened = store_at(home)
    yield opened
    opened.close()
