"""Runs and Run in each state: empty, busy, failed, full; and what every page says while there is nothing."""

import pytest

from tests.ui.app import open_page, texts
from tests.ui.filled import store_at


@pytest.mark.parametrize(("page", "words"), [
    ("experiment", "Nothing to compress yet"), ("runs", "Nothing has run yet"), ("compare", "No finished run yet"),
    ("run", "No run chosen"),
])
def test_an_empty_page_says_what_to_do_first(home, page, words):
    app = open_page(page)
    assert not app.exception
    assert words in texts(app)


def test_a_finished_run_opens_with_its_verdict_and_figures(ids):
    app = open_page("run", id=ids["int8 all"])
    assert not app.exception
    assert "3.7× smaller, 1.6× faster at batch 512, AUC −0.0003 (no worse within 0.001, 95 %)" in texts(app)
    figures = {figure.label: (figure.value, figure.delta) for figure in app.metric}
    assert figures["Size on disk"] == ("513 kB", "3.7× less, better")
    assert figures["AUC"] == ("0.7909", "−0.0003, no worse within 0.001")
    assert "19 rows are fewer than 100" in str([frame.value.to_dict() for frame in app.dataframe])


def test_a_failed_run_shows_cause_next_step_and_log(ids):
    app = open_page("run", id=ids["failed"])
    assert not app.exception
    assert "disagrees with torch by 0.2" in texts(app) and "Lower the sparsity" in texts(app)
    assert "check parity" in app.code[0].value
    assert [button.label for button in app.button] == ["Clone", "Retry"]


def test_retry_queues_a_failed_run_again(ids, home):
    app = open_page("run", id=ids["failed"])
    next(button for button in app.button if button.label == "Retry").click().run()
    assert store_at(home).job(ids["failed"]).state == "queued"


def test_a_running_run_shows_stage_rate_and_time_left_and_can_be_cancelled(ids, home):
    app = open_page("run", id=ids["active2"])
    assert not app.exception
    assert "41.0k rows/s · 1 min 35 s left" in app.get("progress")[0].proto.text
    next(button for button in app.button if button.label == "Cancel").click().run()
    assert store_at(home).job(ids["active2"]).cancel_asked


def test_a_run_that_is_gone_is_told(home):
    assert "There is no job 77" in texts(open_page("run", id=77))


def test_the_list_of_runs_reads_its_filters_from_the_address(ids):
    app = open_page("runs", state="failed")
    assert not app.exception
    rows = app.dataframe[0].value
    assert list(rows["State"]) == ["failed"]
    assert "disagrees with torch" in rows["Note"].iloc[0]
    app = open_page("runs", q="int4")
    assert list(app.dataframe[0].value["#"]) == [ids["int4 all"]]


def test_a_filter_is_written_to_the_address(ids):
    app = open_page("runs")
    app.text_input(key="runs.q").set_value("student").run()
    assert app.query_params["q"] == "student" or app.query_params["q"] == ["student"]
    assert list(app.dataframe[0].value["#"]) == [ids["student"]]


def test_filters_that_match_nothing_say_so(ids):
    assert "No job matches" in texts(open_page("runs", q="no such name"))
