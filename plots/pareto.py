"""The trade-off plot: which runs nothing else beats on both axes, and how far the rest are.

`pareto_points` decides and is tested; `draw_pareto` draws and is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from compression.spec.task import DEFAULT_TASK, TASKS
from compression.spec.values import Value
from compression.tasks.recommend import RunPoint
from compression.tasks.units import (
    axis_title,
    format_difference,
    format_value,
    human_bytes,
    human_count,
    metric_of,
    metric_title,
)
from plots.text import literal
from plots.theme import (
    FAMILY_COLOURS,
    FAMILY_TITLES,
    family_colour,
    family_symbol,
    leading_family,
    palette,
    template,
)

DIMMED, DIMMED_DARK = 0.35, 0.6  # opacity of what something else beats; on a dark surface colours are fainter
MANY = 1500  # from here on points are drawn by WebGL, without error bars on the dominated ones
FEWEST_TICKS = 3  # of a logarithmic axis, where round values allow it
MAX_LABELS = 6
LABEL_CHARS = 28


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A run placed on two axes. Bars are 95 %: of the paired difference where there is one, else of the value."""

    job_id: int  # 0: the baseline as other runs measured it, not a run of its own
    name: str
    families: str
    x: float
    y: float
    x_low: float | None
    x_high: float | None
    y_low: float | None
    y_high: float | None
    x_baseline: float | None
    y_baseline: float | None
    on_front: bool
    is_baseline: bool


def pareto_points(points: Iterable[RunPoint], x: str = "size_bytes",
                  y: str = TASKS[DEFAULT_TASK].primary_metric) -> list[ParetoPoint]:
    """Runs placed on two metrics, in their order; runs without either number are left out.

    On the front are the points that no other is at least as good as in both and better in one. Where no run of
    the empty recipe is among them, the baseline is added as the runs measured it beside themselves.
    """
    placed = [point for point in points if x in point.values and y in point.values]
    front = _front([(point.values[x].value, point.values[y].value) for point in placed],
                   metric_of(x).higher_is_better, metric_of(y).higher_is_better)
    found = [_place(point, x, y, on_front) for point, on_front in zip(placed, front, strict=True)]
    if found and not any(point.is_baseline for point in found):
        found.extend(_measured_baseline(placed, x, y))
    return found


def _front(pairs: list[tuple[float, float]], x_up: bool, y_up: bool) -> list[bool]:
    """Which pairs nothing dominates; O(n log n)."""
    costs = [(-a if x_up else a, -b if y_up else b) for a, b in pairs]
    order = sorted(range(len(costs)), key=lambda index: costs[index])
    on_front = [False] * len(costs)
    best = float("inf")
    previous: int | None = None
    for index in order:
        same = previous is not None and costs[index] == costs[previous] and on_front[previous]
        if costs[index][1] < best or same:
            on_front[index], best = True, costs[index][1]
        previous = index
    return on_front


def _place(point: RunPoint, x: str, y: str, on_front: bool) -> ParetoPoint:
    across, up = point.values[x], point.values[y]
    return ParetoPoint(point.job_id, point.name, point.families, across.value, up.value, *_bar(across), *_bar(up),
                       _own_baseline(x, across), _own_baseline(y, up), on_front, not point.families)


def _bar(value: Value) -> tuple[float | None, float | None]:
    """Ends of the bar. The paired interval is shifted onto the value: it is what "no worse" is read from."""
    if None not in (value.difference, value.difference_low, value.difference_high):
        return (value.value + value.difference_low - value.difference,
                value.value + value.difference_high - value.difference)
    return value.ci_low, value.ci_high


def _measured_baseline(placed: list[RunPoint], x: str, y: str) -> list[ParetoPoint]:
    for point in placed:
        across, up = (_own_baseline(key, point.values[key]) for key in (x, y))
        if across is not None and up is not None:
            return [ParetoPoint(0, "Baseline", "", across, up, None, None, None, None, None, None, False,
                                 True)]
    return []


def _own_baseline(key: str, value: Value) -> float | None:
    return 1.0 if metric_of(key).kind == "ratio" else value.baseline


