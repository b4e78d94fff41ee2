"""The contract of executors, held to two of them; and a worker over another one than that of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from compression.spec.errors import StorageError
from compression.spec.records import Failure, Progress
from jobs.executor import LOCAL, Executor, open_executor
from jobs.limits import STANDSTILL, STOOD_STILL
from jobs.local import LocalExecutor
from jobs.records import CACHE_BYTES, Assignment
from jobs.testing import ExecutorContract
from jobs.worker import Worker, assignment, do_job, work
from storage.machine import Machine
from storage.narrowing import EVERY_WORKSPACE
from storage.records import Outcome
from tests.jobs.other_executor import OtherExecutor
from tests.storage.given import result_of
from tests.test_imports import ROOT, imported

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by signals")
OTHER = "tests.jobs.other_executor:OtherExecutor"
FAKE = "tests.jobs.fake:perform"


@pytest.fixture(autouse=True)
def plain_main(monkeypatch):
    """A process that multiprocessing spawns runs the program of its parent: a page, after a test that drew one."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))


class TestLocalExecutor(ExecutorContract):
    def executor(self, perform: str) -> Executor:
        return LocalExecutor(device="cpu", threads=1, perform=perform)


class TestAnotherExecutor(ExecutorContract):
    def executor(self, perform: str) -> Executor:
        return OtherExecutor(device="cpu", threads=1, perform=perform)


class Scripted:
    """An executor and its one job, which ends as the test says."""

    name = "a script"

    def __init__(self, *, ended=lambda: True, failed: tuple[Failure, bool] | None = None, used_s=lambda: 0.0) -> None:
        self.ended, self.failed, self.processor_seconds = ended, failed, used_s
        self.started: list[Assignment] = []
        self.stopped = 0

    def start(self, assignment: Assignment) -> Scripted:
        self.started.append(assignment)
        self.log = assignment.log
        self.log.parent.mkdir(parents=True, exist_ok=True)
        return self

    @property
    def progress(self) -> Progress:
        return Progress(stage="scripted", done=7)

    def wait(self, seconds: float) -> bool:
        if not self.ended():
            return False
        if self.failed is None:
            assignment = self.started[-1]
            assignment.outcome.write_text(Outcome(result=result_of(assignment.spec)).model_dump_json())
        return True

    def failure(self) -> tuple[Failure, bool] | None:
        return self.failed

    def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
def no_pause(monkeypatch):
    """The worker looks at the database each time it looks at its job."""
    monkeypatch.setattr("jobs.worker.BEAT_S", 0.0)


def test_a_worker_does_a_job_with_another_executor_and_its_log_says_where(store, queue):
    job_id = queue("steps 3")
    work(Worker(Machine(store.opened), "cpu", OtherExecutor(device="cpu", threads=1, perform=FAKE)), once=True)
    job = store.job(job_id)
    assert (job.state, job.attempt) == ("done", 1)
    assert store.files.path(store.result(job_id).files["bundle.zip"]).read_bytes() == b"bundle of 0"
    log = store.log_path(job_id).read_text()
    assert "step 2" in log and "spawned process" in log and "Saved." in log


def test_the_executor_of_a_worker_is_an_option_of_its_command(store, queue):
    job_id = queue("steps 2")
    command = [sys.executable, "-m", "jobs.worker", "--once", "--device", "cpu", "--threads", "1", "--perform", FAKE]
    environment = {**os.environ, "RECPRESS_HOME": str(store.home)}
    environment.pop("DATABASE_URL", None)
    subprocess.run([*command, "--executor", OTHER], env=environment, check=True, cwd=ROOT)
    assert store.job(job_id).state == "done" and "spawned process" in store.log_path(job_id).read_text()
    wrong = subprocess.run([*command, "--executor", "jobs.local:NoSuch"], env=environment, cwd=ROOT,
                           capture_output=True, text=True)
    assert wrong.returncode == 2 and "--executor: 'jobs.local:NoSuch' names nothing" in wrong.stderr


def test_the_executor_of_this_machine_is_the_one_that_is_opened_by_default():
    opened = open_executor(LOCAL, device="cuda:1", threads=3, perform=FAKE)
    assert opened == LocalExecutor(device="cuda:1", threads=3, perform=FAKE)


