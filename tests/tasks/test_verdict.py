"""The headline of a run hides no loss: what it says in every situation, and that all places say the same."""

from __future__ import annotations

import pytest

from compression.spec.metrics import METRICS
from compression.spec.task import TASKS
from compression.spec.values import Value, values_of
from compression.tasks.recommend import Limits, recommend
from compression.tasks.verdict import judge, sentence, verdict_of
from tests.plots.points import FakePoint

TARGET = (1, 512)


def paired(value: float, difference: float, half: float | None) -> Value:
    """A score with its paired difference to the baseline; half None: the difference has no interval."""
    low, high = (None, None) if half is None else (difference - half, difference + half)
    return Value(value, difference=difference, difference_low=low, difference_high=high, baseline=value - difference)


def ratio(value: float, half: float | None = 0.02) -> Value:
    return Value(value) if half is None else Value(value, value - half, value + half)


def good(**other: Value | None) -> dict[str, Value]:
    """A run that is smaller, faster at both batch sizes and as good; `other` replaces numbers (None takes one away).
    In the names of metrics "_at_" stands for "@"."""
    values = {"size_bytes": Value(25e6, baseline=100e6), "auc": paired(0.8, -0.0001, 0.0004),
              "logloss": paired(0.48, 0.0001, 0.0004), "latency_ratio@1": ratio(0.9), "latency_ratio@512": ratio(0.5)}
    values |= {key.replace("_at_", "@"): value for key, value in other.items()}
    return {key: value for key, value in values.items() if value is not None}


