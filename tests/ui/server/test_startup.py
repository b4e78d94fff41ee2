"""What the server does around its life: whose its files are, and that it ends in time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import app


def test_files_are_narrowed_first_and_the_end_is_bounded_before_workers_are_waited_for(tmp_path, monkeypatch):
    done = []

    @contextmanager
    def workers():
        done.append("workers start")
        yield
        done.append("workers end")

    monkeypatch.setenv("RECPRESS_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(app.os, "umask", lambda mode: done.append(f"umask {mode:o}"))
    for name in ("bound_open_requests", "import_pages", "end_in_time"):
        monkeypatch.setattr(app, name, lambda name=name: done.append(name))
    monkeypatch.setattr(app, "supervised", workers)

    async def live() -> None:
        async with app.lifespan(app.app):
            done.append("serving")

    with ThreadPoolExecutor(1) as thread:  # Playwright leaves a running loop in the thread of its tests
        thread.submit(asyncio.run, live()).result()
    assert done == ["umask 77", "bound_open_requests", "import_pages", "workers start", "serving", "end_in_time",
                    "workers end"]


def test_an_end_that_takes_too_long_is_forced():
    hanging = "from ui.server.startup import end_in_time; import time; end_in_time(0.1); time.sleep(600)"
    done = subprocess.run([sys.executable, "-c", hanging], cwd=Path(app.__file__).parent, timeout=300)
    assert done.returncode == 0
