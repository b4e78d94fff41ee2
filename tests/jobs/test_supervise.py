"""The workers of an app: one set a home, restarted, ended with it."""

import os
import signal

import pytest

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


def test_a_killed_worker_is_replaced_and_its_job_goes_on_before_the_lease_ends(store, queue):
    with supervised(devices=["cpu"], worker_options=OPTIONS):
        job_id = queue("steps 30")
        wait_for(lambda: store.job(job_id).progress)
        os.kill(store.workers()[0].pid, signal.SIGKILL)
        wait_for(lambda: store.job(job_id).attempt == 2, 10)
        wait_for(lambda: store.job(job_id).state == "done")


def test_an_idle_worker_shows_that_it_is_alive(store):
    with supervised(devices=["cpu"], worker_options=OPTIONS):
        worker, = wait_for(store.workers)
        assert worker.alive and worker.job is None and worker.device == "cpu"
