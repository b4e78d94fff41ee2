"""What a description of data leaves open is what its task has, field by field."""

from __future__ import annotations

import pytest

from compression.spec.data_description import DataDescription, Label, Split
from compression.spec.task import DEFAULT_TASK, TASKS


@pytest.fixture(autouse=True)
def dwell(monkeypatch):
    """A task whose defaults are not those of the fields."""
    monkeypatch.setitem(TASKS._all(), "dwell", TASKS[DEFAULT_TASK].model_copy(update={
        "key": "dwell", "split": "user_time", "positive_from": 30.0}))


def described(**given) -> DataDescription:
    return DataDescription(name="d", files={"all": "d.csv"}, columns=(), task="dwell",
                           **{"label": {"column": "seconds"}} | given)


def test_all_of_it(dwell):
    assert described().split == Split(kind="user_time")
    assert described().label == Label(column="seconds", at_least=30.0)


@pytest.mark.parametrize("split", [{"test": 0.2}, Split(test=0.2)], ids=["as written", "as a record"])
def test_a_split_given_in_part_is_of_the_kind_of_the_task(split):
    assert described(split=split).split == Split(kind="user_time", test=0.2)


@pytest.mark.parametrize("label", [{"column": "s"}, Label(column="s")], ids=["as written", "as a record"])
def test_a_label_without_a_threshold_has_that_of_the_task(label):
    assert described(label=label).label == Label(column="s", at_least=30.0)


def test_what_is_said_stays():
    found = described(split={"kind": "random"}, label={"column": "s", "at_least": 1.0})
    assert found.split == Split(kind="random") and found.label.at_least == 1.0


def test_what_was_read_is_written_and_read_alike():
    found = described(split={"test": 0.2})
    assert DataDescription.model_validate_json(found.model_dump_json()) == found