SIZE, SPEED, AUC = "4.0× smaller", "2.0× faster at batch 512", "AUC −0.0001 (no worse within 0.001, 95 %)"
SITUATIONS = {
    "nothing is worse": (good(), f"{SIZE}, {SPEED}, {AUC}"),
    "slower at one batch size": (
        good(latency_ratio_at_1=ratio(1.4), latency_ratio_at_512=ratio(0.91)),
        f"{SIZE}, 9 % faster at batch 512 but 40 % slower at batch 1, {AUC}"),
    "slower at the largest batch size alone": (
        good(latency_ratio_at_512=ratio(1.2)), f"{SIZE}, 20 % slower at batch 512, {AUC}"),
    "slower at every batch size": (
        good(latency_ratio_at_1=ratio(2.0), latency_ratio_at_512=ratio(1.2)),
        f"{SIZE}, 20 % slower at batch 512 and 2.0× slower at batch 1, {AUC}"),
    "as fast at the largest, slower at the smallest": (
        good(latency_ratio_at_1=ratio(1.1), latency_ratio_at_512=ratio(1.01)),
        f"{SIZE}, as fast at batch 512 but 10 % slower at batch 1, {AUC}"),
    "slower within what two sessions of one file differ": (
        good(latency_ratio_at_1=ratio(1.025, 0.01)), f"{SIZE}, {SPEED}, {AUC}"),
    "slower by little more than two sessions of one file differ": (
        good(latency_ratio_at_1=ratio(1.04, 0.005)), f"{SIZE}, {SPEED} but 4 % slower at batch 1, {AUC}"),
    "slower within the interval": (
        good(latency_ratio_at_1=ratio(1.05, 0.1)),
        f"{SIZE}, {SPEED}, speed not settled at batch 1 (0.95 to 1.15 of the time, 95 %), {AUC}"),
    "faster within the interval": (
        good(latency_ratio_at_512=ratio(0.9, 0.2)),
        f"{SIZE}, speed not settled at batch 512 (0.70 to 1.10 of the time, 95 %), {AUC}"),
    "slower, and the ratio has no interval": (
        good(latency_ratio_at_1=ratio(1.4, None)), f"{SIZE}, {SPEED} but 40 % slower at batch 1, {AUC}"),
    "not timed at a batch size of the target": (
        good(latency_ratio_at_1=None), f"{SIZE}, {SPEED}, speed not measured at batch 1, {AUC}"),
    "an old run has medians and no ratio": (
        good(latency_ratio_at_1=None, latency_p50_ms_at_1=Value(1.4, baseline=1.0)),
        f"{SIZE}, {SPEED} but 40 % slower at batch 1, {AUC}"),
    "not timed at all": (
        good(latency_ratio_at_1=None, latency_ratio_at_512=None), f"{SIZE}, speed not measured, {AUC}"),
    "log loss is worse at equal AUC": (
        good(auc=paired(0.8, 0.0, 0.0), logloss=paired(0.54, 0.058, 0.002)),
        f"{SIZE}, {SPEED}, AUC ±0.0000 (the same scores) but log loss +0.0580 (worse by 0.0560 to 0.0600, 95 %)"),
    "log loss is better": (good(logloss=paired(0.4, -0.08, 0.002)), f"{SIZE}, {SPEED}, {AUC}"),
    "log loss may be worse": (good(logloss=paired(0.49, 0.01, 0.02)), f"{SIZE}, {SPEED}, {AUC}"),
    "log loss is worse by little, beyond doubt": (
        good(logloss=paired(0.48, 0.00004, 0.00001)),
        f"{SIZE}, {SPEED}, {AUC} but log loss +0.00004 (worse by 0.00003 to 0.00005, 95 %)"),
    "log loss is worse by less than any table shows": (
        good(logloss=paired(0.48, 0.000004, 0.000001)), f"{SIZE}, {SPEED}, {AUC}"),
    "GAUC is worse": (
        good(gauc=paired(0.7, -0.004, 0.002)),
        f"{SIZE}, {SPEED}, {AUC} but GAUC −0.0040 (worse by 0.0020 to 0.0060, 95 %)"),
    "three metrics are worse": (
        good(gauc=paired(0.7, -0.004, 0.002), hit_rate_10=paired(0.6, -0.02, 0.01),
             calibration_error=paired(0.03, 0.01, 0.005)),
        f"{SIZE}, {SPEED}, {AUC} but GAUC −0.0040 (worse by 0.0020 to 0.0060, 95 %), HR@10 −0.0200 (worse by 0.0100 to "
        "0.0300, 95 %) and calibration error +0.0100 (worse by 0.0050 to 0.0150, 95 %)"),
    "calibration is worse and has no interval": (
        good(calibration_error=paired(0.03, 0.01, None)),
        f"{SIZE}, {SPEED}, {AUC} but calibration error +0.0100 (no interval)"),
    "calibration is hardly worse and has no interval": (
        good(calibration_error=paired(0.03, 0.0005, None)), f"{SIZE}, {SPEED}, {AUC}"),
    "an old run has no paired difference": (
        good(logloss=Value(0.54, baseline=0.48)), f"{SIZE}, {SPEED}, {AUC} but log loss +0.0600 (no interval)"),
    "an old run lacks a metric": (good(logloss=None), f"{SIZE}, {SPEED}, {AUC}"),
    "AUC is worse": (
        good(auc=paired(0.79, -0.01, 0.002)),
        f"{SIZE}, {SPEED}, AUC −0.0100 (worse by more than 0.001, 95 %)"),
    "AUC and log loss are worse": (
        good(auc=paired(0.79, -0.01, 0.002), logloss=paired(0.54, 0.058, 0.002)),
        f"{SIZE}, {SPEED}, AUC −0.0100 (worse by more than 0.001, 95 %) and log loss +0.0580 (worse by 0.0560 to "
        "0.0600, 95 %)"),
    "AUC is better": (good(auc=paired(0.81, 0.01, 0.002)), f"{SIZE}, {SPEED}, AUC +0.0100 (better, 95 %)"),
    "AUC is not settled": (
        good(auc=paired(0.79, -0.002, 0.004)),
        f"{SIZE}, {SPEED}, AUC −0.0020 (not settled by these rows: −0.0060 to +0.0020, 95 %)"),
    "AUC has no interval": (good(auc=paired(0.79, -0.01, None)), f"{SIZE}, {SPEED}, AUC −0.0100 (no interval)"),
    "AUC was not measured": (good(auc=None), f"{SIZE}, {SPEED}, AUC not measured"),
    "the file is larger": (
        good(size_bytes=Value(130e6, baseline=100e6)), f"30 % larger, {SPEED}, {AUC}"),
    "memory is worse": (
        good(resident_bytes=Value(160e6, baseline=100e6)),
        f"{SIZE} but memory after load 1.6× larger, {SPEED}, {AUC}"),
    "memory is worse within what two loads differ": (
        good(resident_bytes=Value(103e6, baseline=100e6)), f"{SIZE}, {SPEED}, {AUC}"),
    "memory is worse by little more than two loads differ": (
        good(resident_bytes=Value(107e6, baseline=100e6)), f"{SIZE} but memory after load 7 % larger, {SPEED}, {AUC}"),
    "file and download are larger": (
        good(size_bytes=Value(200e6, baseline=100e6), download_bytes=Value(120e6, baseline=100e6)),
        f"2.0× larger and download size 20 % larger, {SPEED}, {AUC}"),
    "size was not measured": (good(size_bytes=None), f"size not measured, {SPEED}, {AUC}"),
    "more parameters are no loss": (good(parameters=Value(9e6, baseline=1e6)), f"{SIZE}, {SPEED}, {AUC}"),
    "the export disagrees with the model": (
        good(parity_error=Value(0.2)), f"{SIZE}, {SPEED}, {AUC} but scores up to 0.2 from those before the export"),
    "the export agrees with the model layer by layer": (
        good(parity_error=Value(0.06), layer_parity_error=Value(1e-6)), f"{SIZE}, {SPEED}, {AUC}"),
    "the baseline itself": (
        good(size_bytes=Value(100e6, baseline=100e6), auc=paired(0.8, 0.0, 0.0), logloss=paired(0.48, 0.0, 0.0),
             latency_ratio_at_1=ratio(1.0), latency_ratio_at_512=ratio(1.0)),
        "the same size, as fast at batch 512, AUC ±0.0000 (the same scores)"),
    "nothing was measured": ({}, "nothing to compare with the baseline"),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_headline_of_every_situation(name):
    values, expected = SITUATIONS[name]
    assert sentence("int8", values, batch_sizes=TARGET) == f"int8: {expected}."


@pytest.mark.parametrize("key", TASKS["ctr"].metrics)
def test_every_quality_metric_that_is_worse_is_named_in_its_own_direction(key):
    worse = -0.05 if METRICS[key].higher_is_better else 0.05
    lost, won = (sentence("x", good(**{key: paired(0.5, sign * worse, 0.01)}), batch_sizes=TARGET) for sign in (1, -1))
    assert f"{METRICS[key].title} {'−' if worse < 0 else '+'}0.0500 (worse by".lower() in lost.lower()
    assert "worse by" not in won


@pytest.mark.parametrize("spec", [spec for spec in METRICS.values() if spec.group == "size" and spec.kind == "bytes"],
                         ids=lambda spec: spec.key)
def test_every_figure_in_bytes_that_grew_is_a_loss(spec):
    found = verdict_of(good(**{spec.key: Value(2e9, baseline=1e9)}), batch_sizes=TARGET)
    assert any("2.0× larger" in words for words in found.losses)


def test_losses_are_the_words_of_the_sentence():
    found = verdict_of(good(latency_ratio_at_1=ratio(1.4), gauc=paired(0.7, -0.004, 0.002)), batch_sizes=TARGET)
    assert found.losses == ("40 % slower at batch 1", "GAUC −0.0040 (worse by 0.0020 to 0.0060, 95 %)")
    assert all(words in found.text for words in found.losses)
    assert verdict_of(good(), batch_sizes=TARGET).losses == ()


def test_without_a_target_the_batch_sizes_are_those_that_were_timed():
    assert sentence("x", good(latency_ratio_at_1=None)) == f"x: {SIZE}, {SPEED}, {AUC}."


def test_the_judgement_follows_the_interval_not_the_number():
    def judged(low, high):
        return judge("auc", Value(0.8, difference=(low + high) / 2, difference_low=low, difference_high=high), 0.001)

    assert judged(0.0001, 0.002).standing == "better"
    assert judged(-0.0009, 0.002).words == "no worse within 0.001, 95 %"
    assert judged(-0.003, -0.0011).words == "worse by more than 0.001, 95 %"
    assert judged(-0.003, -0.0001).words == "worse by 0.0001 to 0.0030, 95 %"
    assert judged(-0.003, 0.001).standing == "unclear"
    assert judge("auc", None, 0.001).standing == "unmeasured"


def test_where_lower_is_better_the_signs_turn():
    value = Value(0.5, difference=0.003, difference_low=0.002, difference_high=0.004)
    assert judge("logloss", value, 0.001).standing == "worse"


def candidate(job_id: int, **other: Value | None) -> FakePoint:
    return FakePoint(job_id, f"run {job_id}", "embed", good(**other))


def test_a_run_that_is_slower_at_a_batch_size_of_the_target_is_recommended_only_where_that_is_allowed():
    runs = [candidate(1, size_bytes=Value(5e6, baseline=100e6), latency_ratio_at_1=ratio(1.4)), candidate(2)]
    found = recommend(runs, Limits(max_loss=0.001, batch_sizes=TARGET))
    assert (found.winner, found.meets) == (2, {2})
    assert "1 run is left out: slower than the baseline at a batch size of the target." in found.why
    allowed = recommend(runs, Limits(max_loss=0.001, batch_sizes=TARGET, slower=True))
    assert allowed.winner == 1 and "40 % slower at batch 1" in allowed.why and "left out" not in allowed.why


@pytest.mark.parametrize("goal", ["size", "latency", "quality"])
def test_no_goal_alone_takes_a_slower_run(goal):
    best = candidate(1, size_bytes=Value(1e6, baseline=100e6), auc=paired(0.9, 0.1, 0.001),
                     latency_ratio_at_1=ratio(1.4), latency_ratio_at_512=ratio(0.1))
    assert recommend([best, candidate(2)], Limits(goal=goal, batch_sizes=TARGET)).winner == 2


def test_a_run_that_was_not_timed_where_the_target_asks_is_left_out_and_said():
    found = recommend([candidate(1, latency_ratio_at_1=None, size_bytes=Value(1e6, baseline=100e6)), candidate(2)],
                      Limits(batch_sizes=TARGET))
    assert found.winner == 2 and "1 run is left out: not timed at every batch size of the target." in found.why


def test_where_all_are_slower_nothing_is_recommended_and_the_nearest_says_where():
    found = recommend([candidate(1, latency_ratio_at_1=ratio(1.4)), candidate(2, latency_ratio_at_1=ratio(1.1))],
                      Limits(batch_sizes=TARGET))
    assert found.winner is None
    assert "2 are slower than the baseline at a batch size of the target" in found.why
    assert "Nearest is run 2: 10 % slower at batch 1." in found.why


def test_a_slower_run_within_its_interval_may_be_recommended_and_the_sentence_says_it_is_open():
    found = recommend([candidate(1, latency_ratio_at_1=ratio(1.05, 0.1))], Limits(batch_sizes=TARGET))
    assert found.winner == 1 and "speed not settled at batch 1" in found.why


def test_store_page_and_card_read_the_same_numbers_of_a_result(tmp_path):
    from storage.access import LOCAL_ACCESS
    from storage.store import open_store
    from tests.ui.filled import fill

    store = open_store(LOCAL_ACCESS, url=f"sqlite:///{tmp_path / 'r.db'}", root=tmp_path)
    ids = fill(store, failed=False, active=False)
    job = store.job(ids["student"])
    point = next(one for one in store.points(job.model, job.data) if one.job_id == job.id)
    assert point.values == values_of(store.result(job.id))
    store.close()
