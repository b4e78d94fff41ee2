"""The real app, `streamlit run app.py`, over a home and a database of its own, with jobs that need no torch.

Each process of it can be found, killed and suspended, and its wall clock can be set: a `sitecustomize` module on the
path of all of them adds to `time.time` what a file beside it says for that kind of process.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

from jobs.processes import MARK
from storage.access import LOCAL_ACCESS
from storage.store import Store, open_store

ROOT = Path(__file__).parents[2]
PERFORM = "tests.jobs.fake:perform"
PATIENCE_S = 240.0  # on a machine that others use too
CLOCKS = '''
import json, os, sys, time

real, offsets = time.time, os.path.join(os.path.dirname(__file__), "offsets.json")
role = next((role for role in ("jobs.worker", "jobs.child", "streamlit") if role in sys.orig_argv), "")


def moved():
    try:
        with open(offsets) as file:
            return real() + json.load(file).get(role, 0.0)
    except (OSError, ValueError):
        return real()


time.time = moved
'''
Answer = TypeVar("Answer")


def wait_for(condition: Callable[[], Answer], what: str, seconds: float = PATIENCE_S) -> Answer:
    """The first true answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


class App:
    """A server with its workers. `folder` holds what surrounds the home: clocks and the server's log."""

    def __init__(self, folder: Path, home: Path, url: str | None = None) -> None:
        self.home, self.url, self.folder = home, url, folder
        self.log = folder / "server.log"
        self.clocks = folder / "clocks"
        self.clocks.mkdir(parents=True, exist_ok=True)
        (self.clocks / "sitecustomize.py").write_text(CLOCKS)
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def environment(self) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        return plain | {"RECPRESS_HOME": str(self.home), "RECPRESS_WORKER_OPTIONS": f"--perform {PERFORM}",
                        "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": f"{self.clocks}{os.pathsep}{ROOT}",
                        "OMP_NUM_THREADS": "1"} | ({"DATABASE_URL": self.url} if self.url else {})

    def start(self) -> App:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port),
                   "--server.address", "127.0.0.1", "--server.headless", "true", "--server.fileWatcherType", "none"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log,
                                            start_new_session=True)
        return self

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Another worker, started by hand."""
        with open(self.log, "ab") as log:
            return subprocess.Popen([sys.executable, "-m", "jobs.worker", "--device", "cpu", "--perform", PERFORM],
                                    cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def open_store(self) -> Store:
        return open_store(LOCAL_ACCESS, self.url, self.home)

    def is_ready(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()[-3000:]
        with suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/api/ready")[0] == 200
        return False

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None,
            body: bytes | None = None) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def set_clocks(self, **offsets: float) -> None:
        """Seconds to add to the wall clock, of jobs_worker, jobs_child or streamlit."""
        new = self.clocks / "new"
        new.write_text(json.dumps({role.replace("_", "."): offset for role, offset in offsets.items()}))
        os.replace(new, self.clocks / "offsets.json")

    def worker(self) -> psutil.Process | None:
        return next((process for process in _children(self.process.pid) if "jobs.worker" in _command(process)), None)

    def job(self, worker: int | None = None) -> psutil.Process | None:
        """The job of the app's worker, or of another."""
        own = self.worker() if worker is None else psutil.Process(worker)
        return next((process for process in _children(own.pid) if "jobs.child" in _command(process)),
                    None) if own else None

    def terminate(self, seconds: float) -> None:
        """SIGTERM, and the end within so many seconds."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(seconds)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def is_gone(self) -> bool:
        """No process that belongs to this home is left."""
        return not any(_belongs_to(process, str(self.home)) for process in psutil.process_iter())


def _belongs_to(process: psutil.Process, home: str) -> bool:
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    return process.pid != os.getpid() and (environment.get("RECPRESS_HOME") == home
                                           or environment.get(MARK, "").startswith(home))


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
