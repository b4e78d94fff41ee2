"""Better and worse follow the direction of the metric; times and shares read like speech."""

import pytest

from ui.shared.format import ago, direction, percent, plural
from ui.shared.state import plain_query


def test_more_auc_is_better_and_more_milliseconds_are_worse():
    assert direction("auc", 0.81, 0.80) == "better"
    assert direction("latency_p50_ms@1", 2.0, 1.0) == "worse"


def test_a_difference_too_small_to_read_is_neither_better_nor_worse():
    assert direction("auc", 0.800001, 0.8) == "same"
    assert direction("size_bytes", 10, 94) == "better"


def test_a_number_that_was_not_measured_has_no_difference():
    assert direction("auc", None, 0.8) is None
    assert percent(None) == "—"


@pytest.mark.parametrize(("seconds", "text"), [(5, "just now"), (125, "2 min ago"), (7300, "2 h ago"),
                                               (90000, "1 day ago"), (400000, "4 days ago")])
def test_times_are_said_in_their_largest_unit(seconds, text):
    assert ago(1_000_000 - seconds, now=1_000_000) == text


def test_one_run_is_singular_and_many_have_separators():
    assert [plural(count, "run") for count in (0, 1, 1200)] == ["0 runs", "1 run", "1,200 runs"]


def test_a_query_joins_lists_and_leaves_out_what_is_absent():
    assert plain_query({"id": 12, "runs": [1, 2], "state": None, "none": []}) == {"id": "12", "runs": "1,2"}
