"""Latency in pairs: a model against itself is 1, a slower one is slower, and the pool is drawn from the rows."""

from __future__ import annotations

import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from compression.data.dataset import Rows
from compression.measure import latency, latency_round
from compression.measure import pairs as measure_pairs
from compression.measure.latency import ROUNDS, draw_batches, measure_latency
from compression.measure.latency_round import Part, Round, read_times
from compression.measure.pairs import Pairs, clock_of, opened, over_rounds, paired_ratio, pool_size, time_pairs
from compression.spec.errors import MeasureError
from compression.spec.records import Progress, Target
from tests.measure.graphs import table_file


class Sleeper:
    """Stands for a bound batch: advances a clock of its own by a given time."""

    def __init__(self, clock: list[float], seconds):
        self.clock, self.seconds = clock, seconds

    def run(self) -> None:
        self.clock[0] += self.seconds()


def timed(model, baseline, *, max_pairs=200, min_pairs=60, seconds=8.0, seed=0) -> Pairs:
    clock = [0.0]
    return time_pairs([Sleeper(clock, model)], [Sleeper(clock, baseline)], max_pairs=max_pairs, min_pairs=min_pairs,
                      seconds=seconds, clock=lambda: clock[0], generator=np.random.default_rng(seed),
                      report=lambda progress: None)


def six_rounds(model, baseline) -> list[Pairs]:
    return [timed(model, baseline, seed=seed) for seed in range(6)]


def test_a_file_twice_as_slow_has_the_ratio_two():
    random = np.random.default_rng(0)
    value, low, high = paired_ratio(six_rounds(lambda: random.gamma(20, 0.2), lambda: random.gamma(20, 0.1)))
    assert low < value < high and low < 2.0 < high and high - low < 0.3


def test_a_model_against_itself_is_one_even_if_whoever_comes_second_is_faster():
    random = np.random.default_rng(2)
    turn = [0]

    def second_is_faster():
        turn[0] += 1
        return random.gamma(50, 0.02) * (0.5 if turn[0] % 2 == 0 else 1.0)

    value, low, high = paired_ratio(six_rounds(second_is_faster, second_is_faster))
    assert low <= 1.0 <= high and value == pytest.approx(1.0, abs=0.05)


def test_a_session_that_happens_to_be_slow_widens_the_interval_instead_of_moving_it():
    random = np.random.default_rng(4)
    rounds = []
    for seed in range(6):
        luck = 1.02 if seed % 2 else 0.98  # of the file's session in this round
        rounds.append(timed(lambda luck=luck: luck * random.gamma(500, 0.01), lambda: random.gamma(500, 0.01),
                            seed=seed))
    value, low, high = paired_ratio(rounds)
    assert low < 1.0 < high and value == pytest.approx(1.0, abs=0.01) and high - low > 0.02


def test_each_comes_first_in_half_of_the_pairs_in_random_order():
    first = timed(lambda: 1.0, lambda: 1.0, max_pairs=200).model_first
    assert first.sum() == 100
    assert 60 < (first[1:] != first[:-1]).sum() < 140


def test_sixty_pairs_are_taken_even_if_time_is_up_and_no_more_then():
    assert len(timed(lambda: 1.0, lambda: 1.0, seconds=0.0).model) == 60


def test_of_slow_requests_few_are_bound_and_few_are_timed(monkeypatch):
    assert pool_size(2e-4, 512, min_pairs=10, seconds=1.3) == 512
    assert pool_size(0.03, 512, min_pairs=10, seconds=1.3) == 43
    assert pool_size(0.3, 512, min_pairs=10, seconds=1.3) == 10
    assert pool_size(1.0, 512, min_pairs=10, seconds=1.3) == 6
    assert pool_size(9.0, 512, min_pairs=10, seconds=1.3) == 2 and pool_size(9.0, 1, min_pairs=10, seconds=1.3) == 1
    monkeypatch.setattr(measure_pairs, "MOST_SECONDS", 0.0)
    assert len(timed(lambda: 1.0, lambda: 1.0, seconds=8.0).model) == 2


@pytest.mark.slow
def test_the_exported_model_against_itself_is_close_to_one(dataset, exported):
    target = Target(batch_sizes=(1, 64))
    own, base = measure_latency(exported, exported, dataset.splits["test"], target, seed=0, seconds=1.5,
                                report=lambda progress: None)
    ratios = {item.batch_size: item for item in own if item.metric == "latency_ratio"}
    for item in ratios.values():
        assert item.n >= 60 and item.ci_low <= item.value <= item.ci_high
        assert abs(item.value - 1) < 0.15 and item.sessions == ROUNDS
    assert Counter(item.metric for item in base) == {"latency_p50_ms": 2, "latency_p95_ms": 2, "throughput": 2}
    by_key = {(item.metric, item.batch_size): item for item in own}
    p50, p95, rate = (by_key[metric, 64] for metric in ("latency_p50_ms", "latency_p95_ms", "throughput"))
    assert p50.ci_low <= p50.value <= p50.ci_high and p50.value <= p95.value
    assert rate.value == pytest.approx(64e3 / p50.value)
    assert (p50.runtime, p50.device, p50.threads) == ("onnxruntime", "cpu", 1) and p50.spread >= 0


