"""Limits a product has, the run that meets them best, and why that one.

    limits = Limits(max_loss=0.001, max_latency_ms=5, max_size_bytes=10e6)
    recommend(points, limits).why
    # "int4 rows: the smallest of 7 runs that lose at most 0.001 AUC and answer within 5 ms at batch 512."
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compression.tasks import TASKS
from plots.pareto import RunPoint
from plots.units import format_value, human_bytes, metric_title, signed, split_key
from plots.verdict import largest_batch_key, loss_interval, loss_of, sentence

Goal = Literal["size", "latency", "quality"]
GOAL_WORDS: dict[Goal, str] = {"size": "smallest", "latency": "fastest", "quality": "most accurate"}


@dataclass(frozen=True)
class Limits:
    """What a run may cost; None is no limit. `proven` asks for the whole 95 % interval to keep the loss limit."""

    max_loss: float | None = None  # of the task's first metric, absolute
    max_latency_ms: float | None = None
    max_size_bytes: float | None = None
    latency_key: str | None = None  # "latency_p95_ms@512"; None: p50 at the largest batch size
    proven: bool = False
    goal: Goal = "size"
    task: str = "ctr"

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
    return Recommendation(winner.job_id, _why(winner, len(meeting), len(candidates), limits), meets)


def broken_limits(point: RunPoint, limits: Limits) -> dict[str, float]:
    """The limits a run breaks, each with how far it is beyond as a factor; inf where it wasn't measured."""
    broken: dict[str, float] = {}
    if limits.max_loss is not None:
        loss = _judged_loss(point, limits)
        if loss is None:
            broken["loss"] = float("inf")
        elif loss > limits.max_loss:
            # beside a limit of zero every loss is infinitely far; count from a tenth of the tolerance
            broken["loss"] = loss / max(limits.max_loss, TASKS[limits.task].tolerance / 10)
    for name, limit in (("latency", limits.max_latency_ms), ("size", limits.max_size_bytes)):
        if limit is None:
            continue
        key = latency_key(point, limits) if name == "latency" else "size_bytes"
        value = point.values.get(key) if key else None
        if value is None or value.value > limit:
            broken[name] = float("inf") if value is None else value.value / limit
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
        key = largest_batch_key(point.values, "latency_ratio") or latency_key(point, limits)
    else:
        key = "size_bytes"
    value = point.values.get(key) if key else None
    return value.value if value else None


def _tie_break(point: RunPoint, limits: Limits) -> float:
    loss = loss_of(limits.quality_key, point.values.get(limits.quality_key))
    return float("inf") if loss is None else loss


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


def _why(winner: RunPoint, meeting: int, candidates: int, limits: Limits) -> str:
    key = latency_key(winner, limits)
    words = limit_words(limits, split_key(key)[1] if key else None)
    if not words:
        among = f"the {GOAL_WORDS[limits.goal]} of {_runs(candidates)}; no limit is set"
    elif meeting == 1:
        among = f"the only one of {_runs(candidates)} to {words}"
    else:
        among = f"the {GOAL_WORDS[limits.goal]} of {_runs(meeting)} that {words}"
    return f"{sentence(winner.name, winner.values, limits.task)} It is {among}."


def _runs(count: int) -> str:
    return f"{count:,} run" + ("" if count == 1 else "s")


def _why_none(candidates: list[RunPoint], broken: dict[int, dict[str, float]], limits: Limits) -> str:
    """Which limit stops how many, and how far the nearest run is."""
    words = {"loss": "lose too much" if not limits.proven else "can't be shown to lose little enough",
             "latency": "are too slow", "size": "are too large"}
    counts = {name: sum(name in one for one in broken.values()) for name in words}
    stops = ", ".join(f"{count:,} {words[name]}" for name, count in counts.items() if count)
    text = f"No run of {len(candidates):,} keeps every limit: {stops}."
    nearest = min(candidates, key=lambda point: _distance(broken[point.job_id]))
    missing = broken[nearest.job_id]
    if missing and max(missing.values()) < float("inf"):
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
    return (f"{human_bytes(point.values['size_bytes'].value)} where {human_bytes(limits.max_size_bytes)} "
            f"is allowed")