@pytest.mark.parametrize("name", ["worker", "limits", "executor", "testing"])
def test_only_the_local_executor_knows_how_jobs_run_on_this_machine(name):
    assert not imported(ROOT / "jobs" / f"{name}.py") & {"jobs.local", "jobs.child", "psutil", "subprocess"}


def test_a_failure_is_tried_again_where_the_executor_says_that_it_may_help(store, queue):
    failure = Failure(kind="Preempted", message="The node went away.", next_step="Retry.")
    for may_help, attempts in ((True, 3), (False, 1)):
        executor = Scripted(failed=(failure, may_help))
        job_id = queue("scripted")
        work(Worker(Machine(store.opened), "cpu", executor), once=True)
        job = store.job(job_id)
        assert (job.state, job.attempt, job.failure.message) == ("failed", attempts, "The node went away.")
        assert len(executor.started) == attempts


def test_what_an_attempt_reports_reaches_the_store_and_a_cancelled_one_is_stopped(store, queue, no_pause):
    job_id = queue("scripted")
    executor = Scripted(ended=lambda: store.cancel(job_id) == "done")  # it goes on, and is cancelled
    work(Worker(Machine(store.opened), "cpu", executor), once=True)
    job = store.job(job_id)
    assert (job.state, executor.stopped) == ("cancelled", 1)
    assert job.progress.done == 7 and not Path(executor.started[0].folder, "outcome.json").exists()


def test_an_attempt_without_processor_time_stands_still_and_one_that_uses_some_does_not(store, queue, no_pause):
    store.set_setting(STANDSTILL.key, 0.3 / 60)
    still, done = queue("scripted"), queue("scripted too")
    end = time.monotonic() + 1.5
    idle = Scripted(ended=lambda: False)
    busy = Scripted(ended=lambda: time.monotonic() > end, used_s=count(0.0, 1.0).__next__)
    for job_id, executor in ((still, idle), (still, idle), (done, busy)):
        worker = Worker(Machine(store.opened), "cpu", executor)
        job = store.claim(worker.name, "cpu")
        assert job.id == job_id
        do_job(worker, job)
    assert (store.job(still).state, store.job(still).failure.kind, idle.stopped) == ("failed", STOOD_STILL, 2)
    assert (store.job(done).state, busy.stopped) == ("done", 0)


def test_an_attempt_whose_lease_is_lost_is_stopped_at_once(store, queue, no_pause):
    job_id, looks = queue("scripted"), count()

    def taken() -> bool:
        with store.database.writing(EVERY_WORKSPACE) as session:
            session.connection().exec_driver_sql("UPDATE jobs SET worker = 'another', attempt = 2")
        return next(looks) > 5

    executor = Scripted(ended=taken)
    work(Worker(Machine(store.opened), "cpu", executor), once=True)
    job = store.job(job_id)
    assert executor.stopped == 1 and next(looks) == 1
    assert (job.worker, job.state, job.result_ready) == ("another", "running", False)


@pytest.mark.parametrize(("lease_s", "stopped"), [(0.0, 1), (1000.0, 0)])
def test_without_the_database_an_attempt_goes_on_for_a_lease_and_no_longer(store, queue, no_pause, monkeypatch, lease_s,
                                                                            stopped):
    def refused(*given, **options):
        raise StorageError("The database is locked.")

    queue("scripted")
    monkeypatch.setattr(Machine, "heartbeat", refused)
    monkeypatch.setattr("jobs.worker.LEASE_S", lease_s)
    looks = count()
    executor = Scripted(ended=lambda: next(looks) > 5)
    work(Worker(Machine(store.opened), "cpu", executor), once=True)
    assert executor.stopped == stopped


def test_a_worker_gives_signs_of_life_while_a_job_runs(store, queue, no_pause, monkeypatch):
    monkeypatch.setattr("jobs.worker.SIGN_S", 0.0)
    read, write = os.pipe()
    looks = count()
    worker = Worker(Machine(store.opened), "cpu", Scripted(ended=lambda: next(looks) >= 7), sign_to=write)
    queue("scripted")
    do_job(worker, store.claim(worker.name, "cpu"))
    os.close(write)
    assert len(os.read(read, 100)) >= 7
    os.close(read)


def test_a_job_is_told_the_limit_of_the_cache_that_is_set(store, queue):
    store.set_setting(CACHE_BYTES, 12345)
    queue("scripted")
    assert assignment(store, store.claim("w", "cpu")).cache_bytes == 12345
