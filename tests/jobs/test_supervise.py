"""The workers of an app: one set a home, restarted, ended with it."""

import os
import signal

import pytest

from jobs import supervise
from jobs.processes import is_running
from jobs.supervise import held, supervised
from tests.jobs.test_worker import wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by signals")
OPTIONS = ("--perform", "tests.jobs.fake:perform")


@pytest.fixture(autouse=True)
def home(store, monkeypatch):
    monkeypatch.setenv("RECPRESS_HOME", str(store.home))
    monkeypatch.delenv("DATABASE_URL", raising=False)


def test_a_file_is_held_once_and_let_go(tmp_path):
    with held(tmp_path / "lock") as first, held(tmp_path / "lock") as second:
        assert first and not second
    with held(tmp_path / "lock") as again:
        assert again


def test_two_servers_start_one_worker_and_the_second_takes_over(store, queue):
    with supervised(devices=["cpu"], worker_options=OPTIONS) as first:
        wait_for(lambda: len(store.workers()) == 1)
        with supervised(devices=["cpu"], worker_options=OPTIONS):
            before = store.workers()
            job_id = queue("steps 2")
            wait_for(lambda: store.job(job_id).state == "done")
            assert store.workers()[0].id == before[0].id and len(store.workers()) == 1
            first.stop()
            assert store.workers() == []
            after = wait_for(lambda: [worker for worker in store.workers() if worker.id != before[0].id])
            assert len(after) == 1
        assert not is_running(after[0].pid)


def test_a_killed_worker_is_replaced_and_its_job_goes_on(store, queue):
    with supervised(devices=["cpu"], worker_options=OPTIONS):
        job_id = queue("steps 30")
        wait_for(lambda: store.job(job_id).progress)
        os.kill(store.workers()[0].pid, signal.SIGKILL)
        wait_for(lambda: store.job(job_id).attempt == 2)
        wait_for(lambda: store.job(job_id).state == "done")


def test_a_suspended_worker_is_replaced_and_its_job_goes_on(store, queue, monkeypatch):
    monkeypatch.setattr(supervise, "SILENT_S", 4.0)
    with supervised(devices=["cpu"], worker_options=OPTIONS):
        job_id = queue("steps 30")
        wait_for(lambda: store.job(job_id).progress)
        before, = store.workers()
        os.kill(before.pid, signal.SIGSTOP)
        wait_for(lambda: store.job(job_id).attempt == 2)
        wait_for(lambda: store.job(job_id).state == "done")
        assert not is_running(before.pid)
        assert [worker.id for worker in store.workers() if worker.id != before.id]
    steps = [line for line in store.log_path(job_id).read_text().splitlines() if line.startswith("step ")]
    assert 30 <= len(steps) <= 31  # from the checkpoint, and no two at work at once
    log = (store.home / "workers" / "cpu.log").read_text()
    assert f"The worker with process {before.pid} gave no sign of life" in log and "replaced" in log


def test_suspended_workers_do_not_hold_up_the_end_of_the_app_one_after_another(store, monkeypatch):
    monkeypatch.setattr(supervise, "STOP_S", 2.0)
    waited = []
    monkeypatch.setattr(supervise._Hand, "end", lambda hand, seconds, end=supervise._Hand.end:
                        (waited.append(seconds), end(hand, seconds)))
    with supervised(devices=["cpu", "cpu", "cpu"], worker_options=OPTIONS):
        workers = wait_for(lambda: len(store.workers()) == 3 and store.workers())
        for worker in workers:
            os.kill(worker.pid, signal.SIGSTOP)
    assert sum(waited) < 2 * 2.0  # together they get STOP_S, not each
    assert not any(is_running(worker.pid) for worker in workers)


def test_an_idle_worker_shows_that_it_is_alive(store):
    with supervised(devices=["cpu"], worker_options=OPTIONS):
        worker, = wait_for(store.workers)
        assert worker.alive and worker.job is None and worker.device == "cpu"