def draw_pareto(points: list[ParetoPoint], *, x: str, y: str, log_x: bool = False, log_y: bool = False,
                recommended: int | None = None, highlighted: Iterable[int] = (), dark: bool = False,
                height: int = 460) -> go.Figure:
    """The figure. Every marker carries its job id as customdata[0]; 0 is the baseline without a run."""
    colours = palette(dark)
    figure = go.Figure()
    runs = [point for point in points if not point.is_baseline]
    _draw_front(figure, [point for point in points if point.on_front], x, colours.accent)
    for family in (*FAMILY_COLOURS, None):
        mine = [point for point in runs if leading_family(point.families) == family
                or (family is None and leading_family(point.families) not in FAMILY_COLOURS)]
        beaten, best = ([point for point in mine if point.on_front is wanted] for wanted in (False, True))
        title = FAMILY_TITLES.get(family or "", "other")
        _draw_markers(figure, beaten, x, y, title, dark, opacity=DIMMED_DARK if dark else DIMMED,
                      many=len(runs) > MANY, legend=not best)
        _draw_markers(figure, best, x, y, title, dark, opacity=1, many=False, legend=True)
    _draw_baseline(figure, [point for point in points if point.is_baseline], x, y, dark)
    _draw_ring(figure, [point for point in points if point.job_id == recommended and recommended], colours.accent)
    chosen = set(highlighted)
    _draw_ring(figure, [point for point in points if point.job_id in chosen], colours.ink, width=1.5, size=17)
    _label(figure, points, recommended, colours.muted, log_x=log_x)
    figure.update_layout(template=template(dark), height=height, hovermode="closest", dragmode="zoom",
                         clickmode="event+select", legend_itemsizing="constant")
    figure.update_xaxes(title_text=axis_title(x), **_scale(x, [point.x for point in points], log_x))
    figure.update_yaxes(title_text=axis_title(y), **_scale(y, [point.y for point in points], log_y))
    return figure


def _draw_front(figure: go.Figure, front: list[ParetoPoint], x: str, colour: str) -> None:
    ordered = sorted(front, key=lambda point: (point.x, point.y))
    figure.add_scatter(x=[point.x for point in ordered], y=[point.y for point in ordered], mode="lines",
                       line={"color": colour, "width": 1.5, "shape": "linear"}, name="Pareto front", hoverinfo="skip")


def _draw_markers(figure: go.Figure, points: list[ParetoPoint], x: str, y: str, title: str, dark: bool, *,
                  opacity: float, many: bool, legend: bool) -> None:
    if not points:
        return
    kind = go.Scattergl if many else go.Scatter
    colour = family_colour(points[0].families, dark=dark)
    thin = faded(colour, opacity)
    bars = {} if many else {"error_x": _error_bars([(p.x, p.x_low, p.x_high) for p in points], thin),
                            "error_y": _error_bars([(p.y, p.y_low, p.y_high) for p in points], thin)}
    figure.add_trace(kind(
        x=[point.x for point in points], y=[point.y for point in points], mode="markers", name=title,
        legendgroup=title, showlegend=legend,
        customdata=np.array([_hover(point, x, y) for point in points], dtype=object),
        hovertemplate=_hover_template(x, y),
        marker={"color": colour, "size": 11, "opacity": opacity,
                "symbol": [family_symbol(point.families) for point in points],
                "line": {"width": 1, "color": palette(dark).surface}},
        # a selection is shown by the ring, not by fading everything else
        selected={"marker": {"opacity": opacity}}, unselected={"marker": {"opacity": opacity}}, **bars))


