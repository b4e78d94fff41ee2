"""The verdict of a run: one sentence, then the figures that carry it, each with its difference to the baseline."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from compression.spec.metrics import METRICS
from compression.spec.task import DEFAULT_TASK, TASKS
from compression.spec.values import Value
from compression.tasks.units import (
    MISSING,
    format_difference,
    format_exact,
    format_value,
    metric_of,
    metric_title,
    signed,
)
from compression.tasks.verdict import Ratio, judge, largest_batch_key, ratio_at, slower_at, speed_of, verdict_of
from ui.shared.escape import escaped
from ui.shared.format import direction
from ui.shared.result_table import in_order

HEADLINE = ("latency_ratio", "latency_p50_ms", "resident_bytes")  # after the size and the task's first metric
FIGURES = 5
WORDS = {"better": "better", "worse": "worse", "same": "the same", "unclear": "not settled"}
MARKS = {"better": ("green", "▲"), "kept": ("green", "✓"), "worse": ("red", "▼")}
MIXED = ("orange", "◆")  # kept in the task's first metric, worse in something else


def headline_keys(values: dict[str, Value], batch_sizes: Sequence[int] = (), task: str = DEFAULT_TASK) -> list[str]:
    """The three to five figures a run is judged by, only what was measured. Latency is at its largest batch size; where
    the run is slower at another one, that ratio comes too, in place of the last figure."""
    keys = ["size_bytes", TASKS[task].primary_metric, *(
        largest_batch_key(values, metric) if metric.startswith("latency") else metric for metric in HEADLINE)]
    kept = [key for key in keys if key in values]
    slower = [batch for batch in slower_at(values, batch_sizes) if f"latency_ratio@{batch}" in values]
    if slower:
        worst = f"latency_ratio@{max(slower, key=lambda batch: ratio_at(values, batch).value)}"
        if worst not in kept:
            kept.insert(kept.index(largest_batch_key(values, "latency_ratio")) + 1, worst)
    return kept[:FIGURES]


def draw_verdict(name: str, values: dict[str, Value], *, task: str = DEFAULT_TASK,
                 batch_sizes: Sequence[int] = ()) -> None:
    """The sentence, marked better, kept, worse or unsettled by its words and by a mark of colour."""
    found = verdict_of(values, task=task, batch_sizes=batch_sizes)
    colour, mark = MARKS.get(found.standing, ("gray", "○"))
    if found.losses and found.standing != "worse":
        colour, mark = MIXED
    st.markdown(f"## :{colour}[{mark}] {escaped(name)}: {found.text}.")


def draw_figures(values: dict[str, Value], batch_sizes: Sequence[int] = (), *, task: str = DEFAULT_TASK) -> None:
    """The headline figures in a row."""
    keys = headline_keys(values, batch_sizes, task)
    if not keys:
        return
    for column, key in zip(st.columns(len(keys), gap="medium"), keys, strict=True):
        with column:
            draw_figure(key, values[key], task=task)


def draw_figure(key: str, value: Value, *, task: str = DEFAULT_TASK) -> None:
    """One figure: value, difference to the baseline in words and colour, exact numbers on hover."""
    baseline = 1.0 if metric_of(key).kind == "ratio" else value.baseline
    way = direction(key, value.value, baseline)
    if key == TASKS[task].primary_metric and value.difference is not None:
        _draw_quality(key, value, TASKS[task].tolerance)
        return
    delta = None if way is None else format_difference(key, value.value, baseline)
    if metric_of(key).kind == "ratio" and way:
        delta = format_difference("latency_p50_ms", value.value, 1.0)
        way = {"faster": "better", "slower": "worse", "same": "same"}.get(
            speed_of(Ratio(value.value, value.ci_low, value.ci_high)), "unclear")
    st.metric(metric_title(key), format_value(key, value.value),
              delta=f"{delta}, {WORDS[way]}" if way and way != "same" else "as the baseline" if way else None,
              delta_color={"better": "normal", "worse": "inverse"}.get(way, "off"),
              delta_arrow="off" if way in (None, "same", "unclear") else "up" if metric_of(key).better(1, 0) == (
                  way == "better") else "down", help=figure_help(key, value))


def _draw_quality(key: str, value: Value, tolerance: float) -> None:
    """Quality is called better or worse by its interval: a difference within the tolerance is neither."""
    standing = judge(key, value, tolerance).standing
    words = {"better": "better", "kept": f"no worse within {tolerance:g}", "worse": "worse"}.get(
        standing, "not settled")
    st.metric(metric_title(key), format_value(key, value.value), delta=f"{signed(value.difference)}, {words}",
              delta_color={"better": "normal", "worse": "inverse"}.get(standing, "off"),
              delta_arrow="off" if standing not in ("better", "worse") else "up" if value.difference > 0 else "down",
              help=figure_help(key, value))


def figure_help(key: str, value: Value) -> str:
    """What the metric means, the exact value, the baseline's and the intervals."""
    told = [metric_of(key).help, f"Exactly {format_exact(key, value.value)}."]
    if value.baseline is not None:
        told.append(f"Baseline {format_exact(key, value.baseline)}.")
    if value.difference_low is not None and value.difference is not None and value.difference_high is not None:
        told.append(f"Paired difference {signed(value.difference, 5)}, 95 % interval {signed(value.difference_low, 5)} "
                    f"to {signed(value.difference_high, 5)}.")
    elif value.ci_low is not None and value.ci_high is not None:
        told.append(f"95 % interval {format_value(key, value.ci_low)} to {format_value(key, value.ci_high)}.")
    return " ".join(told)


def measurement_table(values: dict[str, Value]) -> list[dict[str, str]]:
    """Every number of a run as rows of a table: metric, value, baseline, difference, its interval.

    A size that wasn't measured, as in runs before it was, has its row too.
    """
    rows = []
    for key in in_order({*values, *(key for key, spec in METRICS.items() if spec.group == "size")}):
        value = values.get(key)
        if value is None:
            rows.append({"Metric": metric_title(key)} | dict.fromkeys(
                ("Value", "Baseline", "Difference", "95 % interval"), MISSING))
            continue
        baseline = None if metric_of(key).kind == "ratio" else value.baseline
        interval = MISSING
        if value.difference_low is not None and value.difference_high is not None:
            interval = f"{signed(value.difference_low, 5)} to {signed(value.difference_high, 5)}"
        elif value.ci_low is not None and value.ci_high is not None:
            interval = f"{format_value(key, value.ci_low)} to {format_value(key, value.ci_high)}"
        rows.append({"Metric": metric_title(key), "Value": format_value(key, value.value),
                     "Baseline": format_value(key, baseline),
                     "Difference": format_difference(key, value.value, baseline), "95 % interval": interval})
    return rows


