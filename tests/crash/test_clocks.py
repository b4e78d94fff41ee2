"""Clocks that jump by an hour in one process alone: a healthy job keeps its worker, a lost one finds another."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.crash.checks import check_done_once, steps_done
from tests.crash.served import wait_for

HOUR_S = 3600.0
LOOKS_S = 3.0  # some heartbeats, and some looks of a worker that has nothing to do


def test_clocks_that_jump_under_a_running_job_cost_it_nothing(app, store, queue):
    app.start()
    long = queue("steps 800")
    wait_for(lambda: steps_done(store, long) > 5, "the job runs")
    watcher = app.start_worker()  # it looks at the other's job all the time
    try:
        wait_for(lambda: len(store.workers()) == 2, "another worker is there")
        for role in ("jobs_worker", "jobs_child", "streamlit"):
            for jump_s in (HOUR_S, -HOUR_S):
                app.set_clocks(**{role: jump_s})
                time.sleep(LOOKS_S)
                assert store.job(long).attempt == 1, (role, jump_s)
        app.set_clocks(jobs_worker=-HOUR_S)
        after = queue("steps 5")
        wait_for(lambda: store.job(after).ended is not None, "the next job ends")
        wait_for(lambda: store.job(long).ended is not None, "the job ends")
        assert (store.job(long).state, store.job(long).attempt, store.job(after).state) == ("done", 1, "done")
        assert steps_done(store, long) == 800
    finally:
        watcher.send_signal(signal.SIGTERM)
        watcher.wait(60)


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])
def test_a_job_whose_worker_had_another_clock_is_found_when_that_worker_dies(app, store, queue, jump_s):
    app.set_clocks(jobs_worker=jump_s)
    lost = app.start_worker()
    try:
        job_id = queue("steps 60")
        wait_for(lambda: steps_done(store, job_id) > 5, "the job runs")
        job = app.job(lost.pid)
        job.send_signal(signal.SIGSTOP)  # so that it is not done before the other worker is there
        app.set_clocks()
        app.start()
        wait_for(lambda: len(store.workers()) == 2, "the app's worker is there")
        os.kill(lost.pid, signal.SIGKILL)
    finally:
        lost.kill()
        lost.wait()
    wait_for(lambda: store.job(job_id).state == "done", "the app's worker takes the job")
    assert store.job(job_id).attempt == 2
    check_done_once(store, [job_id], 60)
