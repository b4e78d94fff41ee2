"""A home of 200 MB that jobs and others fill: jobs fail with the reason, nothing that is stored is lost."""

from __future__ import annotations

import os
import time

import pytest

from jobs.failures import DISK_FULL
from storage.silence import LEASE_S
from tests.crash.checks import steps_done
from tests.crash.served import App, wait_for
from tests.small_disk import fill, small_disk
from tests.storage.given import add_data, add_model, run_spec


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "200m") as folder:
        yield folder


def test_a_home_on_a_full_disk_says_so_loses_nothing_and_goes_on(tmp_path, disk, database):
    app = App(tmp_path, disk / "home", database)
    store = app.open_store()
    model, data = add_model(store), add_data(store)

    def queue(action: str, seed: int) -> int:
        return store.submit(run_spec(store, model=model, data=data, seed=seed), name=action)

    try:
        app.start()
        wait_for(app.is_ready, "the app is ready")
        first, second, third = queue("steps 5", 0), queue("outgrow-disk raise", 1), queue("steps 5", 2)
        wait_for(lambda: store.job(third).ended is not None, "the queue goes on")
        assert [store.job(job).state for job in (first, second, third)] == ["done", "failed", "done"]
        check_reported(store, second)

        running = queue("steps 200", 3)
        wait_for(lambda: steps_done(store, running) > 5, "the job runs")
        fill(disk)  # somebody else does; where the database lies there too, nothing can be written down any more
        time.sleep(LEASE_S + 5)
        worker = app.worker()
        assert worker is not None and app.process.poll() is None
        os.unlink(disk / "ballast")
        wait_for(lambda: store.job(running).ended is not None, "the job ends once there is room")
        assert app.worker().pid == worker.pid, "a full disk ends no worker"
        if store.job(running).state == "failed":
            check_reported(store, running)
            store.retry(running)
        wait_for(lambda: store.job(running).state == "done", "the job is done once there is room")
        for job_id in (first, third, running):
            digest = store.result(job_id).files["bundle.zip"]
            assert store.files.path(digest).read_bytes().startswith(b"bundle of")
    finally:
        app.stop()
        wait_for(app.is_gone, "every process ends with the app")
        store.close()


def check_reported(store, job_id: int) -> None:
    failure = store.job(job_id).failure
    assert failure.kind == DISK_FULL and "full" in failure.message and "Free some space" in failure.next_step
