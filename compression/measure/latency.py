"""Latency of an exported file beside its baseline: timed in pairs, in random order, in one process.

Both files get the same requests, drawn from the data's own rows, so that ids are as skewed as in the data. A pool of
batches is used in turn: one batch would stay in the cache, and make every table look fast.

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
from compression.measure.runtimes.onnxruntime import KEY, Bound, open_session
from compression.records import Measurement, Progress, Report, Target

MIN_PAIRS = 60
MAX_PAIRS = {1: 2000}  # by batch size
MAX_PAIRS_OTHERWISE = 600
SECONDS = 8.0  # a batch size, for the pairs after MIN_PAIRS
_POOL = {1: 512}
_POOL_OTHERWISE = 32
_POOL_BYTES = 256 << 20
_REPORT_SECONDS = 0.5
_RESAMPLES = 1000


@dataclass(frozen=True)
class Pairs:
    """Seconds of the file and of the baseline in each pair (P,), and which pairs the file came first in (P,) bool."""

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
    own, base = [], []
    session = open_session(path, device=target.device, threads=target.threads)
    baseline = open_session(baseline_path, device=target.device, threads=target.threads)
    clock = time.thread_time if target.device == "cpu" and target.threads == 1 else time.perf_counter
    for batch_size in target.batch_sizes:
        generator = np.random.default_rng([seed, batch_size])
        batches = draw_batches(rows, batch_size, generator)
        pairs = time_pairs(
            session.bind(batches), baseline.bind(batches), max_pairs=MAX_PAIRS.get(batch_size, MAX_PAIRS_OTHERWISE),
            seconds=seconds, clock=clock, generator=generator, report=_named(report, batch_size),
        )
        taken_on = {"runtime": KEY, "device": target.device, "threads": target.threads, "batch_size": batch_size,
                    "n": len(pairs.model)}
        own += _of_times(pairs.model, batch_size, taken_on)
        own.append(_ratio_measurement(pairs, generator, taken_on))
        base += _of_times(pairs.baseline, batch_size, taken_on)
    return own, base


def draw_batches(rows: Rows, batch_size: int, generator: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """A pool of requests of `batch_size` rows drawn with replacement: 512 of one row, else 32; 256 MB at most."""
    row_bytes = sum(array[:1].nbytes for array in rows.inputs.values())
    wanted = _POOL.get(batch_size, _POOL_OTHERWISE)
    n_batches = max(2, min(wanted, _POOL_BYTES // max(1, row_bytes * batch_size)))
    drawn = generator.integers(0, len(rows), (n_batches, batch_size))
    return [{name: array[index] for name, array in rows.inputs.items()} for index in drawn]


def time_pairs(
    model: list[Bound], baseline: list[Bound], *, max_pairs: int, seconds: float, clock: Callable[[], float],
    generator: np.random.Generator, report: Report,
) -> Pairs:
    """Time both on the same batch, pair after pair; who comes first is random, each of them in half of the pairs.

    Goes on until `max_pairs`, or until `seconds` are over and there are at least 60.
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
            if done >= MIN_PAIRS and now - started > seconds:
                break
            if now - told > _REPORT_SECONDS:
                told = now
                report(_progress(done, max_pairs, now - started, seconds))
    report(_progress(done, done, time.perf_counter() - started, seconds))
    return Pairs(times[:done, 0], times[:done, 1], first[:done])


def paired_ratio(pairs: Pairs, generator: np.random.Generator) -> tuple[float, float, float]:
    """Time of the file over time of the baseline, with its 95 % interval from resampled pairs.

    Each time is the mean of two medians, over the pairs it came first in and over those it came second in: whoever
    comes second finds the caches warmer, and a median over both would fall into the gap between the two.
    """
    groups = [np.flatnonzero(pairs.model_first), np.flatnonzero(~pairs.model_first)]
    groups = [group for group in groups if len(group)]

    def ratio(drawn: list[np.ndarray]) -> np.ndarray:  # each (resamples, pairs of the group)
        mine, its = (sum(np.median(times[index], axis=1) for index in drawn) for times in (pairs.model, pairs.baseline))
        return mine / its

    value = float(ratio([group[None] for group in groups])[0])
    resampled = ratio([group[generator.integers(0, len(group), (_RESAMPLES, len(group)))] for group in groups])
    low, high = np.quantile(resampled, [0.025, 0.975])
    return value, min(value, float(low)), max(value, float(high))


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


def _ratio_measurement(pairs: Pairs, generator: np.random.Generator, taken_on: dict) -> Measurement:
    value, low, high = paired_ratio(pairs, generator)
    p25, p75 = np.quantile(pairs.model / pairs.baseline, [0.25, 0.75])
    spread = float(p75 - p25)
    return Measurement(metric="latency_ratio", value=value, ci_low=low, ci_high=high, spread=spread, **taken_on)


def _progress(done: int, max_pairs: int, elapsed: float, seconds: float) -> Progress:
    rate = done / elapsed
    expected = min(max_pairs, max(MIN_PAIRS, int(rate * seconds)))
    return Progress(stage="measure latency", done=done, total=expected, unit="pairs", rate=rate,
                    seconds_left=max(0.0, (expected - done) / rate))


def _named(report: Report, batch_size: int) -> Report:
    return lambda progress: report(progress.model_copy(update={"message": f"batch size {batch_size}"}))


@contextmanager
def _no_garbage_collection():
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
