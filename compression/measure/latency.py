"""Latency of an exported file beside its baseline: timed in pairs, in random order, in one process.

Both files get the same requests, drawn from the data's own rows, so that ids are as skewed as in the data. A pool of
batches is used in turn: one batch would stay in the cache, and make every table look fast.

Two sessions of one and the same file differ by up to a hundredth for as long as they live, however many pairs are
taken. So both files are opened anew in each of six rounds, in turned order, and the interval is that of the six rounds.

Clock: on the CPU with one thread, the CPU time of that thread, which a busy neighbour cannot stretch; with more threads
or on CUDA, wall time, as the work happens outside the calling thread. Memory is warm either way: every batch is
answered once before the clock starts. On CUDA the copies from and to host memory are included.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compression.data.dataset import Rows
from compression.errors import MeasureError
from compression.measure.runtimes.onnxruntime import KEY, Bound, Session, open_session
from compression.records import Measurement, Progress, Report, Target

ROUNDS = 6
MIN_PAIRS = 60  # over all rounds, as are the numbers below
MAX_PAIRS = {1: 2000}  # by batch size
MAX_PAIRS_OTHERWISE = 600
SECONDS = 8.0  # a batch size, for the pairs after MIN_PAIRS
_POOL = {1: 512}
_POOL_OTHERWISE = 32
_POOL_BYTES = 256 << 20
_REPORT_SECONDS = 0.5
_T = 2.5706  # 97.5 % point of Student's t with ROUNDS − 1 degrees of freedom


@dataclass(frozen=True)
class Pairs:
    """One round: seconds of the file and of the baseline in each pair (P,), and where the file came first (P,) bool."""

    model: np.ndarray
    baseline: np.ndarray
    model_first: np.ndarray


def measure_latency(
    path: Path, baseline_path: Path, rows: Rows, target: Target, *, seed: int, report: Report, seconds: float = SECONDS
) -> tuple[list[Measurement], list[Measurement]]:
    """p50, p95, throughput and ratio to the baseline at each batch size; and the same, without ratio, of the baseline.

    n counts pairs; spread is the interquartile range. Raises MeasureError if a file can't be run on the target.
    """
    if len(rows) == 0:
        raise MeasureError("Latency needs at least one row to ask for; the split is empty.")
    clock = clock_of(target)
    pools = {size: draw_batches(rows, size, np.random.default_rng([seed, size])) for size in target.batch_sizes}
    rounds: dict[int, list[Pairs]] = {size: [] for size in target.batch_sizes}
    for number in range(ROUNDS):
        model, baseline = opened(path, baseline_path, target, swapped=bool(number % 2))
        for size, pool in pools.items():
            # the pool goes on where the round before stopped
            begun = sum(len(pairs.model) for pairs in rounds[size])
            batches = [pool[(begun + place) % len(pool)] for place in range(len(pool))]
            rounds[size].append(time_pairs(
                model.bind(batches), baseline.bind(batches), max_pairs=-(-_max_pairs(size) // ROUNDS),
                min_pairs=-(-MIN_PAIRS // ROUNDS), seconds=seconds / ROUNDS, clock=clock,
                generator=np.random.default_rng([seed, size, number]), report=_named(report, size, number)))
    own, base = [], []
    for size, taken in rounds.items():
        times, its = (np.concatenate([getattr(pairs, who) for pairs in taken]) for who in ("model", "baseline"))
        taken_on = {"runtime": KEY, "device": target.device, "threads": target.threads, "batch_size": size,
                    "n": len(times)}
        value, low, high = paired_ratio(taken)
        p25, p75 = np.quantile(times / its, [0.25, 0.75])
        own += _of_times(times, size, taken_on)
        own.append(Measurement(metric="latency_ratio", value=value, ci_low=low, ci_high=high, spread=float(p75 - p25),
                               **taken_on))
        base += _of_times(its, size, taken_on)
    return own, base


def clock_of(target: Target) -> Callable[[], float]:
    """CPU time of this thread where all the work is its own, else wall time."""
    return time.thread_time if target.device == "cpu" and target.threads == 1 else time.perf_counter


def opened(path: Path, baseline_path: Path, target: Target, *, swapped: bool) -> tuple[Session, Session]:
    """Sessions of the file and of its baseline, opened in this or the other order."""
    order = (baseline_path, path) if swapped else (path, baseline_path)
    options = {"device": target.device, "threads": target.threads, "graph_optimization": target.graph_optimization}
    first, second = (open_session(file, **options) for file in order)
    return (second, first) if swapped else (first, second)


def _max_pairs(batch_size: int) -> int:
    return MAX_PAIRS.get(batch_size, MAX_PAIRS_OTHERWISE)


def draw_batches(rows: Rows, batch_size: int, generator: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """A pool of requests of `batch_size` rows drawn with replacement: 512 of one row, else 32; 256 MB at most."""
    row_bytes = sum(array[:1].nbytes for array in rows.inputs.values())
    wanted = _POOL.get(batch_size, _POOL_OTHERWISE)
    n_batches = max(2, min(wanted, _POOL_BYTES // max(1, row_bytes * batch_size)))
    drawn = generator.integers(0, len(rows), (n_batches, batch_size))
    return [{name: array[index] for name, array in rows.inputs.items()} for index in drawn]


def time_pairs(
    model: list[Bound], baseline: list[Bound], *, max_pairs: int, min_pairs: int, seconds: float,
    clock: Callable[[], float], generator: np.random.Generator, report: Report,
) -> Pairs:
    """Time both on the same batch, pair after pair; who comes first is random, each of them in half of the pairs.

    Goes on until `max_pairs`, or until `seconds` are over and there are at least `min_pairs`.
    """
    for mine, its in zip(model, baseline, strict=True):  # warm: every page that the pool touches
        mine.run()
        its.run()
    first = generator.permuted(np.arange(max_pairs) % 2 == 0)
    times = np.empty((max_pairs, 2))
    started = told = time.perf_counter()
    done = 0
    with _no_garbage_collection():
        for done in range(1, max_pairs + 1):
            pair = done - 1
            bound = (model[pair % len(model)], baseline[pair % len(model)])
            for who in (0, 1) if first[pair] else (1, 0):
                start = clock()
                bound[who].run()
                times[pair, who] = clock() - start
            now = time.perf_counter()
            if done >= min_pairs and now - started > seconds:
                break
            if now - told > _REPORT_SECONDS:
                told = now
                report(_progress(done, max_pairs, min_pairs, now - started, seconds))
    report(_progress(done, done, done, time.perf_counter() - started, seconds))
    return Pairs(times[:done, 0], times[:done, 1], first[:done])


def paired_ratio(rounds: list[Pairs]) -> tuple[float, float, float]:
    """Time of the file over time of the baseline: geometric mean over the rounds, with its 95 % interval.

    In a round, each time is the mean of two medians, over the pairs it came first in and those it came second in:
    whoever comes second finds the caches warmer, and a median over both would fall into the gap between the two.
    """
    logs = np.log([_typical(pairs.model, pairs) / _typical(pairs.baseline, pairs) for pairs in rounds])
    half = _T * logs.std(ddof=1) / np.sqrt(len(logs))
    value, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    return float(value), float(low), float(high)


def _typical(times: np.ndarray, pairs: Pairs) -> float:
    groups = (times[pairs.model_first], times[~pairs.model_first])
    return float(np.mean([np.median(group) for group in groups if len(group)]))


def _of_times(times: np.ndarray, batch_size: int, taken_on: dict) -> list[Measurement]:
    """p50 with an interval from order statistics, p95, and the throughput at the median."""
    ms = np.sort(times) * 1e3
    p25, p50, p75, p95 = (float(value) for value in np.quantile(ms, [0.25, 0.5, 0.75, 0.95]))
    half = 0.98 * np.sqrt(len(ms))  # 1.96 · √(n / 4) ranks to each side of the median
    low = float(ms[max(0, int(np.floor(len(ms) / 2 - half)))])
    high = float(ms[min(len(ms) - 1, int(np.ceil(len(ms) / 2 + half)))])
    spread = p75 - p25
    return [
        Measurement(metric="latency_p50_ms", value=p50, ci_low=low, ci_high=high, spread=spread, **taken_on),
        Measurement(metric="latency_p95_ms", value=p95, spread=spread, **taken_on),
        Measurement(metric="throughput", value=1e3 * batch_size / p50, ci_low=1e3 * batch_size / high,
                    ci_high=1e3 * batch_size / low, **taken_on),
    ]


def _progress(done: int, max_pairs: int, min_pairs: int, elapsed: float, seconds: float) -> Progress:
    rate = done / elapsed
    expected = min(max_pairs, max(min_pairs, int(rate * seconds)))
    return Progress(stage="measure latency", done=done, total=max(done, expected), unit="pairs", rate=rate,
                    seconds_left=max(0.0, (expected - done) / rate))


def _named(report: Report, batch_size: int, number: int) -> Report:
    message = f"batch size {batch_size}, round {number + 1} of {ROUNDS}"
    return lambda progress: report(progress.model_copy(update={"message": message}))


@contextmanager
def _no_garbage_collection():
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
