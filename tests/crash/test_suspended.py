"""A job or a worker that is suspended, as by a debugger, a full memory or a paused machine, is noticed and replaced."""

from __future__ import annotations

import signal

from jobs.limits import STANDSTILL
from tests.crash.checks import check_done_once, steps_done
from tests.crash.served import wait_for

STEPS = 100


def test_a_suspended_job_is_ended_and_goes_on_in_a_second_try_that_says_why(app, store, queue):
    store.set_setting(STANDSTILL.key, 5 / 60)
    app.start()
    job_id = queue(f"steps {STEPS}")
    wait_for(lambda: steps_done(store, job_id) > 5, "the job runs")
    app.job().send_signal(signal.SIGSTOP)
    wait_for(lambda: store.job(job_id).state == "done", "the job goes on")
    assert store.job(job_id).attempt == 2
    assert "made no progress for 5 seconds" in store.log_path(job_id).read_text()
    check_done_once(store, [job_id], STEPS)


def test_a_suspended_worker_is_replaced_and_its_job_goes_on(app, store, queue):
    app.start()
    job_id = queue("steps 300")
    wait_for(lambda: steps_done(store, job_id) > 5, "the job runs")
    worker = app.worker()
    worker.send_signal(signal.SIGSTOP)
    # its job ends with it at the latest after three leases: by then it is done, or begun again from the checkpoint
    wait_for(lambda: not worker.is_running(), "the worker is replaced")
    wait_for(lambda: store.job(job_id).state == "done", "the job is done")
    check_done_once(store, [job_id], 300)
    after = queue("steps 3")
    wait_for(lambda: store.job(after).state == "done", "the new worker works")
    assert f"The worker with process {worker.pid} gave no sign of life" in app.log.read_text()


def test_an_app_that_is_suspended_does_not_hold_up_its_worker(app, store, queue):
    app.start()
    wait_for(app.is_ready, "the app is ready")
    wait_for(lambda: store.workers(), "its worker is there")
    app.process.send_signal(signal.SIGSTOP)
    try:
        job_id = queue("steps 30")
        wait_for(lambda: store.job(job_id).state == "done", "the job is done")
    finally:
        app.process.send_signal(signal.SIGCONT)
    worker = app.worker()
    wait_for(app.is_ready, "the app answers again")
    assert store.job(job_id).attempt == 1 and worker.is_running()
    check_done_once(store, [job_id], 30)
