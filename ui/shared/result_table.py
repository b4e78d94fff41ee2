"""Runs as a sortable table: columns, units and help from the metrics' declarations, differences to a pinned run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import streamlit as st

from compression.spec.metrics import METRICS
from compression.spec.values import Value
from compression.tasks.units import metric_of, metric_title, split_key
from storage.records import Point
from ui.shared.escape import escaped

DIFFERENCE = " difference"
NARROW = 82  # pixels: three columns of differences fit beside the plot
ORDER = {key: place for place, key in enumerate(METRICS)}


def metric_keys(points: Iterable[Point]) -> list[str]:
    """Every metric key some run has, in the order of METRICS, then by batch size."""
    return in_order({key for point in points for key in point.values})


def in_order(keys: Iterable[str]) -> list[str]:
    """Metric keys in the order of METRICS, then by batch size."""
    return sorted(keys, key=lambda key: (ORDER[split_key(key)[0]], split_key(key)[1] or 0))


def pinned_value(key: str, value: Value, pinned: Point | None) -> float | None:
    """What a value is compared with: the pinned run's, else the baseline's as measured beside the run itself."""
    if pinned is not None:
        held = pinned.values.get(key)
        return held.value if held else None
    return 1.0 if metric_of(key).kind == "ratio" else value.baseline


def result_columns(points: Sequence[Point], keys: Sequence[str], *,
                   pinned: Point | None = None) -> dict[str, list[Any]]:
    """Columns of numbers, None where nothing was measured. For each key its value, then its difference.

    Scores differ by subtraction, everything else is a ratio to the pinned run (below 1 is less).
    """
    columns: dict[str, list[Any]] = {"job": [point.job_id for point in points],
                                     "name": [point.name for point in points]}
    for key in keys:
        values = [point.values.get(key) for point in points]
        columns[key] = [None if value is None else _scaled(key, value.value) for value in values]
        if split_key(key)[0] == "latency_ratio" and pinned is None:
            continue  # it is the ratio to the baseline already
        columns[difference_name(key)] = [
            None if value is None else _difference(key, value, pinned_value(key, value, pinned)) for value in values]
    return columns


def difference_name(key: str) -> str:
    return key + DIFFERENCE


def _scaled(key: str, value: float) -> float:
    return value / 1e6 if metric_of(key).kind == "bytes" else value


def _difference(key: str, value: Value, against: float | None) -> float | None:
    if against is None:
        return None
    if metric_of(key).kind == "score":
        return value.value - against
    return value.value / against if against else None


def column_config(keys: Sequence[str], *, pinned: Point | None) -> dict[str, Any]:
    """Streamlit's column settings: titles, units, digits and help. Headings of differences say what they are to."""
    against = "the baseline" if pinned is None else escaped(f"#{pinned.job_id} {pinned.name}")
    to, width = ("", NARROW) if pinned is None else (f" to #{pinned.job_id}", NARROW + 30)
    config: dict[str, Any] = {"job": st.column_config.NumberColumn("#", format="%d", width=56),
                              "name": st.column_config.TextColumn("Run", width=172, pinned=True)}
    formats = {"score": "%.4f", "bytes": "%.3f MB", "ms": "%.3f ms", "rate": "compact", "count": "compact",
               "ratio": "%.2f×"}
    for key in keys:
        spec = metric_of(key)
        title = metric_title(key).replace(", batch ", " @")
        if spec.kind == "ratio":
            title = f"× {title.replace(' ratio', '')}"
        config[key] = st.column_config.NumberColumn(
            title, format="%.1e" if spec.scientific else formats[spec.kind], help=spec.help,
            width=NARROW + 30 if spec.kind == "ratio" else None)
        score = spec.kind == "score"
        told = title.removesuffix(" on disk").removeprefix("× ")
        config[difference_name(key)] = st.column_config.NumberColumn(
            f"{'Δ' if score else '×'} {told}{to}", width=width, format="%+.5f" if score else "%.3f×",
            help=f"Against {against}: " + ("difference." if score else "ratio, below 1 is less."))
    return config
