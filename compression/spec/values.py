"""The numbers of a result by metric key, each beside its baseline's: what verdicts, plots and tables read.

    values = values_of(result)
    values["latency_ratio@512"].value      # what depends on the batch size has it in the key
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from compression.spec.records import Measurement, Result


class Value(NamedTuple):
    """One number of a run. `difference` is the paired difference to the baseline; `baseline` the baseline's value."""

    value: float
    ci_low: float | None = None
    ci_high: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    baseline: float | None = None


Values = dict[str, Value]


def point_key(metric: str, batch_size: int | None) -> str:
    """ "latency_ratio@512"; a metric without batch size by its name alone."""
    return f"{metric}@{batch_size}" if batch_size else metric


def whole(measurements: Iterable[Measurement]) -> dict[tuple[str, int], Measurement]:
    """The measurements of the test rows as a whole, by metric and batch size (0 where it plays no part)."""
    return {(item.metric, item.batch_size or 0): item for item in measurements
            if item.slice is None and item.split in (None, "test")}


def values_of(result: Result) -> Values:
    """The numbers of a result by metric key: the same as its point in the store has."""
    before = whole(result.baseline)
    return {point_key(metric, batch): Value(
        item.value, item.ci_low, item.ci_high, item.difference, item.difference_low, item.difference_high,
        before[metric, batch].value if (metric, batch) in before else None)
        for (metric, batch), item in whole(result.measurements).items()}
