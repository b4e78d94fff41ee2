"""An empty home, and its store."""

import pytest

from storage.access import LOCAL_ACCESS
from storage.store import open_store


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RECPRESS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def store(home):
    opened = open_store(LOCAL_ACCESS, url=f"sqlite:///{home / 'recpress.db'}", root=home)
    yield opened
    opened.close()
