"""A worker: claim a job, have its executor run it, save what it made. `python -m jobs.worker [--device cuda:0]`.

Kill it whenever you like: its job dies with it, its lease runs out, another worker goes on from the checkpoint.
Stopped in order (SIGTERM, Ctrl-C) it gives its job back to the queue.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field

from compression.running.step_cache import DEFAULT_LIMIT_BYTES
from compression.spec.disk import is_disk_full
from compression.spec.errors import StorageError
from compression.spec.records import Failure
from jobs.devices import cpu_count, worker_devices
from jobs.executor import LOCAL, Executor, Running, open_executor
from jobs.failures import DISK_FULL, disk_full
from jobs.folder import LOG, OUTCOME, clean, make_room, note
from jobs.limits import STOOD_STILL, Watch
from jobs.processes import die_with_parent, is_orphan
from jobs.records import CACHE_BYTES, Assignment
from jobs.stopping import Stop
from storage.machine import Machine, open_machine
from storage.records import Job, Outcome
from storage.silence import LEASE_S
from storage.store import Store

PERFORM = "jobs.perform:perform"
POLL_S = 0.1  # looks at the job
BEAT_S = 0.5  # looks at the database while a job runs: a cancelled job hears of it within this time
IDLE_S = 0.5  # looks at the queue
SEEN_S = 5.0  # signs of life in the database while idle
SIGN_S = 1.0  # signs of life to the supervisor
SAVE_TRIES = 5


@dataclass
class Worker:
    """What a worker process knows of itself."""

    store: Machine
    device: str
    executor: Executor
    parent: int | None = None  # ends with this process
    sign_to: int | None = None  # descriptor of the supervisor's pipe: a byte there says that this worker goes on
    name: str = field(default_factory=lambda: f"{secrets.token_hex(4)}-{os.getpid()}")
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        self._signed = -SIGN_S

    def sign(self) -> None:
        """Tell the supervisor that this worker goes on. Called from its loops: a thread would go on by itself."""
        if self.sign_to is None or time.monotonic() - self._signed < SIGN_S:
            return
        self._signed = time.monotonic()
        with suppress(OSError):  # full, because the supervisor is suspended; or gone, which `stopping` sees
            os.write(self.sign_to, b".")

    @property
    def stopping(self) -> bool:
        return self.stop.is_set() or (self.parent is not None and is_orphan(self.parent))


def work(worker: Worker, *, once: bool = False) -> int:
    """Do jobs until stopped, or with `once` until the queue is empty; gives how many were taken."""
    taken, seen = 0, 0.0
    # a full disk passes: its next sign of life registers the worker too
    _quietly(worker, lambda: worker.store.add_worker(worker.name, worker.device))
    try:
        while not worker.stopping:
            worker.sign()
            try:
                job = worker.store.claim(worker.name, worker.device)
                if job is None and time.monotonic() - seen > SEEN_S:
                    worker.store.worker_seen(worker.name, worker.device)
                    seen = time.monotonic()
            except StorageError as error:  # a locked database or a full disk passes
                _say(worker, str(error))
                worker.stop.wait(IDLE_S * 4)
                continue
            if job is not None:
                do_job(worker, job)
                taken += 1
            elif once:
                break
            else:
                worker.stop.wait(IDLE_S)
    finally:
        _quietly(worker, lambda: worker.store.remove_worker(worker.name))
    return taken


def do_job(worker: Worker, job: Job) -> None:
    """Run one claimed job to its end: saved, failed, cancelled, given back, or lost to another worker."""
    folder = worker.store.job_folder(job.id)
    outcome_path = folder / OUTCOME
    try:
        if job.attempt > 1 and outcome_path.exists():  # the worker before died between the job's end and saving
            note(folder / LOG, "The outcome of the attempt before is complete; saving it.")
        else:
            if job.attempt == 1:
                worker.store.clear_job_folder(job.id)
            running = worker.executor.start(assignment(worker.store, job))
            note(running.log, f"Attempt {job.attempt} on {worker.device} by {worker.name}, {running.name}.")
            if not attend(worker, job, running):
                return
        outcome = Outcome.model_validate_json(outcome_path.read_bytes())
    except (OSError, ValueError) as error:
        if is_disk_full(error, folder):
            _end(worker, job, disk_full())
            return
        _end(worker, job, Failure(kind=type(error).__name__, message=f"The job's folder can't be used: {error}.",
                                  next_step="Check the disk and the permissions of RECPRESS_HOME, then retry."))
        return
    except StorageError as error:
        _end(worker, job, Failure(kind="StorageError", message=str(error), next_step="Then retry."))
        return
    save(worker, job, outcome)


def attend(worker: Worker, job: Job, running: Running) -> bool:
    """Watch an attempt until it ends, renewing the lease; True when its outcome can be saved."""
    beaten = time.monotonic()
    renewed = beaten
    watch = Watch(worker.store, running.processor_seconds)
    while not running.wait(POLL_S):
        worker.sign()
        now = time.monotonic()
        if worker.stopping:
            running.stop()
            note(running.log, "The worker stops; the job goes back to the queue.")
            _quietly(worker, lambda: worker.store.release(job.id, worker.name, attempt=job.attempt))
            return False
        if now - beaten < BEAT_S:
            continue
        beaten = now
        try:
            order = worker.store.heartbeat(job.id, worker.name, running.progress, attempt=job.attempt)
            renewed = now
            reached = watch.look(running.progress)
        except StorageError as error:
            _say(worker, str(error))
            order, reached = "go" if now - renewed < LEASE_S else "lost", None
        if order == "go" and reached is None:
            continue
        running.stop()
        if order == "cancel":
            # before it is told: from then on a retry may put another worker into this folder
            clean(worker.store.job_folder(job.id))
            _end(worker, job, Failure(kind="Cancelled", message="Cancelled."))
        elif reached is not None:
            before = job.failure.kind if job.failure else None
            _end(worker, job, reached, retry=reached.kind == STOOD_STILL and before != STOOD_STILL)
        return False
    failed = running.failure()
    if failed is not None:
        failure, retry = failed
        _end(worker, job, failure, retry=retry)
    return failed is None


def save(worker: Worker, job: Job, outcome: Outcome) -> None:
    """Save the outcome in one transaction. What the database refuses for a moment is tried again."""
    folder = worker.store.job_folder(job.id)
    for attempt in range(1, SAVE_TRIES + 1):
        worker.sign()
        try:
            kept = Store(worker.store, job.access).finish(job.id, worker.name, outcome, attempt=job.attempt)
        except StorageError as error:
            problem = error
            _say(worker, str(error))
            if is_disk_full(error, worker.store.home):
                make_room(folder)
            worker.stop.wait(attempt)
            continue
        if kept:
            note(folder / LOG, "Saved.")
            clean(folder)
        return
    _end(worker, job, disk_full() if is_disk_full(problem, worker.store.home) else
         Failure(kind="StorageError", message=str(problem), next_step="Then retry."))


def assignment(machine: Machine, job: Job) -> Assignment:
    """What the job's process needs to know. Raises StorageError if a model or dataset was deleted."""
    spec, store = job.spec, Store(machine, job.access)
    model = store.model(spec.model) if getattr(spec, "model", None) else None
    data = store.dataset(spec.data) if getattr(spec, "data", None) else None
    return Assignment(job=job.id, name=job.name, spec=spec, files=str(store.files.root),
                      folder=str(store.job_folder(job.id)), model_manifest=model.manifest if model else None,
                      data_manifest=data.manifest if data else None, data_name=data.name if data else "",
                      cache_bytes=int(store.setting(CACHE_BYTES, DEFAULT_LIMIT_BYTES)))