@pytest.mark.slow
def test_a_wider_table_is_slower_than_a_narrow_one(tmp_path):
    (tmp_path / "wide").mkdir()
    wide = table_file(tmp_path / "wide" / "model.onnx", np.ones((2000, 512), np.float32))
    narrow = table_file(tmp_path / "model.onnx", np.ones((2000, 4), np.float32))
    rows = Rows({"ids": np.arange(2000)}, np.zeros(2000, np.float32), None)
    own, _ = measure_latency(wide, narrow, rows, Target(batch_sizes=(512,)), seed=0, seconds=0.5,
                             report=lambda progress: None)
    assert own[-1].ci_low > 1.5


def test_requests_are_rows_of_the_data_in_the_data_s_own_frequencies():
    rows = Rows({"ids": np.repeat([3, 8], [900, 100]), "x": np.repeat([0.3, 0.8], [900, 100]).astype(np.float32)},
                np.zeros(1000, np.float32), None)
    batches = draw_batches(rows, 64, np.random.default_rng(0))
    assert batches["ids"].shape == batches["x"].shape == (32, 64)
    ids, values = batches["ids"].ravel(), batches["x"].ravel()
    assert set(ids.tolist()) == {3, 8} and 0.85 < (ids == 3).mean() < 0.95
    assert ((ids == 3) == (values < 0.5)).all(), "a request keeps the columns of a row together"


def test_a_pool_of_huge_batches_stays_small_in_memory(monkeypatch):
    monkeypatch.setattr(latency, "_POOL_BYTES", 10_000)
    rows = Rows({"ids": np.zeros(10, np.int64)}, np.zeros(10, np.float32), None)
    assert len(draw_batches(rows, 400, np.random.default_rng(0))["ids"]) == 3


@pytest.mark.slow
def test_progress_tells_pairs_rate_and_time_left(dataset, exported):
    told = []
    measure_latency(exported, exported, dataset.splits["test"], Target(batch_sizes=(256,)), seed=0, seconds=1.2,
                    report=told.append)
    assert told and all(item.unit == "pairs" and item.rate > 0 for item in told)
    assert told[-1].message == "batch size 256, round 6 of 6"


def test_one_thread_is_timed_by_its_own_clock_and_several_by_the_wall():
    assert clock_of(Target(threads=1)) is time.thread_time
    assert clock_of(Target(threads=2)) is clock_of(Target(device="cuda")) is time.perf_counter


@pytest.mark.slow
def test_every_round_is_a_process_of_its_own_and_both_files_come_first_in_half_of_them(dataset, exported, monkeypatch):
    processes, asked = [], []
    popen, real = latency.subprocess.Popen, latency.time_round

    def noted(wanted: Round, folder, report):
        asked.append(wanted)
        real(wanted, folder, report)
        begins = [part.begin for part in wanted.parts]
        assert begins == [sum(len(read_times(folder, part.batch_size, number).model) for number in range(wanted.number))
                          for part in wanted.parts]

    def opened(*command, **options):
        processes.append(popen(*command, **options))
        return processes[-1]

    monkeypatch.setattr(latency, "time_round", noted)
    monkeypatch.setattr(latency.subprocess, "Popen", opened)
    own, base = measure_latency(exported, exported, dataset.splits["test"], Target(batch_sizes=(1, 8)), seed=0,
                                seconds=0.0, report=lambda progress: None)
    assert len({child.pid for child in processes}) == ROUNDS
    assert [wanted.number for wanted in asked] == list(range(ROUNDS))  # swapped by the parity of the number
    assert {item.sessions for item in own + base} == {ROUNDS} and {item.n for item in own + base} == {60}


def test_what_differs_from_round_to_round_widens_every_interval_and_what_differs_inside_does_not():
    def interval(values):
        _, low, high = over_rounds(values)
        return high - low

    assert interval([1.0, 1.1] * 3) > 5 * interval([1.0, 1.01] * 3) > 0
    value, low, high = over_rounds([2.0, 2.2, 1.9, 2.1, 2.0, 1.8])
    logs = np.log([2.0, 2.2, 1.9, 2.1, 2.0, 1.8])
    assert value == pytest.approx(np.exp(logs.mean()))
    assert np.log(high / low) / 2 == pytest.approx(2.5706 * logs.std(ddof=1) / np.sqrt(6), rel=1e-3)
    assert low < value < high


