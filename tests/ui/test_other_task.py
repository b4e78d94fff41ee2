"""Pages go by the task of the dataset: here one whose first metric is the log loss."""

from __future__ import annotations

import pytest

from compression.spec.task import DEFAULT_TASK, TASKS
from tests.ui import filled
from tests.ui.app import open_page, texts
from tests.ui.filled import filled_home


@pytest.fixture
def ids(home, monkeypatch):
    monkeypatch.setitem(TASKS._all(), "chances", TASKS[DEFAULT_TASK].model_copy(update={
        "key": "chances", "title": "Chances", "metrics": ("logloss", "auc"), "tolerance": 0.01}))
    usual = filled.data_description
    monkeypatch.setattr(filled, "data_description", lambda: usual().model_copy(update={"task": "chances"}))
    return filled_home(home)


def test_the_verdict_and_the_figures_of_a_run_are_in_its_first_metric(ids):
    app = open_page("run", id=ids["int8 all"])
    assert not app.exception
    assert "log loss +0.0003 (no worse within 0.01, 95 %)" in texts(app)
    figures = {figure.label: figure.delta for figure in app.metric}
    assert figures["Log loss"] == "+0.0003, no worse within 0.01" and "AUC" not in figures


def test_compare_starts_with_it_and_recommends_by_it(ids):
    app = open_page("compare")
    assert not app.exception and not app.warning
    assert app.selectbox(key="compare.y").value == "logloss"
    assert "lose at most 0.01 Log loss" in texts(app)
    assert app.number_input(key="compare.loss").label == "Log loss lost, at most"
    picked = texts(open_page("compare", pick=ids["int8 all"]))
    assert picked.count("log loss +0.0003 (no worse within 0.01, 95 %)") >= 1


def test_home_and_the_list_of_runs_name_it(ids):
    assert "Log loss" in next(one.value for one in open_page("home").markdown if "**Recommended**" in one.value)
    assert "Log loss +0.0003" in set(open_page("runs").dataframe[0].value["Quality"])
