"""A home folder of its own for each test, and one filled with fabricated runs."""

import pytest

from tests.ui.filled import filled_home


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RECPRESS_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def ids(home):
    """Numbers of the fabricated runs by name."""
    return filled_home(home)
