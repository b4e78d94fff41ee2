"""A second executor, to show that nothing but jobs.local knows how jobs.local works: multiprocessing, and a pipe."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from compression.spec.records import Failure, Progress
from jobs.environment import job_environment
from jobs.executor import imported
from jobs.failures import explain
from jobs.records import Assignment, Said
from storage.records import Outcome

SPAWN = multiprocessing.get_context("spawn")
PID = "pid"


@dataclass(frozen=True)
class OtherExecutor:
    device: str
    threads: int
    perform: str

    def start(self, assignment: Assignment) -> OtherJob:
        assignment.work.mkdir(parents=True, exist_ok=True)
        pid = Path(assignment.folder) / PID
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGKILL)
        assignment.outcome.unlink(missing_ok=True)
        here, there = SPAWN.Pipe(duplex=False)
        environment = job_environment(assignment.spec.kind, threads=self.threads)
        process = SPAWN.Process(target=_work, args=(assignment, self.perform, environment, there), daemon=True)
        process.start()
        there.close()
        pid.write_text(str(process.pid))
        return OtherJob(process, here, assignment.log)


class OtherJob:
    def __init__(self, process: multiprocessing.Process, said: Connection, log: Path) -> None:
        self._process, self._said = process, said
        self.name, self.log = f"spawned process {process.pid}", log
        self._progress: Progress | None = None
        self._failure: Failure | None = None

    @property
    def progress(self) -> Progress | None:
        self._hear()
        return self._progress

    def processor_seconds(self) -> float:
        try:
            return sum(psutil.Process(self._process.pid).cpu_times()[:2])
        except psutil.Error:
            return 0.0

    def wait(self, seconds: float) -> bool:
        self._process.join(seconds)
        self._hear()
        return self._process.exitcode is not None

    def failure(self) -> tuple[Failure, bool] | None:
        self._hear()
        if self._failure is not None:
            return self._failure, False
        if self._process.exitcode == 0:
            return None
        return Failure(kind="Killed", message="The spawned process ended.", next_step="Retry."), True

    def stop(self) -> None:
        self._process.kill()
        self._process.join()

    def _hear(self) -> None:
        with suppress(EOFError, OSError):
            while self._said.poll():
                said = Said.model_validate_json(self._said.recv())
                self._progress, self._failure = said.progress or self._progress, said.failure or self._failure


def _work(assignment: Assignment, perform: str, environment: dict[str, str], channel: Connection) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with open(assignment.log, "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last > 0.1:
            last = time.monotonic()
            channel.send(Said(progress=progress).model_dump_json())

    try:
        outcome: Outcome = imported(perform)(assignment, report)
    except BaseException as error:
        traceback.print_exc()
        channel.send(Said(failure=explain(error)).model_dump_json())
        sys.exit(3)
    unfinished = assignment.outcome.with_suffix(".new")
    unfinished.write_text(outcome.model_dump_json())
    unfinished.replace(assignment.outcome)
