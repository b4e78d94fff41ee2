"""Run a job in a child process of this machine: start, poll, cancel.

The child has its own session, so that killing its group ends all it started, and dies with the worker. What the
child reports is read by a thread, so that a slow database never holds the child up.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from compression.spec.records import Failure, Progress
from jobs import failures
from jobs.child import write_whole
from jobs.devices import device_environment
from jobs.environment import job_environment
from jobs.processes import MARK, kill_group, kill_leftovers
from jobs.records import Assignment, Said


class LocalJob:
    """A running child process. Not thread-safe: one worker owns it."""

    def __init__(self, assignment: Assignment, *, device: str, threads: int, perform: str) -> None:
        """Start the child. Raises OSError when the folder can't be written."""
        folder = Path(assignment.folder)
        folder.mkdir(parents=True, exist_ok=True)
        kill_leftovers(folder)
        (folder / "outcome.json").unlink(missing_ok=True)
        shutil.rmtree(folder / "inputs", ignore_errors=True)
        write_whole(folder / "assignment.json", assignment.model_dump_json())
        environment = {**job_environment(assignment.spec.kind, threads=threads), **device_environment(device),
                       MARK: str(folder)}
        self._folder = folder
        self._memory_kills = failures.memory_kills()
        self._progress: Progress | None = None
        self._failure: Failure | None = None
        command = [sys.executable, "-m", "jobs.child", str(folder), "--perform", perform, "--parent", str(os.getpid())]
        with open(folder / "log.txt", "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                             env=environment, start_new_session=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def progress(self) -> Progress | None:
        """The newest report."""
        return self._progress

    def wait(self, seconds: float) -> bool:
        """Wait for the end; tells whether it has come."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        kill_group(self.pid)  # whatever the child had started
        self._reader.join(1)
        return True

    def failure(self) -> tuple[Failure, bool] | None:
        """After the end: why there is no outcome, and whether to try again. None after success."""
        code = self._process.returncode
        if code == 0:
            return None
        if self._failure is not None:
            return self._failure, False
        return failures.ended_by(code, memory_kills=failures.memory_kills() - self._memory_kills, folder=self._folder)

    def stop(self, grace_s: float = 0.5) -> None:
        """End the child: asked first, then killed with everything it started."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        kill_group(self.pid)
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    said = Said.model_validate_json(line)
                except ValueError:
                    continue  # cut off in the middle by a kill
                self._progress = said.progress or self._progress
                self._failure = said.failure or self._failure


def clean(folder: Path) -> None:
    """Remove what a job that is over no longer needs; its log stays."""
    make_room(folder)
    for name in ("assignment.json", "outcome.json"):
        (folder / name).unlink(missing_ok=True)
    for leftover in folder.glob("tmp*"):
        leftover.unlink(missing_ok=True)


def make_room(folder: Path) -> None:
    """Remove a job's working files; its outcome stays, whose files are in the artifact store."""
    for name in ("work", "inputs"):
        shutil.rmtree(folder / name, ignore_errors=True)


def note(folder: Path, text: str) -> None:
    """A line of the worker in the job's log; a full disk doesn't stop the worker."""
    try:
        with open(folder / "log.txt", "a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
    except OSError:
        with suppress(OSError):
            print(f"{folder.name}: {text}", file=sys.stderr, flush=True)
