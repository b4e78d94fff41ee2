"""Limits a product has, the run that meets them best, and why that one.

    limits = Limits(max_loss=0.001, max_latency_ms=5, max_size_bytes=10e6, batch_sizes=(1, 512))
    recommend(points, limits).why
    # "int4 rows: 7.1× smaller, … It is the smallest of 7 runs that lose at most 0.001 AUC and answer within 5 ms …"

A run that is slower than the baseline at a batch size of the target is not recommended, unless `slower` allows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from compression.spec.task import DEFAULT_TASK, TASKS
from compression.spec.values import Value
from compression.tasks.units import format_value, human_bytes, metric_title, signed, split_key
from compression.tasks.verdict import (
    largest_batch_key,
    loss_interval,
    loss_of,
    ratio_at,
    sentence,
    slower_at,
    speed_words,
    timed_sizes,
)

Goal = Literal["size", "latency", "quality"]
GOAL_WORDS: dict[Goal, str] = {"size": "smallest", "latency": "fastest", "quality": "most accurate"}
FAR = float("inf")  # beyond a limit by an unknown amount: it wasn't measured
ALONE = {"speed": "slower than the baseline at a batch size of the target",
         "timed": "not timed at every batch size of the target"}


class RunPoint(Protocol):
    """A finished run with its numbers by metric key (storage's Point)."""

    job_id: int
    name: str
    families: str
    values: dict[str, Value]


@dataclass(frozen=True)
class Limits:
    """What a run may cost; None is no limit. `proven` asks for the whole 95 % interval to keep the loss limit."""

    max_loss: float | None = None  # of the task's first metric, absolute
    max_latency_ms: float | None = None
    max_size_bytes: float | None = None
    latency_key: str | None = None  # "latency_p95_ms@512"; None: p50 at the largest batch size
    proven: bool = False
    goal: Goal = "size"
    slower: bool = False  # a run may be slower than the baseline
    task: str = DEFAULT_TASK
    batch_sizes: tuple[int, ...] = ()  # of the target; empty: those at which a run was timed

    @property
    def quality_key(self) -> str:
        return TASKS[self.task].primary_metric


@dataclass(frozen=True)
class Recommendation:
    """The run to take, or None, and the sentence that says why; `meets` are all that keep the limits."""

    winner: int | None
    why: str
    meets: frozenset[int]


def recommend(points: Sequence[RunPoint], limits: Limits) -> Recommendation:
    """The best run inside the limits. The baseline is no candidate; a number that is missing breaks its limit."""
    candidates = [point for point in points if point.families]
    if not candidates:
        return Recommendation(None, "No compressed run is finished yet.", frozenset())
    broken = {point.job_id: broken_limits(point, limits) for point in candidates}
    meeting = [point for point in candidates if not broken[point.job_id]]
    meets = frozenset(point.job_id for point in meeting)
    comparable = [point for point in meeting if _cost(point, limits) is not None]
    if not comparable:
        return Recommendation(None, _why_none(candidates, broken, limits), meets)
    winner = min(comparable, key=lambda point: (_cost(point, limits), _tie_break(point, limits), point.job_id))
    return Recommendation(winner.job_id, _why(winner, len(meeting), broken, limits), meets)


def broken_limits(point: RunPoint, limits: Limits) -> dict[str, float]:
    """The limits a run breaks, each with how far it is beyond as a share of the baseline's; FAR where unknown."""
    broken: dict[str, float] = {}
    if limits.max_loss is not None:
        loss = _judged_loss(point, limits)
        if loss is None:
            broken["loss"] = FAR
        elif loss > limits.max_loss:
            broken["loss"] = (loss - limits.max_loss) / TASKS[limits.task].tolerance
    for name, limit in (("latency", limits.max_latency_ms), ("size", limits.max_size_bytes)):
        if limit is None:
            continue
        key = latency_key(point, limits) if name == "latency" else "size_bytes"
        value = point.values.get(key) if key else None
        if value is None or value.value > limit:
            broken[name] = FAR if value is None else (value.value - limit) / (value.baseline or value.value)
    if not limits.slower:
        if any(ratio_at(point.values, batch) is None for batch in limits.batch_sizes):
            broken["timed"] = FAR
        if slower := slower_at(point.values, limits.batch_sizes):
            broken["speed"] = max(ratio_at(point.values, batch).value - 1 for batch in slower)
    return broken


def _judged_loss(point: RunPoint, limits: Limits) -> float | None:
    """The loss that has to keep the limit: the measured one, or the far end of its interval."""
    value = point.values.get(limits.quality_key)
    if value is None or not limits.proven:
        return loss_of(limits.quality_key, value)
    interval = loss_interval(limits.quality_key, value)
    return interval[1] if interval else None


def latency_key(point: RunPoint, limits: Limits) -> str | None:
    return limits.latency_key or largest_batch_key(point.values, "latency_p50_ms")


def _cost(point: RunPoint, limits: Limits) -> float | None:
    """What the goal makes small."""
    if limits.goal == "quality":
        return loss_of(limits.quality_key, point.values.get(limits.quality_key))
    if limits.goal == "latency":
        # the paired ratio is steadier than milliseconds taken in different runs
        sizes = limits.batch_sizes or timed_sizes(point.values)
        ratio = ratio_at(point.values, max(sizes)) if sizes else None
        return ratio.value if ratio else None
    value = point.values.get("size_bytes")
    return value.value if value else None


def _tie_break(point: RunPoint, limits: Limits) -> float:
    loss = loss_of(limits.quality_key, point.values.get(limits.quality_key))
    return FAR if loss is None else loss


def limit_words(limits: Limits, batch: int | None = None) -> str:
    """"lose at most 0.001 AUC (95 %) and answer within 5 ms and weigh at most 10 MB"; "" without limits."""
    said = []
    if limits.max_loss is not None:
        said.append(f"lose at most {limits.max_loss:g} {metric_title(limits.quality_key)}"
                    + (" with 95 % confidence" if limits.proven else ""))
    if limits.max_latency_ms is not None:
        said.append(f"answer within {limits.max_latency_ms:g} ms" + (f" at batch {batch:,}" if batch else ""))
    if limits.max_size_bytes is not None:
        said.append(f"weigh at most {human_bytes(limits.max_size_bytes)}")
    return " and ".join(said) if len(said) < 3 else f"{said[0]}, {said[1]} and {said[2]}"


def _why(winner: RunPoint, meeting: int, broken: dict[int, dict[str, float]], limits: Limits) -> str:
    key = latency_key(winner, limits)
    words, left_out = limit_words(limits, split_key(key)[1] if key else None), _left_out(broken)
    if not words:
        among = f"the {GOAL_WORDS[limits.goal]} of {_runs(meeting)}; no limit is set"
    elif meeting == 1:
        among = f"the only one of {_runs(len(broken))} to {words}" + " without being slower" * bool(left_out)
    else:
        among = f"the {GOAL_WORDS[limits.goal]} of {_runs(meeting)} that {words}"
    told = sentence(winner.name, winner.values, task=limits.task, batch_sizes=limits.batch_sizes)
    return f"{told} It is {among}.{left_out}"


def _left_out(broken: dict[int, dict[str, float]]) -> str:
    """How many runs keep every limit and are left out for their speed alone."""
    said = []
    for name, words in ALONE.items():
        count = sum(one.keys() == {name} for one in broken.values())
        if count:
            said.append(f" {_runs(count)} {'is' if count == 1 else 'are'} left out: {words}.")
    return "".join(said)


def _runs(count: int) -> str:
    return f"{count:,} run" + ("" if count == 1 else "s")


def _why_none(candidates: list[RunPoint], broken: dict[int, dict[str, float]], limits: Limits) -> str:
    """Which limit stops how many, and how far the nearest run is."""
    words = {"loss": ("loses too much", "lose too much") if not limits.proven else (
                 "can't be shown to lose little enough",) * 2,
             "latency": ("is too slow", "are too slow"), "size": ("is too large", "are too large"),
             "speed": (f"is {ALONE['speed']}", f"are {ALONE['speed']}"),
             "timed": (f"was {ALONE['timed']}", f"were {ALONE['timed']}")}
    counts = {name: sum(name in one for one in broken.values()) for name in words}
    stops = ", ".join(f"{count:,} {words[name][count > 1]}" for name, count in counts.items() if count)
    if not stops:  # all meet the limits, and none has the number that the goal compares
        return f"None of {_runs(len(candidates))} was measured in what makes a run the {GOAL_WORDS[limits.goal]}."
    text = f"No run of {len(candidates):,} keeps every limit: {stops}."
    nearest = min(candidates, key=lambda point: _distance(broken[point.job_id]))
    missing = broken[nearest.job_id]
    if missing and max(missing.values()) < FAR:
        text += f" Nearest is {nearest.name}: {' and '.join(_shortfall(nearest, name, limits) for name in missing)}."
    return text


def _distance(missing: dict[str, float]) -> tuple[int, float]:
    """Fewer broken limits first, then the mildest."""
    return len(missing), max(missing.values(), default=0)


def _shortfall(point: RunPoint, name: str, limits: Limits) -> str:
    if name == "loss":
        loss = _judged_loss(point, limits)
        return f"{metric_title(limits.quality_key)} loss {signed(loss)} where {limits.max_loss:g} is allowed"
    if name == "latency":
        key = latency_key(point, limits)
        return f"{format_value(key, point.values[key].value)} where {limits.max_latency_ms:g} ms is allowed"
    if name == "speed":
        return " and ".join(speed_words(ratio_at(point.values, batch), batch)
                            for batch in slower_at(point.values, limits.batch_sizes))
    return (f"{human_bytes(point.values['size_bytes'].value)} where {human_bytes(limits.max_size_bytes)} "
            f"is allowed")
