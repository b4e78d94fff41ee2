"""Two files timed in pairs, in random order, in one process: what a ratio of times is made of.

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

from compression.measure.estimates import student_t
from compression.spec.records import Progress, Report, Target
from compression.spec.runtime import RUNTIMES
from compression.spec.session import Bound, Session

ROUNDS = 6  # sessions that a ratio is made of
MOST_SECONDS = 6.0  # of a round at a batch size, for requests that take a second each
FEWEST_PAIRS = 2
_REPORT_SECONDS = 0.5


@dataclass(frozen=True)
class Pairs:
    """One round: seconds of the file and of the baseline in each pair (P,), and where the file came first (P,) bool."""

    model: np.ndarray
    baseline: np.ndarray
    model_first: np.ndarray


def clock_of(target: Target) -> Callable[[], float]:
    """CPU time of this thread where all the work is its own, else wall time."""
    return time.thread_time if target.device == "cpu" and target.threads == 1 else time.perf_counter


def opened(path: Path, baseline_path: Path, target: Target, *, swapped: bool) -> tuple[Session, Session]:
    """Sessions of the file and of its baseline, opened in this or the other order."""
    order = (baseline_path, path) if swapped else (path, baseline_path)
    first = RUNTIMES[target.runtime].open(order[0], **target.session)
    try:
        second = RUNTIMES[target.runtime].open(order[1], **target.session)
    except BaseException:
        first.close()
        raise
    return (second, first) if swapped else (first, second)


def time_pairs(
    model: list[Bound], baseline: list[Bound], *, max_pairs: int, min_pairs: int, seconds: float,
    clock: Callable[[], float], generator: np.random.Generator, report: Report,
) -> Pairs:
    """Time both on the same batch, pair after pair; who comes first is random, each of them in half of the pairs.

    Goes on until `max_pairs`, or until `seconds` are over and there are at least `min_pairs`. Of slow requests there
    are fewer: FEWEST_PAIRS are enough once MOST_SECONDS are over.
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
            passed = now - started
            if (done >= min_pairs and passed > seconds) or (done >= FEWEST_PAIRS and passed > MOST_SECONDS):
                break
            if now - told > _REPORT_SECONDS:
                told = now
                report(_progress(done, max_pairs, min_pairs, now - started, seconds))
    report(_progress(done, done, done, time.perf_counter() - started, seconds))
    return Pairs(times[:done, 0], times[:done, 1], first[:done])


def pool_size(pair_seconds: float, n_batches: int, *, min_pairs: int, seconds: float) -> int:
    """How many of the requests are bound: no more than are timed, as each is answered twice by both files before."""
    wanted = max(min_pairs, int(seconds / pair_seconds))
    return min(n_batches, max(FEWEST_PAIRS, min(wanted, int(MOST_SECONDS / pair_seconds))))


def seconds_of_a_pair(sessions: tuple[Session, ...], batch: dict[str, np.ndarray]) -> float:
    """Seconds on the wall in which all of them answer once, after they have answered once."""
    started = 0.0
    for _ in range(2):
        started = time.perf_counter()
        for session in sessions:
            session.answer(batch)
    return time.perf_counter() - started


def paired_ratio(rounds: list[Pairs]) -> tuple[float, float, float]:
    """Time of the file over time of the baseline: geometric mean over the rounds, with its 95 % interval."""
    return over_rounds([typical(pairs.model, pairs) / typical(pairs.baseline, pairs) for pairs in rounds])


def over_rounds(values: list[float]) -> tuple[float, float, float]:
    """Geometric mean of a positive value of each round, with Student's 95 % interval over them."""
    logs = np.log(values)
    half = student_t(len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    value, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    return float(value), float(low), float(high)


def typical(times: np.ndarray, pairs: Pairs) -> float:
    """Seconds a request takes in a round: the mean of two medians, over the pairs it came first in and second in.

    Whoever comes second finds the caches warmer, and a median over both would fall into the gap between the two.
    """
    groups = (times[pairs.model_first], times[~pairs.model_first])
    return float(np.mean([np.median(group) for group in groups if len(group)]))


def _progress(done: int, max_pairs: int, min_pairs: int, elapsed: float, seconds: float) -> Progress:
    rate = done / elapsed
    expected = min(max_pairs, max(min_pairs, int(rate * seconds)))
    return Progress(stage="measure latency", done=done, total=max(done, expected), unit="pairs", rate=rate,
                    seconds_left=max(0.0, (expected - done) / rate))


@contextmanager
def _no_garbage_collection():
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
