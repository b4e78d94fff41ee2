"""The executor of this machine: each job in a child process.

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
from dataclasses import dataclass
from pathlib import Path

from compression.spec.records import Failure, Progress
from jobs import failures
from jobs.child import write_whole
from jobs.devices import device_environment
from jobs.environment import job_environment
from jobs.folder import ASSIGNMENT, INPUTS
from jobs.processes import MARK, kill_group, kill_leftovers, processor_seconds
from jobs.records import Assignment, Said


@dataclass(frozen=True)
class LocalExecutor:
    """Starts children that see one device and use so many threads. See jobs.executor."""

    device: str
    threads: int
    perform: str

    def start(self, assignment: Assignment) -> LocalJob:
        return LocalJob(assignment, device=self.device, threads=self.threads, perform=self.perform)


class LocalJob:
    """A running child process. Not thread-safe: one worker owns it."""

    def __init__(self, assignment: Assignment, *, device: str, threads: int, perform: str) -> None:
        """Start the child. Raises OSError when the folder can't be written."""
        folder = Path(assignment.folder)
        folder.mkdir(parents=True, exist_ok=True)
        kill_leftovers(folder)
        assignment.outcome.unlink(missing_ok=True)
        shutil.rmtree(folder / INPUTS, ignore_errors=True)
        write_whole(folder / ASSIGNMENT, assignment.model_dump_json())
        environment = {**job_environment(assignment.spec.kind, threads=threads), **device_environment(device),
                       MARK: str(folder)}
        self._folder, self._log = folder, assignment.log
        self._memory_kills = failures.memory_kills()
        self._progress: Progress | None = None
        self._failure: Failure | None = None
        command = [sys.executable, "-m", "jobs.child", str(folder), "--perform", perform, "--parent", str(os.getpid())]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                             env=environment, start_new_session=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def name(self) -> str:
        return f"process {self.pid}"

    @property
    def log(self) -> Path:
        return self._log

    @property
    def progress(self) -> Progress | None:
        """The newest report."""
        return self._progress

    def processor_seconds(self) -> float:
        """Of the child and all it started."""
        return processor_seconds(self.pid)

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
