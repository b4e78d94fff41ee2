"""No rerun of a page starts a child process: what needs one goes on beside the page."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from storage.access import LOCAL_ACCESS
from storage.store import open_store
from tests.ui.app import upload_page, uploaded
from tests.ui.hostile import hostile_home
from tests.ui.test_hostile_text import VISITS, opened
from ui.settings.view import gpu_count


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    return folder, hostile_home(folder)


@pytest.fixture
def started(monkeypatch, tmp_path):
    """(thread, command) of each child; a driver's tool is there, which the start of the server has asked."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    gpu_count.cache_clear()
    assert gpu_count() == 1
    found, begin = [], subprocess.Popen.__init__

    def recorded(self, command, *others, **options):
        found.append((threading.current_thread().name, command))
        begin(self, command, *others, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", recorded)
    yield found
    gpu_count.cache_clear()


@pytest.mark.slow
def test_no_page_starts_a_child(home, started, monkeypatch):
    folder, found = home
    monkeypatch.setenv("RECPRESS_HOME", str(folder))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    ids = {**found, "run": found["runs"][1], "failed": found["failed"][0], "import": found["failed"][1],
           "two": f"{found['runs'][0]},{found['runs'][1]}"}
    for name in VISITS:
        assert not opened(name, ids).exception
    assert not [one for one in started if one[0] != "background"]


@pytest.mark.parametrize(("page", "name", "data", "children"), [
    ("models", "net.onnx", b"not a graph", 1), ("datasets", "clicks.csv", b"user,item,click\na,b,1\nc,d,0\n", 0)])
def test_an_upload_is_read_by_one_child_beside_the_page_or_by_none(tmp_path, started, monkeypatch, page, name, data,
                                                                   children):
    monkeypatch.setenv("RECPRESS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    store = open_store(LOCAL_ACCESS, url=f"sqlite:///{tmp_path / 'home' / 'recpress.db'}", root=tmp_path / "home")
    kind = {"models": "model", "datasets": "data"}[page]
    upload_page(store, page, [uploaded(store, name, data, kind)]).run()
    assert [thread for thread, _ in started] == ["background"] * children
    store.close()
