"""Jobs that stand still or take too long are ended and say so; a job that computes is left alone, reports or not."""

import os

import pytest

from compression.spec.records import Progress
from jobs import limits
from jobs.limits import DURATION, STANDSTILL, STOOD_STILL, TIME_LIMIT, Watch
from jobs.worker import work
from tests.storage.given import Clock

pytestmark = pytest.mark.skipif(os.name != "posix", reason="stops processes by signals")


@pytest.fixture
def short(store):
    """A job of this store may stand still for three seconds."""
    store.set_setting(STANDSTILL.key, 3 / 60)


def test_a_suspended_job_is_ended_tried_once_more_and_then_fails_with_the_reason(store, worker, queue, short):
    job_id, after = queue("stop always"), queue("steps 1")
    work(worker, once=True)
    job = store.job(job_id)
    assert (job.state, job.attempt, job.failure.kind) == ("failed", 2, STOOD_STILL)
    assert "no progress for 3 seconds" in job.failure.message
    assert "Settings page" in job.failure.next_step and "retry" in job.failure.next_step
    assert "no progress for 3 seconds" in store.log_path(job_id).read_text()
    assert store.job(after).state == "done"


def test_a_job_suspended_once_is_done_at_the_second_try(store, worker, queue, short):
    job_id = queue("stop once")
    work(worker, once=True)
    assert (store.job(job_id).state, store.job(job_id).attempt) == ("done", 2)


def test_the_same_report_again_and_again_is_no_progress(store, worker, queue, short, monkeypatch):
    monkeypatch.setattr(limits, "LEAST_SHARE", 1 / 10)  # of a processor, which repeating takes on a slow machine
    job_id = queue("repeat")
    work(worker, once=True)
    assert store.job(job_id).failure.kind == STOOD_STILL


@pytest.mark.parametrize("action", ["compute 5", "compute 5 below"])
def test_a_job_that_computes_without_a_report_is_left_alone_in_whichever_process(store, worker, queue, short, action):
    job_id = queue(action)
    work(worker, once=True)
    assert (store.job(job_id).state, store.job(job_id).attempt) == ("done", 1)


def test_a_job_that_takes_too_long_is_ended_at_once_and_names_the_limit(store, worker, queue):
    store.set_setting(DURATION.key, 2 / 3600)
    job_id = queue("compute 600")
    work(worker, once=True)
    job = store.job(job_id)
    assert (job.state, job.attempt, job.failure.kind) == ("failed", 1, TIME_LIMIT)
    assert "longer than 2 seconds" in job.failure.message and "Settings page" in job.failure.next_step


class Watched:
    """A watch over a job of which the test says what it reports and computes, at a look every two seconds."""

    def __init__(self, store) -> None:
        self.clock, self.used_s = Clock(), 0.0
        self.watch = Watch(store, lambda: self.used_s, self.clock)

    def after(self, seconds, *, progress=None, used_s=0.0, every_s=2):
        """The failure, if one comes within so many seconds of a job that goes on like this."""
        for _ in range(seconds // every_s):
            self.clock.now += every_s
            self.used_s += used_s * every_s
            failure = self.watch.look(progress)
            if failure is not None:
                return failure
        return None


@pytest.fixture
def watched(store):
    return Watched(store)


def test_ten_minutes_without_a_new_report_or_processor_time_are_the_default(watched):
    assert watched.after(590) is None
    assert watched.after(30).kind == STOOD_STILL


def test_a_new_report_or_some_processor_time_starts_the_ten_minutes_anew(watched):
    for done in range(3):
        assert watched.after(590, progress=Progress(stage="train", done=done)) is None
    assert watched.after(6000, used_s=0.01) is None  # starved by its neighbours
    assert watched.after(620, used_s=0.0001).kind == STOOD_STILL  # a lock asked for now and then


def test_time_in_which_the_worker_itself_was_suspended_is_not_the_job_s(watched):
    assert watched.after(300) is None
    watched.clock.now += 8 * 3600
    assert watched.after(200) is None
    assert watched.after(120).kind == STOOD_STILL


def test_a_limit_that_is_raised_while_a_job_stands_still_holds_at_once(store, watched):
    assert watched.after(590) is None
    store.set_setting(STANDSTILL.key, 20)
    assert watched.after(590) is None
    assert watched.after(30).kind == STOOD_STILL


def test_no_time_limit_is_a_limit_of_zero(store, watched):
    store.set_setting(DURATION.key, 0)
    assert watched.after(9 * 24 * 3600, used_s=0.5, every_s=3600) is None
    store.set_setting(DURATION.key, 1)
    assert watched.after(60, used_s=0.5).kind == TIME_LIMIT


def test_a_limit_is_reached_at_its_very_second(store, watched):
    assert watched.after(600) is None  # the first look, after two seconds, saw something new
    assert watched.after(2).kind == STOOD_STILL


def test_a_time_limit_is_reached_at_its_very_second(store, watched):
    store.set_setting(DURATION.key, 1)
    assert watched.after(3594, used_s=0.5, every_s=6) is None
    assert watched.after(6, used_s=0.5, every_s=6).kind == TIME_LIMIT
