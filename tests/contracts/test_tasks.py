"""Every task that is registered keeps the contract of tasks; what a task names and there isn't is an error."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from compression.data.description import make_description
from compression.spec.errors import DataError, ModelError
from compression.spec.task import DEFAULT_TASK, TASKS
from compression.testing.task import TaskContract, described
from compression.train.losses import task_loss
from compression.train.validation import validation_scores

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("key", list(TASKS), scope="class")
class TestTasks(TaskContract):
    @pytest.fixture(autouse=True)
    def _of(self, key):
        type(self).key = key


@pytest.fixture
def other(monkeypatch):
    """Registers a copy of the default task under another key, with some of it changed."""

    def register(**changes):
        monkeypatch.setitem(TASKS._all(), "other", TASKS[DEFAULT_TASK].model_copy(update={"key": "other"} | changes))

    return register


def test_a_loss_that_there_is_not_is_named_with_those_there_are(other):
    other(loss="hope")
    with pytest.raises(ModelError, match="no loss 'hope', which the task other names; it is one of: binary_cross"):
        task_loss("other")


def test_a_metric_of_stopping_that_there_is_not_is_named_with_those_there_are():
    with pytest.raises(ModelError, match="no validation metric 'hope'; it is one of: auc, logloss"):
        validation_scores(("hope",), np.zeros(2), np.zeros(2))


def test_split_and_threshold_come_from_the_task_where_the_description_is_silent(other):
    other(split="random", positive_from=4.0)
    assert (described("other").split.kind, described("other").label.at_least) == ("random", 4.0)
    plain = described("other").model_dump(mode="json")
    said = plain | {"label": {"column": "label", "at_least": 2.0}, "split": {"kind": "time"}}
    read = make_description(said)
    assert (read.split.kind, read.label.at_least) == ("time", 2.0)


def test_a_task_that_is_measured_by_user_needs_a_user_column(other):
    other(unit="user")
    plain = described("other").model_dump(mode="json")
    columns = [column | {"role": "category" if column["role"] == "user" else column["role"]}
               for column in plain["columns"]]
    make_description(plain)
    with pytest.raises(DataError, match="measured user by user, and no column has the role user"):
        make_description(plain | {"columns": columns})


def test_no_file_but_its_own_and_the_default_name_a_task():
    own = {"compression/spec/task.py", *(f"compression/tasks/{path.name}" for path in
                                         (ROOT / "compression/tasks").glob("*.py"))}
    quoted = re.compile("|".join(f"[\"']{re.escape(key)}[\"']" for key in TASKS))
    naming = {path.relative_to(ROOT).as_posix() for room in ("compression", "jobs", "storage", "plots", "ui", "pages")
              for path in (ROOT / room).rglob("*.py") if quoted.search(path.read_text(encoding="utf-8"))}
    assert naming <= own
