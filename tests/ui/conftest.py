"""The home that pages of a test read, empty or filled."""

import pytest

from tests.ui.filled import filled_home


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RECPRESS_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def ids(home):
    return filled_home(home)
