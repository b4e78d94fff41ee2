"""The workers of an app: started with it, restarted when they die, one set a home folder however many servers run.

    with supervised():
        serve()

A lock on a file in the home folder is held by one server; the kernel lets go of it the moment that server dies,
and another one that waits takes over. The workers end with the server that started them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import jobs
from compression.spec.errors import StorageError
from jobs.devices import cpu_count, worker_devices
from jobs.processes import is_running, kill_group
from storage.machine import Machine, open_machine
from storage.silence import LEASE_S, Silence

POLL_S = 0.5
TAKE_OVER_S = 2.0
STEADY_S = 60.0  # a worker that lived so long may be restarted at once
LONGEST_PAUSE_S = 30.0
STOP_S = 5.0  # for all workers together
SILENT_S = 3 * LEASE_S  # a worker without a sign of life for so long is replaced; a locked database keeps it for 30 s
START_S = 600.0  # until its first sign: it loads its libraries, and may wait for another to migrate the database
SWEEP_S = 24 * 3600.0


class Supervisor:
    """Keeps the workers of this machine running from a thread of its own."""

    def __init__(self, *, devices: Sequence[str] | None = None, worker_options: Sequence[str] = ()) -> None:
        self._devices = devices
        self._options = list(worker_options)
        self._stop = threading.Event()
        # one thread for all its life: on Linux a worker dies with the thread that started it
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> Supervisor:
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the workers in order: each gives its job back to the queue."""
        self._stop.set()
        self._thread.join(STOP_S * 2)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                store = open_machine()
                with held(store.home / "workers.lock") as is_ours:
                    if is_ours:
                        self._supervise(store)
            except (StorageError, OSError) as error:
                _say(f"Workers can't be started: {error}")
            self._stop.wait(TAKE_OVER_S)

    def _supervise(self, store: Machine) -> None:
        devices = list(self._devices if self._devices is not None else worker_devices())
        threads = max(1, cpu_count() // max(1, len(devices)))
        crew = [_Hand(store.home, device, threads, self._options) for device in devices]
        swept = -SWEEP_S
        try:
            while not self._stop.is_set():
                started = [hand.keep() for hand in crew]
                try:
                    if any(started):
                        store.drop_dead_workers(is_running)
                    if time.monotonic() - swept > SWEEP_S:
                        swept = time.monotonic()
                        store.sweep()
                except (StorageError, OSError) as error:  # the workers go on; leases and the next day settle it
                    _say(f"Tidying up failed: {error}")
                self._stop.wait(POLL_S)
        finally:
            end = time.monotonic() + STOP_S
            for hand in crew:
                hand.ask_to_end()
            for hand in crew:
                hand.end(max(0.0, end - time.monotonic()))


class _Hand:
    """One worker process and its restarts."""

    def __init__(self, home: Path, device: str, threads: int, options: list[str]) -> None:
        self._command = [sys.executable, "-m", "jobs.worker", "--device", device, "--threads", str(threads),
                         "--parent", str(os.getpid()), *options]
        self._log = home / "workers" / f"{device.replace(':', '-')}.log"
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._signs: int | None = None  # descriptor on which the worker gives signs of life
        self._signs_seen = 0
        self._silence = Silence(longest_gap_s=LEASE_S)
        self._started = 0.0
        self._pause = 0.0

    def keep(self) -> bool:
        """Start the worker if it isn't there and its pause is over; tells whether it was started."""
        now = time.monotonic()
        if self._process is not None:
            if self._process.poll() is None and not self._is_silent(self._process):
                return False
            self._kill()
            lived = now - self._started
            self._pause = 0.0 if lived > STEADY_S else min(LONGEST_PAUSE_S, max(0.25, self._pause * 2))
            self._process = None
            self._started = now
        if now - self._started < self._pause:
            return False
        root = str(Path(jobs.__file__).parents[1])
        environment = {**os.environ, "RECPRESS_HOME": str(self._home),
                       "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
        self._log.parent.mkdir(exist_ok=True)
        with open(self._log, "ab") as log, _pipe() as (self._signs, passed):
            sign = ["--sign-to", str(passed)] if passed is not None else []
            self._process = subprocess.Popen([*self._command, *sign], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             env=environment, start_new_session=True,
                                             pass_fds=[passed] if passed is not None else [])
        self._started = now
        return True

    def _is_silent(self, process: subprocess.Popen[bytes]) -> bool:
        """The worker is there and has given no sign for three leases: it is suspended, or hangs."""
        if self._signs is None:
            return False
        with suppress(BlockingIOError):
            self._signs_seen += len(os.read(self._signs, 1 << 16))
        silent_s = self._silence.observe({process.pid: self._signs_seen})[process.pid]
        if silent_s < (SILENT_S if self._signs_seen else START_S):
            return False
        text = (f"{time.strftime('%Y-%m-%d %H:%M:%S')} The worker with process {process.pid} gave no sign of life for "
                f"{silent_s:.0f} s: it was suspended, or hung. It is replaced; its job goes on from the checkpoint.")
        _say(text)
        with suppress(OSError), open(self._log, "a", encoding="utf-8") as log:
            log.write(f"{text}\n")
        return True

    def ask_to_end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def end(self, seconds: float) -> None:
        """Wait for the end, at most so long; then kill."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._kill()

    def _kill(self) -> None:
        """End the worker if it is still there, and what it started beside its job, which ends with it."""
        assert self._process is not None
        kill_group(self._process.pid)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._signs is not None:
            os.close(self._signs)
            self._signs, self._signs_seen = None, 0


def _say(text: str) -> None:
    with suppress(OSError):  # the server's log may lie on a disk that is full
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _pipe() -> Iterator[tuple[int | None, int | None]]:
    """A pipe that never blocks: the end to read, and the end a child inherits, which is closed here afterwards."""
    if os.name != "posix":  # a child of Windows inherits no such descriptor; its worker is replaced when it ends
        yield None, None
        return
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    try:
        yield read, write
    finally:
        os.close(write)


@contextmanager
def supervised(*, devices: Sequence[str] | None = None,
               worker_options: Sequence[str] | None = None) -> Iterator[Supervisor]:
    """Workers while the block runs: one for each GPU, else one for the CPU. Returns at once; a thread does the rest.

    worker_options: of `python -m jobs.worker`; None for those in RECPRESS_WORKER_OPTIONS.
    """
    if worker_options is None:
        worker_options = shlex.split(os.environ.get("RECPRESS_WORKER_OPTIONS", ""))
    supervisor = Supervisor(devices=devices, worker_options=worker_options).start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether this process got the lock of a file; it is kept until the block ends or the process dies."""
    with open(path, "ab") as file:
        got = _lock(file)
        try:
            yield got
        finally:
            if got:
                _unlock(file)


if os.name == "posix":
    import fcntl

    def _lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
else:
    import msvcrt

    def _lock(file: BinaryIO) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: BinaryIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
