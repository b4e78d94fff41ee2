"""A worker with real child processes: what it saves, what it retries, what it ends and why."""

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs.environment import job_environment
from jobs.failures import DISK_FULL, KILLED, OUT_OF_MEMORY
from jobs.perform import KINDS
from jobs.processes import is_running
from jobs.worker import Worker, assignment, work
from storage.machine import Machine
from storage.narrowing import EVERY_WORKSPACE
from tests.test_imports import ROOT, imported

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by signals")


def wait_for(condition, seconds: float = 120.0):
    """The first true answer, looked for every 20 ms."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError("nothing happened in time")


@pytest.fixture
def working(worker):
    """The worker at work in a thread, stopped at the end."""
    thread = threading.Thread(target=work, args=(worker,))
    thread.start()
    yield worker
    worker.stop.set()
    thread.join(120)
    assert not thread.is_alive()


def test_a_job_is_done_its_result_and_file_are_stored_and_its_folder_is_tidied(store, worker, queue):
    job_id = queue("steps 3")
    assert work(worker, once=True) == 1
    job = store.job(job_id)
    assert (job.state, job.attempt, job.device) == ("done", 1, "cpu")
    assert store.files.path(store.result(job_id).files["bundle.zip"]).read_bytes() == b"bundle of 0"
    assert os.listdir(store.job_folder(job_id)) == ["log.txt"]
    log = store.log_path(job_id).read_text()
    assert "step 2" in log and "Saved." in log


def test_a_child_sees_its_model_its_threads_and_no_gpu_on_the_cpu(store, worker, queue):
    job_id = queue("inspect")
    work(worker, once=True)
    seen = next(line for line in store.log_path(job_id).read_text().splitlines() if line.startswith("SEEN"))
    assert seen == "SEEN {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'} ['config.json'] False"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's order of ending processes is Linux's")
def test_short_of_memory_the_kernel_ends_the_child_before_its_worker(store, worker, queue):
    job_id = queue("be-judged")
    work(worker, once=True)
    assert "SEEN 500\n" in store.log_path(job_id).read_text()


def test_a_child_is_given_what_it_needs_of_the_environment_and_no_secret(store, worker, queue, monkeypatch):
    secrets = {"DATABASE_URL": "postgresql://someone:password@host/db", "AWS_SECRET_ACCESS_KEY": "k", "API_TOKEN": "t",
               "HTTPS_PROXY": "http://someone:password@proxy", "PIP_INDEX_URL": "https://someone:password@index"}
    for name, value in (secrets | {"TZ": "Asia/Tokyo", "KMP_BLOCKTIME": "7"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    job_id = queue("inspect " + " ".join([*secrets, "TZ", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"]))
    work(worker, once=True)
    line = next(line for line in store.log_path(job_id).read_text().splitlines() if line.startswith("SEEN"))
    seen = ast.literal_eval(line.removeprefix("SEEN ").split("}")[0] + "}")
    assert {name: seen[name] for name in secrets} == dict.fromkeys(secrets)
    # threads sleep while they wait, unless the person who runs the app said otherwise
    assert (seen["OMP_WAIT_POLICY"], seen["GOMP_SPINCOUNT"], seen["KMP_BLOCKTIME"]) == ("PASSIVE", "1000", "7")
    assert seen["TZ"] == "Asia/Tokyo"


def test_a_job_that_fetches_is_told_how_to_reach_the_network_and_not_the_database():
    given = {"PATH": "/bin", "https_proxy": "http://proxy", "PIP_INDEX_URL": "https://index", "DATABASE_URL": "d"}
    assert {"https_proxy", "PIP_INDEX_URL"} <= set(job_environment("sample", threads=1, given=given))
    for kind in KINDS:
        assert "DATABASE_URL" not in job_environment(kind, threads=1, given=given)


def test_a_child_never_loads_what_opens_the_database():
    code = ("import sys, jobs.child, jobs.perform, ui.server.split_file; "
            "print([name for name in ('sqlalchemy', 'storage.engine', 'storage.store') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for path in ("jobs/child.py", "jobs/perform.py", "ui/server/split_file.py"):  # nor later, inside a function
        assert not imported(ROOT / path) & {"storage.store", "storage.engine", "sqlalchemy"}


def test_a_killed_child_goes_on_from_its_checkpoint(store, working, queue):
    job_id = queue("steps 20")
    wait_for(lambda: (store.job(job_id).progress or 0) and store.job(job_id).progress.done >= 5)
    log = store.log_path(job_id)
    os.kill(int(log.read_text().split("process ")[1].split(".")[0]), signal.SIGKILL)
    wait_for(lambda: store.job(job_id).state == "done")
    done = [line for line in log.read_text().splitlines() if line.startswith("step ")]
    assert store.job(job_id).attempt == 2
    assert len(done) <= 21  # the step it was killed in is done twice, no other
    assert "killed by SIGKILL" in log.read_text()


def test_a_child_that_dies_every_time_fails_after_three_tries_with_the_signal(store, worker, queue):
    job_id = queue("die SIGSEGV")
    work(worker, once=True)
    job = store.job(job_id)
    assert (job.state, job.attempt, job.failure.kind) == ("failed", 3, KILLED)
    assert "SIGSEGV" in job.failure.message


def test_a_child_that_dies_once_is_done_at_the_second_try(store, worker, queue):
    job_id = queue("die-once")
    work(worker, once=True)
    assert (store.job(job_id).state, store.job(job_id).attempt) == ("done", 2)


@pytest.mark.parametrize(("action", "kind", "said", "next_step"), [
    ("refuse", "DataError", "Column 'user' is not in ratings.csv", "Datasets page"),
    ("break-down", "KeyError", "no such layer", "log"),
    ("exhaust-memory", OUT_OF_MEMORY, "ran out of memory: Unable to allocate 80.0 GiB", "smaller batch size"),
    ("fill-disk", DISK_FULL, "The disk is full", "Free some space"),
])
def test_what_would_come_again_ends_the_job_at_once_with_cause_and_next_step(
        store, worker, queue, action, kind, said, next_step):
    job_id, after = queue(action), queue("steps 1")
    work(worker, once=True)
    job = store.job(job_id)
    assert (job.state, job.attempt, job.failure.kind) == ("failed", 1, kind)
    assert said in job.failure.message and next_step in job.failure.next_step
    assert store.job(after).state == "done"  # the worker goes on
    if action != "refuse":
        assert "Traceback" in store.log_path(job_id).read_text()


def test_cancel_ends_a_child_that_ignores_it_and_all_it_started(store, working, queue):
    job_id = queue("stubborn")
    grandchild = store.job_folder(job_id) / "work" / "grandchild"
    wait_for(lambda: grandchild.exists() and grandchild.read_text())
    pid = int(grandchild.read_text())
    store.cancel(job_id)
    wait_for(lambda: store.job(job_id).state == "cancelled")
    wait_for(lambda: not is_running(pid))
    assert os.listdir(store.job_folder(job_id)) == ["log.txt"]


def test_a_stopping_worker_gives_its_job_back_and_another_goes_on(store, worker, queue):
    job_id = queue("steps 40")
    thread = threading.Thread(target=work, args=(worker,))
    thread.start()
    wait_for(lambda: store.job(job_id).progress)
    worker.stop.set()
    thread.join(120)
    assert store.job(job_id).state == "queued"
    assert store.workers() == []
    work(Worker(Machine(store.opened), "cpu", worker.executor), once=True)
    assert store.job(job_id).state == "done"
    steps = [line for line in store.log_path(job_id).read_text().splitlines() if line.startswith("step ")]
    assert len(steps) <= 41


def test_a_child_whose_worker_lost_the_lease_is_stopped_and_saves_nothing(store, worker, queue):
    job_id = queue("steps 100")
    thread = threading.Thread(target=work, args=(worker,), kwargs={"once": True})
    thread.start()
    wait_for(lambda: store.job(job_id).progress)
    with store.database.writing(EVERY_WORKSPACE) as session:
        session.connection().exec_driver_sql("UPDATE jobs SET worker = 'another', attempt = 2")
    thread.join(120)
    job = store.job(job_id)
    assert (job.worker, job.state, job.result_ready) == ("another", "running", False)


def test_an_outcome_that_was_ready_when_the_worker_died_is_saved_without_doing_it_again(store, worker, queue):
    job_id = queue("steps 2")
    job = store.claim("dead", "cpu")
    child = worker.executor.start(assignment(store, job))
    assert child.wait(120) and child.failure() is None
    with store.database.writing(EVERY_WORKSPACE) as session:
        session.connection().exec_driver_sql("UPDATE jobs SET beats = NULL")
    work(worker, once=True)
    assert store.job(job_id).state == "done"
    assert store.log_path(job_id).read_text().count("step 0") == 1


def test_what_an_earlier_attempt_left_running_is_killed_before_the_next(store, worker, queue):
    job_id = queue("stubborn")
    job = store.claim("w", "cpu")
    left = worker.executor.start(assignment(store, job))
    grandchild = store.job_folder(job_id) / "work" / "grandchild"
    wait_for(lambda: grandchild.exists() and grandchild.read_text())
    pid = int(grandchild.read_text())
    again = worker.executor.start(assignment(store, job))
    assert left.wait(120)
    wait_for(lambda: not is_running(pid))
    again.stop()


def test_a_job_does_not_begin_in_a_folder_that_was_left_under_its_number(store, worker, queue):
    job_id = queue("steps 3")
    (store.job_folder(job_id) / "work").mkdir(parents=True)
    (store.job_folder(job_id) / "work" / "step").write_text("3")  # the checkpoint of a database since restored
    work(worker, once=True)
    assert store.log_path(job_id).read_text().count("step ") == 3


def test_what_a_worker_and_its_jobs_write_is_for_the_owner_alone(store, queue):
    job_id = queue("die SIGSEGV")
    (store.home / "jobs").chmod(0o755)
    command = [sys.executable, "-m", "jobs.worker", "--once", "--device", "cpu", "--threads", "1",
               "--perform", "tests.jobs.fake:perform"]
    environment = {**os.environ, "RECPRESS_HOME": str(store.home)}
    environment.pop("DATABASE_URL", None)
    subprocess.run(command, env=environment, check=True, umask=0o022, cwd=Path(__file__).parents[2])
    written = [store.job_folder(job_id), *store.job_folder(job_id).rglob("*")]
    assert len(written) > 2 and [path for path in written if path.stat().st_mode & 0o077] == []
