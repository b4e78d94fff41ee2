"""The winner keeps every limit, and the sentence says which limits and why nothing else."""

import pytest

from compression.tasks.recommend import Limits, recommend
from compression.tasks.verdict import sentence
from tests.plots.points import run

RUNS = [run(1, 10, 0.7995, 4.0), run(2, 5, 0.797, 3.0), run(3, 30, 0.7999, 2.0), run(9, 100, 0.8, 10.0, families="")]


def test_the_smallest_run_inside_the_limits_wins_and_the_reason_names_them():
    found = recommend(RUNS, Limits(max_loss=0.001, max_latency_ms=5))
    assert found.winner == 1
    assert found.meets == {1, 3}
    assert "smallest of 2 runs that lose at most 0.001 AUC and answer within 5 ms at batch 512" in found.why


def test_the_goal_decides_among_those_that_meet():
    assert recommend(RUNS, Limits(max_loss=0.001, goal="latency")).winner == 3
    assert recommend(RUNS, Limits(goal="quality")).winner == 3
    assert recommend(RUNS, Limits()).winner == 2


def test_proof_asks_for_the_whole_interval():
    unsure = [run(1, 10, 0.7995, half=0.002), run(2, 20, 0.7995, half=0.0003)]
    assert recommend(unsure, Limits(max_loss=0.001)).winner == 1
    assert recommend(unsure, Limits(max_loss=0.001, proven=True)).winner == 2


def test_without_a_winner_the_limits_that_stop_runs_are_counted_and_the_nearest_named():
    found = recommend(RUNS, Limits(max_loss=0.0001, max_size_bytes=6e6))
    assert found.winner is None
    assert "No run of 3 keeps every limit" in found.why
    assert "2 lose too much" in found.why and "2 are too large" in found.why
    assert "Nearest is run" in found.why


def test_a_number_that_was_not_measured_breaks_its_limit():
    assert recommend([run(1, 10)], Limits(max_loss=0.001)).winner is None
    assert recommend([run(1, 10, 0.8)], Limits(max_latency_ms=5)).winner is None


def test_the_baseline_is_never_recommended():
    assert recommend([RUNS[-1]], Limits()).winner is None


def test_a_verdict_says_smaller_faster_and_whether_the_quality_holds():
    text = sentence("int8 rows", run(1, 10, 0.7997, 5.0).values)
    assert text == "int8 rows: 10.0× smaller, 2.0× faster at batch 512, AUC −0.0003 (no worse within 0.001, 95 %)."


@pytest.mark.parametrize("limit", ["max_loss", "max_latency_ms", "max_size_bytes"])
def test_a_limit_of_zero_is_a_limit_and_the_nearest_run_is_named(limit):
    found = recommend(RUNS, Limits(**{limit: 0.0}))
    assert found.winner is None and found.meets == frozenset()
    assert "No run of 3 keeps every limit: 3" in found.why and "Nearest is run" in found.why


def test_the_nearest_run_of_a_limit_of_zero_is_the_one_that_is_least_beyond():
    assert "Nearest is run 2" in recommend(RUNS, Limits(max_size_bytes=0.0)).why
    assert "Nearest is run 3" in recommend(RUNS, Limits(max_latency_ms=0.0)).why


def test_a_run_without_loss_keeps_a_limit_of_zero_loss():
    assert recommend([run(1, 10, 0.8), run(2, 5, 0.7)], Limits(max_loss=0.0)).winner == 1