def _end(worker: Worker, job: Job, failure: Failure, *, retry: bool = False) -> None:
    folder = worker.store.job_folder(job.id)
    if failure.kind == DISK_FULL:
        clean(folder)  # first: the database may lie on the same disk
    became = "could not be recorded; it will be tried again"
    for attempt in range(SAVE_TRIES):
        worker.sign()
        try:
            state = worker.store.fail(job.id, worker.name, failure, attempt=job.attempt, retry=retry)
            became = f"is {state or 'with another worker'}"
            break
        except StorageError as error:  # at worst the lease runs out, and the job is tried again
            _say(worker, str(error))
            worker.stop.wait(attempt)
    note(folder / LOG, f"Attempt {job.attempt} ended: {failure.message} The job {became}.")


def _quietly(worker: Worker, action) -> None:
    """Where nothing can be done about a refusal, and a lease or the next sign of life settles it."""
    try:
        action()
    except StorageError as error:
        _say(worker, str(error))


def _say(worker: Worker, text: str) -> None:
    with suppress(OSError):  # the log may lie on the disk that is full
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} worker {worker.name}: {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Work on queued jobs until stopped.")
    parser.add_argument("--device", help="cpu or cuda:N; without it, the first GPU, else the CPU")
    parser.add_argument("--threads", type=int, help="CPU threads of a job; without it, all processors")
    parser.add_argument("--executor", default=LOCAL, metavar="MODULE:CLASS",
                        help=f"what runs the jobs; without it {LOCAL}, child processes of this machine")
    parser.add_argument("--once", action="store_true", help="end when the queue is empty")
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # set by jobs.supervise
    parser.add_argument("--sign-to", type=int, help=argparse.SUPPRESS)  # likewise
    parser.add_argument("--perform", default=PERFORM, help=argparse.SUPPRESS)  # another table of kinds, for tests
    given = parser.parse_args()
    os.umask(0o077)  # what jobs write is for the owner alone
    stop = Stop()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, frame: stop.set())
    if given.parent is not None:
        die_with_parent(given.parent, signal.SIGTERM)
    device = given.device or worker_devices()[0]
    try:
        executor = open_executor(given.executor, device=device, threads=given.threads or cpu_count(),
                                 perform=given.perform)
        worker = Worker(open_machine(), device, executor, parent=given.parent, sign_to=given.sign_to, stop=stop)
    except ImportError as error:
        parser.error(f"--executor: {error}")
    except StorageError as error:
        print(error, file=sys.stderr)
        return 2
    work(worker, once=given.once)
    return 0


if __name__ == "__main__":
    sys.exit(main())