def faded(colour: str, opacity: float) -> str:
    """ "#0072B2" at 35 % as rgba(…): error bars have no opacity of their own."""
    red, green, blue = (int(colour[place:place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


def _error_bars(ends: list[tuple[float, float | None, float | None]], colour: str) -> dict | None:
    if all(low is None or high is None for _, low, high in ends):
        return None
    return {"type": "data", "symmetric": False, "thickness": 0.8, "width": 2, "color": colour,
            "array": [None if high is None else max(0.0, high - value) for value, _, high in ends],
            "arrayminus": [None if low is None else max(0.0, value - low) for value, low, _ in ends]}


def _draw_baseline(figure: go.Figure, points: list[ParetoPoint], x: str, y: str, dark: bool) -> None:
    if points:
        figure.add_scatter(x=[point.x for point in points], y=[point.y for point in points], mode="markers",
                           name="baseline", customdata=[_hover(point, x, y) for point in points],
                           hovertemplate=_hover_template(x, y),
                           marker={"symbol": "diamond-open", "size": 14, "color": palette(dark).ink,
                                   "line": {"width": 2, "color": palette(dark).ink}},
                           selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}})


def _draw_ring(figure: go.Figure, points: list[ParetoPoint], colour: str, *, width: float = 2.5,
               size: int = 22) -> None:
    if points:
        figure.add_scatter(x=[point.x for point in points], y=[point.y for point in points], mode="markers",
                           showlegend=False, hoverinfo="skip",
                           marker={"symbol": "circle-open", "size": size, "color": colour,
                                   "line": {"width": width, "color": colour}})


def _label(figure: go.Figure, points: list[ParetoPoint], recommended: int | None, colour: str, *,
           log_x: bool) -> None:
    """Names beside the recommended run, the baseline and, where few are on it, the front."""
    front = [point for point in points if point.on_front]
    named = front if len(front) <= MAX_LABELS else []
    named = named + [point for point in points if point not in named
                     and (point.is_baseline or point.job_id == recommended)][:2]
    if named:
        xs = sorted(point.x for point in points)
        # what stands far right is named on its left, so that the name stays inside
        far = (xs[0] * xs[-1] ** 3) ** 0.25 if log_x and xs[0] > 0 else xs[0] + 0.7 * (xs[-1] - xs[0])
        figure.add_scatter(x=[point.x for point in named], y=[point.y for point in named], mode="text",
                           text=[literal(_short(point.name)) for point in named], hoverinfo="skip", showlegend=False,
                           textposition=["top left" if point.x > far else "top right" for point in named],
                           textfont={"size": 11, "color": colour}, cliponaxis=False)


def _short(name: str) -> str:
    # no-break spaces keep the name off its marker and ring
    return "\u00a0" * 5 + (name if len(name) <= LABEL_CHARS else name[:LABEL_CHARS - 1] + "…") + "\u00a0" * 5


def _hover(point: ParetoPoint, x: str, y: str) -> list:
    told = [point.job_id, literal(point.name), format_value(x, point.x), format_value(y, point.y)]
    for key, value, baseline in ((x, point.x, point.x_baseline), (y, point.y, point.y_baseline)):
        told.append("" if baseline is None or metric_of(key).kind == "ratio"
                    else f"  ({format_difference(key, value, baseline)})")
    return told


def _hover_template(x: str, y: str) -> str:
    return (f"<b>%{{customdata[1]}}</b><br>{metric_title(y)} %{{customdata[3]}}%{{customdata[5]}}"
            f"<br>{metric_title(x)} %{{customdata[2]}}%{{customdata[4]}}<extra></extra>")


def _scale(key: str, values: list[float], log: bool) -> dict:
    """Type and ticks of an axis: sizes in human units, log axes at 1-2-5 where they span little, else by decades."""
    positive = [value for value in values if value > 0]
    log = log and bool(positive)
    scale: dict = {"type": "log" if log else "linear"}
    kind = metric_of(key).kind
    if log:
        ticks = log_ticks(min(positive), max(positive))
        return scale | {"tickvals": ticks, "ticktext": [_tick(key, tick) for tick in ticks]}
    if kind == "bytes":
        scale |= {"tickformat": "~s", "ticksuffix": "B", "showticksuffix": "all"}
    return scale


def log_ticks(low: float, high: float) -> list[float]:
    """Round values from about `low` to about `high`: 1-2-5 a decade, decades alone over a long span; every digit, then
    every half, over a span in which those are fewer than three."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    usual = (1, 2, 5) if last - first <= 4 else (1,)
    halves = tuple(half / 2 for half in range(2, 20))
    for leads, beyond in ((usual, 1.4), (tuple(range(1, 10)), 1.05), (halves, 1.05)):
        ticks = [float(f"{lead}e{power}") for power in range(first, last + 1) for lead in leads]
        kept = [tick for tick in ticks if low / beyond <= tick <= high * beyond]
        if len(kept) >= FEWEST_TICKS:
            return kept
    return kept or [low, high]


def _tick(key: str, value: float) -> str:
    kind = metric_of(key).kind
    if kind == "bytes":
        return human_bytes(value).replace(".00", "").replace(".0 ", " ")
    return human_count(value).replace(".00", "").replace(".0", "") if kind in ("count", "rate") else f"{value:g}"
