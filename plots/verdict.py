"""The one-sentence verdict: how much smaller, how much faster, and whether the quality holds.

    "int8 rows + student: 9.4× smaller, 3.1× faster, AUC −0.0003 (no worse within 0.001, 95 %)"

What is said about quality follows the paired 95 % interval and the task's tolerance, never the number alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from compression.tasks import TASKS
from plots.units import factor, metric_of, metric_title, signed, split_key

Standing = Literal["better", "kept", "worse", "unclear", "unmeasured"]
SAME_TIME = 0.03  # a ratio of times within 3 % is called the same: the same model against itself gives 0.99–1.04
SAME_SIZE = 0.005


class Numbers(Protocol):
    """One number of a run, with its paired difference to the baseline (storage's Value)."""

    value: float
    ci_low: float | None
    ci_high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    baseline: float | None


@dataclass(frozen=True)
class Judgement:
    """Where a run stands in a quality metric, and the words for it."""

    standing: Standing
    words: str


def loss_of(key: str, value: Numbers | None) -> float | None:
    """How much worse than the baseline, positive is worse; None where it wasn't compared."""
    if value is None or value.difference is None:
        return None
    return -value.difference if metric_of(key).higher_is_better else value.difference


def loss_interval(key: str, value: Numbers) -> tuple[float, float] | None:
    """The 95 % interval of the loss, positive is worse; None without one."""
    if value.difference_low is None or value.difference_high is None:
        return None
    ends = (value.difference_low, value.difference_high)
    return (-ends[1], -ends[0]) if metric_of(key).higher_is_better else ends


def judge(key: str, value: Numbers | None, tolerance: float) -> Judgement:
    """Better, kept (no worse within the tolerance), worse or unclear, by the paired interval."""
    loss = loss_of(key, value)
    if value is None or loss is None:
        return Judgement("unmeasured", "not compared with the baseline")
    interval = loss_interval(key, value)
    if interval is None:
        return Judgement("unclear", "no interval")
    low, high = interval
    if low == high == 0:
        return Judgement("kept", "the same scores")
    if high < 0:
        return Judgement("better", "better, 95 %")
    if high <= tolerance:
        return Judgement("kept", f"no worse within {tolerance:g}, 95 %")
    if low > tolerance:
        return Judgement("worse", f"worse by more than {tolerance:g}, 95 %")
    if low > 0:
        return Judgement("worse", f"worse by {low:.4f} to {high:.4f}, 95 %")
    return Judgement("unclear", f"not settled by these rows: {_range(value)}, 95 %")


def _range(value: Numbers) -> str:
    return f"{signed(value.difference_low)} to {signed(value.difference_high)}"


def size_words(value: Numbers | None) -> str | None:
    """"9.4× smaller", "3 % larger", "the same size"; None where it wasn't measured."""
    if value is None or not value.baseline or not value.value:
        return None
    return _times(value.value / value.baseline, "smaller", "larger", "the same size", SAME_SIZE)


def speed_words(values: dict[str, Numbers]) -> str | None:
    """"3.1× faster at batch 512", read off the paired ratio at the largest batch size measured."""
    key = largest_batch_key(values, "latency_ratio")
    if key is None or not values[key].value:
        return None
    batch = split_key(key)[1]
    words = _times(values[key].value, "faster", "slower", "as fast", SAME_TIME)
    return words + (f" at batch {batch:,}" if batch else "")


def largest_batch_key(values: dict, metric: str) -> str | None:
    """The key of a metric at the largest batch size there is: "latency_ratio@512"."""
    keys = [key for key in values if split_key(key)[0] == metric]
    return max(keys, key=lambda key: split_key(key)[1] or 0, default=None)


def _times(ratio: float, less: str, more: str, same: str, tolerance: float) -> str:
    if abs(ratio - 1) <= tolerance:
        return same
    big = max(ratio, 1 / ratio)
    word = less if ratio < 1 else more
    return f"{factor(big)}× {word}" if big >= 1.5 else f"{abs(ratio - 1) * 100:.0f} % {word}"


def quality_words(values: dict[str, Numbers], task: str = "ctr") -> tuple[str | None, Judgement]:
    """"AUC −0.0003 (no worse within 0.001, 95 %)" for the task's first metric, and the judgement behind it."""
    key = TASKS[task].primary_metric
    value = values.get(key)
    judgement = judge(key, value, TASKS[task].tolerance)
    if value is None or value.difference is None:
        return None, judgement
    return f"{metric_title(key)} {signed(value.difference)} ({judgement.words})", judgement


def sentence(name: str, values: dict[str, Numbers], task: str = "ctr") -> str:
    """The verdict of a run against its baseline; says so where nothing was compared."""
    said = [size_words(values.get("size_bytes")), speed_words(values), quality_words(values, task)[0]]
    told = ", ".join(words for words in said if words)
    return f"{name}: {told or 'nothing to compare with the baseline'}."
