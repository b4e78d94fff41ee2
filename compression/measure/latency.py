"""Latency of an exported file beside its baseline: timed in pairs, in random order, in six processes of their own.

Both files get the same requests, drawn from the data's own rows, so that ids are as skewed as in the data. A pool of
batches is used in turn: one batch would stay in the cache, and make every table look fast.

Two sessions of one and the same file differ by hundredths for as long as they live, however many pairs are taken, and
so do two processes, by where their memory lies. So each of six rounds is a fresh process that opens both files, in
turned order, and every interval is that of the six rounds. pairs.py has the clock and the pairs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from compression.data.dataset import Rows
from compression.measure.latency_round import ROUND, Part, Round, read_times
from compression.measure.pairs import ROUNDS, Pairs, over_rounds, paired_ratio, typical
from compression.spec.errors import MeasureError
from compression.spec.records import Measurement, Progress, Report, Target

MIN_PAIRS = 60  # over all rounds, as are the numbers below
MAX_PAIRS = {1: 2000}  # by batch size
MAX_PAIRS_OTHERWISE = 360
SECONDS = 8.0  # a batch size, for the pairs after MIN_PAIRS
_POOL = {1: 512}
_POOL_OTHERWISE = 32
_POOL_BYTES = 256 << 20


def measure_latency(
    path: Path, baseline_path: Path, rows: Rows, target: Target, *, seed: int, report: Report, seconds: float = SECONDS
) -> tuple[list[Measurement], list[Measurement]]:
    """p50, p95, throughput and ratio to the baseline at each batch size; and the same, without ratio, of the baseline.

    n counts pairs, sessions the processes they were taken in; spread is the interquartile range over the pairs.
    Raises MeasureError if a file can't be run on the target.
    """
    if len(rows) == 0:
        raise MeasureError("Latency needs at least one row to ask for; the split is empty.")
    rounds: dict[int, list[Pairs]] = {size: [] for size in target.batch_sizes}
    with tempfile.TemporaryDirectory(prefix="recpress-") as scratch:
        folder = Path(scratch)
        for size in rounds:
            np.savez(folder / f"{size}.npz", **draw_batches(rows, size, np.random.default_rng([seed, size])))
        for number in range(ROUNDS):
            # the pool goes on where the round before stopped
            parts = [Part(batch_size=size, begin=sum(len(pairs.model) for pairs in done),
                          max_pairs=-(-_max_pairs(size) // ROUNDS), min_pairs=-(-MIN_PAIRS // ROUNDS),
                          seconds=seconds / ROUNDS) for size, done in rounds.items()]
            asked = Round(number=number, model=path.resolve(), baseline=baseline_path.resolve(), target=target,
                          seed=seed, parts=tuple(parts))
            time_round(asked, folder, report)
            for size, done in rounds.items():
                done.append(read_times(folder, size, number))
    own, base = [], []
    for size, taken in rounds.items():
        taken_on = {"runtime": target.runtime, "device": target.device, "threads": target.threads, "batch_size": size,
                    "n": sum(len(pairs.model) for pairs in taken), "sessions": ROUNDS}
        value, low, high = paired_ratio(taken)
        ratios = np.concatenate([pairs.model / pairs.baseline for pairs in taken])
        p25, p75 = np.quantile(ratios, [0.25, 0.75])
        own += _of_times([(pairs.model, pairs) for pairs in taken], size, taken_on)
        own.append(Measurement(metric="latency_ratio", value=value, ci_low=low, ci_high=high, spread=float(p75 - p25),
                               **taken_on))
        base += _of_times([(pairs.baseline, pairs) for pairs in taken], size, taken_on)
    return own, base


def time_round(asked: Round, folder: Path, report: Report) -> None:
    """Time one round in a fresh process, which leaves its times in `folder`. Raises MeasureError with its reason."""
    (folder / ROUND).write_text(asked.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "compression.measure.latency_round", str(folder)]
    errors = folder / "errors.txt"
    with errors.open("wb") as said, subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, cwd=Path(__file__).resolve().parents[2]) as child:
        try:
            for line in child.stdout:
                progress = Progress.model_validate_json(line)
                words = f"{progress.message}, round {asked.number + 1} of {ROUNDS}"
                report(progress.model_copy(update={"message": words}))
        except BaseException:  # the job was cancelled, or its report failed: nobody waits for the times
            child.kill()
            raise
    if child.returncode != 0:
        reason = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise MeasureError(reason[0] if reason else f"The process that timed {asked.model.name} ended with status "
                                                    f"{child.returncode}. Look at the machine's memory, and run again.")


def _max_pairs(batch_size: int) -> int:
    return MAX_PAIRS.get(batch_size, MAX_PAIRS_OTHERWISE)


def draw_batches(rows: Rows, batch_size: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Requests of `batch_size` rows drawn with replacement, (batches, rows, …) by input.

    512 requests of one row, else 32; 256 MB at most.
    """
    row_bytes = sum(array[:1].nbytes for array in rows.inputs.values())
    wanted = _POOL.get(batch_size, _POOL_OTHERWISE)
    n_batches = max(2, min(wanted, _POOL_BYTES // max(1, row_bytes * batch_size)))
    drawn = generator.integers(0, len(rows), (n_batches, batch_size))
    return {name: array[drawn] for name, array in rows.inputs.items()}


def _of_times(rounds: list[tuple[np.ndarray, Pairs]], batch_size: int, taken_on: dict) -> list[Measurement]:
    """p50 over all pairs with the interval of the rounds, p95, and the throughput at the median."""
    ms = np.concatenate([times for times, _ in rounds]) * 1e3
    p25, p50, p75, p95 = (float(value) for value in np.quantile(ms, [0.25, 0.5, 0.75, 0.95]))
    typical_ms, low, high = over_rounds([typical(times, pairs) for times, pairs in rounds])
    low, high = p50 * low / typical_ms, p50 * high / typical_ms
    spread = p75 - p25
    return [
        Measurement(metric="latency_p50_ms", value=p50, ci_low=low, ci_high=high, spread=spread, **taken_on),
        Measurement(metric="latency_p95_ms", value=p95, spread=spread, **taken_on),
        Measurement(metric="throughput", value=1e3 * batch_size / p50, ci_low=1e3 * batch_size / high,
                    ci_high=1e3 * batch_size / low, **taken_on),
    ]