def test_a_file_that_cannot_be_opened_is_the_sentence_of_the_runtime(tmp_path, dataset, exported):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(MeasureError, match=r"^model.onnx can't be opened by ONNX Runtime"):
        measure_latency(broken, exported, dataset.splits["test"], Target(), seed=0, report=lambda progress: None)


def test_a_report_that_fails_ends_the_process_that_was_timing(dataset, exported, monkeypatch):
    children = []
    popen = latency.subprocess.Popen
    monkeypatch.setattr(latency.subprocess, "Popen", lambda *a, **b: children.append(popen(*a, **b)) or children[-1])

    def cancel(progress: Progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_latency(exported, exported, dataset.splits["test"], Target(), seed=0, report=cancel)
    assert len(children) == 1 and children[0].returncode is not None


def test_no_rows_is_a_sentence(exported):
    rows = Rows({"ids": np.zeros(0, np.int64)}, np.zeros(0, np.float32), None)
    with pytest.raises(MeasureError, match="Latency needs at least one row"):
        measure_latency(exported, exported, rows, Target(), seed=0, report=lambda progress: None)


def test_the_intervals_of_p50_and_throughput_are_those_of_the_rounds(dataset, exported, monkeypatch):
    seconds = [1.0e-3, 1.1e-3] * (ROUNDS // 2)
    first = np.arange(10) % 2 == 0
    monkeypatch.setattr(latency, "time_round", lambda asked, folder, report: None)
    monkeypatch.setattr(latency, "read_times", lambda folder, size, number: Pairs(
        np.full(10, seconds[number]), np.full(10, 1e-3), first))
    own, base = measure_latency(exported, exported, dataset.splits["test"], Target(batch_sizes=(8,)), seed=0,
                                report=lambda progress: None)
    p50, p95, throughput, ratio = own
    assert p50.spread == p95.spread == pytest.approx(0.1) and ratio.spread == pytest.approx(0.1)  # ms; of the baseline
    value, low, high = over_rounds(seconds)
    assert p50.value == pytest.approx(1.05) and p50.ci_low < 1.0 and p50.ci_high > 1.1
    assert (p50.ci_low / p50.value, p50.ci_high / p50.value) == pytest.approx((low / value, high / value))
    assert (throughput.ci_low, throughput.ci_high) == pytest.approx((8e3 / p50.ci_high, 8e3 / p50.ci_low))
    assert base[0].ci_low == pytest.approx(1.0) == base[0].ci_high


def test_the_file_that_is_opened_first_changes_with_every_round(tmp_path, monkeypatch):
    swapped = []

    def opened(model, baseline, target, *, swapped: bool, seen=swapped):
        seen.append(swapped)
        return None, None

    monkeypatch.setattr(latency_round, "opened", opened)
    for number in range(4):
        asked = Round(number=number, model=tmp_path, baseline=tmp_path, target=Target(), seed=0, parts=())
        (tmp_path / latency_round.ROUND).write_text(asked.model_dump_json())
        assert latency_round.main(tmp_path) == 0
    assert swapped == [False, True, False, True]


def test_who_is_bound_first_and_who_is_timed_first_change_with_every_round(tmp_path, monkeypatch):
    bound, draws, sizes = [], [], set()

    def binding(name):
        def bind(batches):
            bound.append(name)
            sizes.add(len(batches))

        return SimpleNamespace(bind=bind, answer=lambda batch: None)

    def timed_with(own, its, *, generator, **options):
        draws.append(generator.random())
        return Pairs(np.ones(2), np.ones(2), np.array([True, False]))

    monkeypatch.setattr(latency_round, "opened", lambda *given, swapped: (binding("model"), binding("baseline")))
    monkeypatch.setattr(latency_round, "time_pairs", timed_with)
    part = Part(batch_size=4, begin=0, max_pairs=2, min_pairs=1, seconds=0.0)
    np.savez(tmp_path / "4.npz", ids=np.zeros((3, 4), np.int64))
    for number in range(4):
        asked = Round(number=number, model=tmp_path, baseline=tmp_path, target=Target(), seed=0, parts=(part,))
        (tmp_path / latency_round.ROUND).write_text(asked.model_dump_json())
        assert latency_round.main(tmp_path) == 0
    assert bound == ["model", "baseline", "baseline", "model"] * 2 and len(set(draws)) == 4
    assert sizes == {2}  # of three: no more are bound than a round without seconds times


def test_sessions_that_are_opened_in_the_other_order_are_given_back_in_this_one(exported, tmp_path):
    (tmp_path / "other").mkdir()
    other = table_file(tmp_path / "other" / "model.onnx", np.ones((50, 4), np.float32))
    for swapped in (False, True):
        model, baseline = opened(exported, other, Target(), swapped=swapped)
        assert baseline.input_names == ["ids"] != model.input_names
