"""The contract of executors, for their tests to inherit. It starts real jobs, which take no torch and no store.

    class TestRay(ExecutorContract):
        def executor(self, perform: str) -> Executor:
            return RayExecutor(device="cpu", threads=1, perform=perform)
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from compression.spec.errors import DataError
from compression.spec.records import Progress, Recipe, Report, RunSpec
from jobs.executor import Executor, Running
from jobs.records import Assignment
from storage.records import Outcome

PERFORM = "jobs.testing:perform"
SECRET = "DATABASE_URL"
PATIENCE_S = 240.0  # on a machine that others use too
Answer = TypeVar("Answer")


def perform(assignment: Assignment, report: Report) -> Outcome:
    """What a job of the contract does is its name."""
    ACTIONS[assignment.name](assignment, report)
    return Outcome(code_version=os.environ.get(SECRET, "no secret"))


def _count(assignment: Assignment, report: Report) -> None:
    for done in range(1, 4):
        print("counted", done, flush=True)
        report(Progress(stage="count", done=done, total=3))


def _tick(assignment: Assignment, report: Report) -> None:
    """Never end, and show it: a file grows, and each tick is a new stage."""
    while True:
        with open(assignment.work / "ticks", "a") as ticks:
            ticks.write(".")
        report(Progress(stage=f"tick {time.monotonic()}"))
        time.sleep(0.05)


def _compute(assignment: Assignment, report: Report) -> None:
    while True:
        pass


def _refuse(assignment: Assignment, report: Report) -> None:
    raise DataError("Column 'user' is not in ratings.csv; it has: uid, item.")


def _vanish(assignment: Assignment, report: Report) -> None:
    os._exit(7)


ACTIONS: dict[str, Callable[[Assignment, Report], None]] = {
    "count": _count, "tick": _tick, "compute": _compute, "refuse": _refuse, "vanish": _vanish}


def assigned(folder: Path, action: str) -> Assignment:
    """A job of the contract, whose folder is not made yet."""
    spec = RunSpec(model="0" * 64, data="1" * 64, recipe=Recipe(name=action))
    return Assignment(job=1, name=action, spec=spec, files=str(folder / "files"), folder=str(folder / "job"))


def wait_for(condition: Callable[[], Answer], running: Running) -> Answer:
    """The first true answer while an attempt runs."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        assert not running.wait(0.05), f"the job ended: {running.failure()}"
    raise AssertionError(f"nothing within {PATIENCE_S:.0f} s")


class ExecutorContract(ABC):
    """What every executor promises; see jobs.executor."""

    @abstractmethod
    def executor(self, perform: str) -> Executor:
        """The executor to hold to it, whose jobs call the function "module:function"."""

    def start(self, folder: Path, action: str) -> tuple[Assignment, Running]:
        given = assigned(folder, action)
        return given, self.executor(PERFORM).start(given)

    def finished(self, folder: Path, action: str) -> tuple[Assignment, Running]:
        given, running = self.start(folder, action)
        assert running.wait(PATIENCE_S)
        return given, running

    def test_a_job_that_ends_well_leaves_its_outcome_and_no_failure(self, tmp_path):
        given, running = self.finished(tmp_path, "count")
        assert running.failure() is None
        assert Outcome.model_validate_json(given.outcome.read_bytes()).code_version

    def test_what_a_job_prints_is_in_its_log(self, tmp_path):
        given, running = self.finished(tmp_path, "count")
        assert "counted 3" in given.log.read_text() and running.log == given.log

    def test_what_a_job_reports_is_known_after_its_end(self, tmp_path):
        _, running = self.finished(tmp_path, "count")
        assert running.progress is not None and running.progress.stage == "count"

    def test_a_refusal_has_its_kind_and_sentence_and_would_come_again(self, tmp_path):
        given, running = self.finished(tmp_path, "refuse")
        failure, may_help = running.failure()
        assert (failure.kind, may_help) == ("DataError", False) and "uid, item" in failure.message
        assert not given.outcome.exists()

    def test_a_job_that_ends_without_a_word_may_be_tried_again(self, tmp_path):
        given, running = self.finished(tmp_path, "vanish")
        failure, may_help = running.failure()
        assert may_help and failure.message and failure.next_step
        assert not given.outcome.exists()

    def test_a_job_at_work_says_where_and_how_far_it_is(self, tmp_path):
        _, running = self.start(tmp_path, "tick")
        first = wait_for(lambda: running.progress, running)
        wait_for(lambda: running.progress != first, running)
        assert running.name and not running.wait(0)
        running.stop()

    def test_a_stopped_job_does_no_more_and_leaves_no_outcome(self, tmp_path):
        given, running = self.start(tmp_path, "tick")
        ticks = given.work / "ticks"
        wait_for(ticks.exists, running)
        running.stop()
        assert running.wait(PATIENCE_S)
        before = ticks.stat().st_size
        time.sleep(0.5)
        assert ticks.stat().st_size == before and not given.outcome.exists()
        running.stop()

    def test_the_processor_time_of_a_job_that_reports_nothing_grows(self, tmp_path):
        _, running = self.start(tmp_path, "compute")
        before = running.processor_seconds()
        wait_for(lambda: running.processor_seconds() > before + 0.5, running)
        running.stop()

    def test_another_attempt_keeps_the_work_and_forgets_the_outcome(self, tmp_path):
        given = assigned(tmp_path, "tick")
        given.work.mkdir(parents=True)
        (given.work / "checkpoint").write_text("3")
        given.outcome.write_text("{}")
        running = self.executor(PERFORM).start(given)
        assert (given.work / "checkpoint").read_text() == "3" and not given.outcome.exists()
        running.stop()

    def test_another_attempt_ends_what_is_left_of_the_one_before(self, tmp_path):
        given, left = self.start(tmp_path, "tick")
        wait_for((given.work / "ticks").exists, left)
        again = self.executor(PERFORM).start(given)
        assert left.wait(PATIENCE_S)
        assert not again.wait(0)
        again.stop()

    def test_a_job_is_given_no_secret_of_the_app(self, tmp_path, monkeypatch):
        monkeypatch.setenv(SECRET, "postgresql://someone:password@host/db")
        given, _ = self.finished(tmp_path, "count")
        assert Outcome.model_validate_json(given.outcome.read_bytes()).code_version == "no secret"

    def test_a_folder_that_cannot_be_written_is_an_oserror(self, tmp_path):
        (tmp_path / "job").write_text("a file where the folder should be")
        try:
            self.start(tmp_path, "count")
        except OSError:
            return
        raise AssertionError("the job started")
