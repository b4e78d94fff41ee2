"""The workers of an app: one set a home, restarted, ended with it."""

import os
import signal
from types import SimpleNamespace

import pytest

from jobs import supervise
from jobs.processes import is_running
from jobs.supervise import held, supervised
from storage.silence import LEASE_S, Silence
from tests.jobs.test_worker import wait_for
from tests.storage.given import Clock

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


@pytest.fixture
def hand(tmp_path, monkeypatch):
    """A worker that the supervisor watches, without a process: what it writes to `signs` are its signs of life."""
    clock = Clock()
    hand = supervise._Hand(tmp_path, "cpu", 1, [])
    hand._log.parent.mkdir()
    hand._silence = Silence(clock, longest_gap_s=LEASE_S)
    hand._signs, hand.signs = os.pipe()
    os.set_blocking(hand._signs, False)

    def silent_within(seconds: float) -> bool:
        for _ in range(int(seconds // 5)):
            clock.now += 5
            if hand._is_silent(SimpleNamespace(pid=1)):
                return True
        return False

    hand.silent_within = silent_within
    yield hand
    os.close(hand._signs)
    os.close(hand.signs)


def test_a_worker_may_take_minutes_until_its_first_sign_and_then_a_few_leases(hand):
    assert not hand.silent_within(supervise.START_S - 10)
    os.write(hand.signs, b".")
    assert not hand.silent_within(supervise.SILENT_S)  # the first look saw the sign
    assert hand.silent_within(5)


def test_a_worker_that_never_gives_a_sign_is_replaced_in_the_end(hand):
    assert not hand.silent_within(supervise.START_S)
    assert hand.silent_within(5)
    assert "gave no sign of life for 600 s" in hand._log.read_text()


def test_workers_share_the_processors_and_the_home_is_tidied_up(store, monkeypatch):
    monkeypatch.setattr(supervise, "cpu_count", lambda: 8)
    threads, swept, looked, asked = [], [], [], []

    class Hand:
        def __init__(self, home, device, n_threads, options):
            threads.append(n_threads)

        def keep(self):
            asked.append(1)
            if len(asked) == 6:  # three times both
                supervisor._stop.set()
            return True

        def ask_to_end(self):
            pass

        def end(self, seconds):
            pass

    supervisor = supervise.Supervisor(devices=["cuda:0", "cuda:1"])
    monkeypatch.setattr(supervise, "_Hand", Hand)
    monkeypatch.setattr(supervise, "POLL_S", 0.0)
    monkeypatch.setattr(store, "sweep", lambda: swept.append(1))
    monkeypatch.setattr(store, "drop_dead_workers", looked.append)
    supervisor._supervise(store)
    assert threads == [4, 4] and len(swept) == 1  # a day has not passed since
    assert looked == [is_running] * 3
