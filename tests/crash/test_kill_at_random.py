"""Kill -9 of job, worker and app at random moments of a queue: each job is done once, and nothing is left over."""

from __future__ import annotations

import os
import random
import secrets
import time

import psutil

from storage.claims import TRIES
from storage.narrowing import EVERY_WORKSPACE
from tests.crash.checks import check_done_once
from tests.crash.served import App

KILLS = int(os.environ.get("RECPRESS_CRASH_KILLS", "20"))
JOBS, STEPS = max(3, KILLS // 2), 50
VICTIMS = ("job", "worker", "app", "worker and app")
DEADLINE_S = 900.0


def kill(app: App, victim: str) -> bool:
    """Kill what there is to kill; False if it isn't there at this moment."""
    processes = {"job": [app.job()], "worker": [app.worker()], "app": [psutil.Process(app.process.pid)],
                 "worker and app": [app.worker(), psutil.Process(app.process.pid)]}[victim]
    if None in processes:
        return False
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            return False  # it ended by itself just now
    if "app" in victim:
        app.process.wait()
        app.start()
    return True


def test_kills_at_random_moments_leave_each_job_done_once(app, store, queue):
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    ids = [queue(f"steps {STEPS}") for _ in range(JOBS)]
    app.start()
    killed: list[str] = []
    end = time.monotonic() + DEADLINE_S
    while len(killed) < KILLS and time.monotonic() < end:
        time.sleep(chance.uniform(0.1, 2.5))
        if is_on_its_last_try(store):
            continue
        # whom it met least so far goes first; a job is not always there, but the last kills wait for it
        order = sorted(VICTIMS, key=lambda victim: (killed.count(victim), chance.random()))
        unmet = [victim for victim in order if victim not in killed]
        order = unmet if KILLS - len(killed) <= len(unmet) else order
        victim = next((victim for victim in order if kill(app, victim)), None)
        killed += [victim] if victim else []
    while store.counts() != {"done": JOBS} and time.monotonic() < end:
        time.sleep(0.1)
    states = {job.id: (job.state, job.attempt, job.failure) for job in store.jobs().items}
    assert (len(killed), store.counts()) == (KILLS, {"done": JOBS}), f"seed {seed}: {killed} {states}"
    assert set(killed) == set(VICTIMS), f"seed {seed}: {killed}"
    assert sum(store.job(job_id).attempt for job_id in ids) > JOBS, "no kill met a running job"
    check_done_once(store, ids, STEPS)


def is_on_its_last_try(store) -> bool:
    """A job that is killed a third time fails by design; the kill comes at another moment."""
    with store.database.reading(EVERY_WORKSPACE) as session:
        lost = session.connection().exec_driver_sql(
            "SELECT max(attempt - attempts_before) FROM jobs WHERE state IN ('queued', 'running')").scalar()
    return (lost or 0) >= TRIES - 1
