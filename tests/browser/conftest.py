"""A server of its own and a real Chromium for the tests marked `browser`; both end with the test session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")


@dataclass(frozen=True)
class Served:
    """A running app: where it answers, and the folder it keeps everything in."""

    url: str
    home: Path
    process: subprocess.Popen

    @property
    def pid(self) -> int:
        return self.process.pid


def serve(home: Path, *, until: str = "/api/ready", options: tuple[str, ...] = (), **variables: str
          ) -> Iterator[Served]:
    """The app on a free port over `home`, once `until` answers. Raises if it doesn't within a minute."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    environment |= {"RECPRESS_HOME": str(home), "OMP_NUM_THREADS": "1"} | variables
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port),
             "--server.fileWatcherType", "none", *options],
            cwd=ROOT, stdout=log, stderr=log, env=environment)
        try:
            _wait_ready(port, process, home, until)
            yield Served(f"http://127.0.0.1:{port}", home, process)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_ready(port: int, process: subprocess.Popen, home: Path, until: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError("the server ended: " + (home / "server.log").read_text()[-2000:])
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{until}", timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the server did not answer within a minute: " + (home / "server.log").read_text()[-2000:])


@pytest.fixture(scope="session")
def browser():
    """Chromium from the system; its own when playwright brought one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("No Chromium on this machine: install the system's chromium package.")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=found, headless=True, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def app(tmp_path) -> Iterator[Served]:
    """The app with its worker over an empty home."""
    yield from serve(tmp_path)


@pytest.fixture(scope="module")
def filled_app(tmp_path_factory) -> Iterator[Served]:
    """The app over a home with fabricated runs."""
    from tests.ui.filled import filled_home

    home = tmp_path_factory.mktemp("filled")
    filled_home(home, active=False)  # a real worker would take what is queued
    yield from serve(home)
