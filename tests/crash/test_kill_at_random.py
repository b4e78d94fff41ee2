"""Kill -9 of job, worker and app at ten random moments of a queue of five: five results, each once."""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from jobs.processes import MARK
from storage.queue import TRIES
from storage.store import Store, open_store
from storage.tables import MeasurementTable, ResultTable
from tests.storage.given import add_data, add_model, run_spec

pytestmark = [pytest.mark.crash, pytest.mark.skipif(os.name != "posix", reason="kills processes by signals")]

ROOT = Path(__file__).parents[2]
JOBS, KILLS, STEPS = 5, 10, 50
VICTIMS = ("job", "worker", "app", "worker and app")
DEADLINE_S = 240.0


class Server:
    """The app of this test; killed and started again."""

    def __init__(self, home: Path) -> None:
        self.environment = {**os.environ, "RECPRESS_HOME": str(home)}
        self.environment.pop("DATABASE_URL", None)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "tests.crash.server"], cwd=ROOT, env=self.environment,
                                        start_new_session=True)

    def worker(self) -> psutil.Process | None:
        return next((process for process in _children(self.process.pid) if "jobs.worker" in _command(process)), None)

    def job(self) -> psutil.Process | None:
        worker = self.worker()
        return next(iter(_children(worker.pid)), None) if worker else None

    def kill(self, victim: str) -> bool:
        """Kill what there is to kill; False if it isn't there at this moment."""
        processes = {"job": [self.job()], "worker": [self.worker()], "app": [psutil.Process(self.process.pid)],
                     "worker and app": [self.worker(), psutil.Process(self.process.pid)]}[victim]
        if None in processes:
            return False
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                return False  # it ended by itself just now
        if self.process.poll() is not None or "app" in victim:
            self.process.wait()
            self.start()
        return True


def test_ten_kills_at_random_moments_leave_five_results_each_once(tmp_path):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    store = open_store(None, tmp_path / "home")
    model, data = add_model(store), add_data(store)
    ids = [store.submit(run_spec(store, model=model, data=data, seed=index), name=f"steps {STEPS}")
           for index in range(JOBS)]
    server = Server(store.home)
    killed: list[str] = []
    end = time.monotonic() + DEADLINE_S
    try:
        while len(killed) < KILLS and time.monotonic() < end:
            time.sleep(chance.uniform(0.1, 2.5))
            if on_its_last_try(store):
                continue
            # whom it met least so far goes first; a job is not always there, but the last kills wait for it
            order = sorted(VICTIMS, key=lambda victim: (killed.count(victim), chance.random()))
            unmet = [victim for victim in order if victim not in killed]
            order = unmet if KILLS - len(killed) <= len(unmet) else order
            victim = next((victim for victim in order if server.kill(victim)), None)
            killed += [victim] if victim else []
        while store.counts() != {"done": JOBS} and time.monotonic() < end:
            time.sleep(0.1)
        states = {job.id: (job.state, job.attempt, job.failure) for job in store.jobs().items}
        assert (len(killed), store.counts()) == (KILLS, {"done": JOBS}), f"seed {seed}: {killed} {states}"
    finally:
        server.process.terminate()
        server.process.kill()
        server.process.wait()

    assert set(killed) == set(VICTIMS), f"seed {seed}: {killed}"
    points = store.points(model, data)
    assert [point.job_id for point in points] == ids
    with store.database.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(ResultTable)) == JOBS
        assert session.scalar(sa.select(sa.func.count()).select_from(MeasurementTable)) == 3 * JOBS
    assert sum(store.job(job_id).attempt for job_id in ids) > JOBS, "no kill met a running job"
    for job_id in ids:
        digest = store.result(job_id).files["bundle.zip"]
        assert store.files.path(digest).read_bytes().startswith(b"bundle of")
        steps = [line for line in store.log_path(job_id).read_text().splitlines() if line.startswith("step ")]
        # a kill costs at most the step it fell into: the next attempt goes on from the checkpoint
        assert STEPS <= len(steps) <= STEPS + store.job(job_id).attempt - 1
    assert gone(store.home), "a process outlived its app"


def on_its_last_try(store: Store) -> bool:
    """A job that is killed a third time fails by design; the kill comes at another moment."""
    with store.database.reading() as session:
        lost = session.connection().exec_driver_sql(
            "SELECT max(attempt - attempts_before) FROM jobs WHERE state IN ('queued', 'running')").scalar()
    return (lost or 0) >= TRIES - 1 and bool(store.jobs(states=["running", "queued"]).items)


def gone(home: Path) -> bool:
    """Every worker and job of this home ends soon after its app."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        left = [process for process in psutil.process_iter() if _belongs_to(process, str(home))]
        if not left:
            return True
        time.sleep(0.1)
    return False


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
