"""What a worker needs of whatever runs its jobs: start an attempt, watch it, stop it.

    running = open_executor("jobs.local:LocalExecutor", device="cpu", threads=4, perform="jobs.perform:perform").start(
        assignment)
    while not running.wait(0.1): ...
    failed = running.failure()

jobs/local.py runs a job in a child process of this machine. Another executor has to pass `jobs.testing`:

- An attempt that ends well leaves `assignment.outcome`, whole; one that fails, is stopped or dies leaves none.
- What the job prints is in `assignment.log`, where the page looks; files in `assignment.work` outlive the attempt.
- An attempt that starts ends what is left of an earlier one in the same folder.
- A job is given no secret of the app: it never learns the database's address.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

from compression.spec.records import Failure, Progress
from jobs.records import Assignment

LOCAL = "jobs.local:LocalExecutor"


class Running(Protocol):
    """One attempt at a job. One worker owns it and calls it from one thread."""

    @property
    def name(self) -> str:
        """Where it runs, for the log: "process 4711"."""

    @property
    def log(self) -> Path:
        """The file that holds what the job prints; the worker adds its own lines."""

    @property
    def progress(self) -> Progress | None:
        """The newest report."""

    def processor_seconds(self) -> float:
        """Processor time used so far: a job that computes and reports nothing is not standing still."""

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long; tells whether it has come."""

    def failure(self) -> tuple[Failure, bool] | None:
        """After the end: why there is no outcome, and whether another attempt may help. None after success."""

    def stop(self) -> None:
        """End the attempt and all that it started; nothing of it runs afterwards. Harmless after the end."""


class Executor(Protocol):
    """Runs the jobs of one worker. Made as `Executor(device=…, threads=…, perform=…)`."""

    def start(self, assignment: Assignment) -> Running:
        """Start an attempt, and return at once. Raises OSError where it can't start."""


def open_executor(name: str, *, device: str, threads: int, perform: str) -> Executor:
    """The executor "module:class", for jobs of one device whose work is the function "module:function"."""
    return imported(name)(device=device, threads=threads, perform=perform)


def imported(name: str) -> Any:
    """What "module:name" names. Raises ImportError."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (AttributeError, ValueError) as error:
        raise ImportError(f"{name!r} names nothing that can be imported ({error}); write module:name.") from error
