"""A home that is started with another database keeps every file, says what is wrong, and works again with its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.crash.checks import check_done_once
from tests.crash.served import App, wait_for
from tests.postgresql import own_schema
from tests.storage.given import add_data, add_model, run_spec

MONTH_S = 30 * 24 * 3600.0


def test_a_home_started_with_other_databases_loses_nothing(tmp_path, postgresql):
    home = tmp_path / "home"
    own = App(tmp_path, home)
    store = own.open_store()
    model, data = add_model(store), add_data(store)
    job_id = store.submit(run_spec(store, model=model, data=data), name="steps 10")
    run(own, lambda: store.job(job_id).state == "done", "the job is done")
    store.close()
    age(home)
    before = contents(home)
    assert before, "models, data and the run's bundle are stored"

    with own_schema(postgresql) as other:
        for url in (f"sqlite:///{tmp_path / 'other.db'}", other):
            app = App(tmp_path, home, url)
            elsewhere = app.open_store()
            number = elsewhere.submit(run_spec(elsewhere, seed=7), name="steps 5")
            run(app, lambda opened=elsewhere, job=number: opened.job(job).state == "done", "it works for itself")
            assert "another database" in elsewhere.home_notice()
            assert "belongs to another database" in app.log.read_text()
            elsewhere.close()
            app.log.unlink()
            assert before.items() <= contents(home).items(), f"files are gone under {url.partition(':')[0]}"
            age(home)

    store = own.open_store()
    after = store.submit(run_spec(store, model=model, data=data, seed=1), name="steps 10")
    run(own, lambda: store.job(after).state == "done", "the first database goes on")
    assert store.home_notice() is None
    check_done_once(store, [job_id, after], 10)
    store.close()


def run(app: App, until, what: str) -> None:
    """Start the app, wait for something and for its sweep at the start, end it."""
    app.start()
    try:
        wait_for(app.is_ready, "the app is ready")
        wait_for(until, what)
    finally:
        app.stop()
    wait_for(app.is_gone, "every process ends with the app")


def age(home: Path) -> None:
    """Make everything a month old, as if it had lain there: a sweep leaves what is new."""
    then = time.time() - MONTH_S
    for path in home.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def contents(home: Path) -> dict[str, bytes]:
    """What is stored for good: artifacts, and the logs of jobs."""
    return {str(path.relative_to(home)): path.read_bytes() for folder in ("files/objects", "jobs")
            for path in (home / folder).rglob("*") if path.is_file()}
