"""What is on the front, what is beaten, and what the bars mean."""

import random

import pytest

from compression.spec.records import Change
from plots.bars import byte_bars, draw_byte_bars
from plots.pareto import _front, draw_pareto, log_ticks, pareto_points
from plots.theme import FAMILY_COLOURS, palette
from tests.plots.points import FakePoint, run


def front_ids(points):
    return {point.job_id for point in points if point.on_front}


def test_the_front_holds_what_nothing_beats_on_both_axes():
    points = pareto_points([run(1, 10, 0.79), run(2, 20, 0.80), run(3, 20, 0.795), run(4, 30, 0.80), run(5, 5, 0.7)])
    assert front_ids(points) == {1, 2, 5}


def test_equal_runs_stand_on_the_front_together():
    assert front_ids(pareto_points([run(1, 10, 0.8), run(2, 10, 0.8), run(3, 11, 0.8)])) == {1, 2}


def test_the_front_follows_the_direction_of_each_metric():
    runs = [run(1, 10, ms=5), run(2, 20, ms=2), run(3, 20, ms=5)]
    points = pareto_points(runs, x="latency_p50_ms@512", y="size_bytes")
    assert front_ids(points) == {1, 2}


@pytest.mark.parametrize("ups", [(False, False), (True, False), (False, True), (True, True)])
def test_the_front_agrees_with_comparing_every_pair(ups):
    draw = random.Random(3)
    pairs = [(draw.randint(0, 12), draw.randint(0, 12)) for _ in range(120)]

    def beats(a, b):
        good = [(p >= q if up else p <= q, p != q) for p, q, up in zip(a, b, ups, strict=True)]
        return all(one for one, _ in good) and any(two for _, two in good)

    assert _front(pairs, *ups) == [not any(beats(other, one) for other in pairs) for one in pairs]


def test_runs_without_a_number_on_an_axis_are_left_out():
    assert [point.job_id for point in pareto_points([run(1, 10), run(2, 10, 0.8)]) if point.job_id] == [2]


def test_the_baseline_is_added_as_the_runs_measured_it_only_when_no_baseline_run_is_there():
    added = [point for point in pareto_points([run(1, 10, 0.79)]) if point.is_baseline]
    assert [(point.job_id, point.x, point.y) for point in added] == [(0, 100e6, 0.8)]
    own = [point for point in pareto_points([run(1, 10, 0.79), run(2, 100, 0.8, families="")]) if point.is_baseline]
    assert [point.job_id for point in own] == [2]


def test_bars_show_the_paired_interval_around_the_value():
    point = pareto_points([run(1, 10, 0.79, half=0.0004)])[0]
    assert (point.y_low, point.y_high) == pytest.approx((0.7896, 0.7904))
    assert point.x_low is None


def test_no_runs_give_no_points():
    assert pareto_points([]) == []


@pytest.mark.parametrize("dark", [False, True])
def test_every_marker_of_the_figure_carries_its_run(dark):
    points = pareto_points([run(1, 10, 0.79), run(2, 20, 0.8, families="distill+quantize"), run(3, 40, 0.78)])
    figure = draw_pareto(points, x="size_bytes", y="auc", log_x=True, recommended=2, dark=dark)
    found = {row[0] for trace in figure.data if trace.customdata is not None for row in trace.customdata}
    assert found == {0, 1, 2, 3}
    assert figure.layout.xaxis.type == "log"
    dimmed = 0.6 if dark else 0.35
    faded = [trace for trace in figure.data if trace.customdata is not None and trace.marker.opacity == dimmed]
    assert [row[0] for trace in faded for row in trace.customdata] == [3]


def contrast(colour: str, opacity: float, surface: str) -> float:
    """The ratio of WCAG between a colour at an opacity and the surface below it."""
    def luminance(parts):
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    over, under = ([int(one[place:place + 2], 16) / 255 for place in (1, 3, 5)] for one in (colour, surface))
    mixed = [opacity * top + (1 - opacity) * bottom for top, bottom in zip(over, under, strict=True)]
    low, high = sorted((luminance(mixed), luminance(under)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("family", FAMILY_COLOURS)
def test_a_dominated_point_is_seen_as_well_in_the_dark_theme_as_in_the_light_one(family):
    seen = {}
    for dark in (False, True):
        points = pareto_points([run(1, 10, 0.79, families=family), run(2, 40, 0.78, families=family)])
        figure = draw_pareto(points, x="size_bytes", y="auc", dark=dark)
        (faded,) = [trace for trace in figure.data if trace.customdata is not None and trace.customdata[0][0] == 2]
        seen[dark] = contrast(faded.marker.color, faded.marker.opacity, palette(dark).surface)
        assert faded.marker.opacity < 1
    assert seen[True] >= seen[False]


def test_thousands_of_runs_are_drawn_by_webgl():
    many = [run(index, 10 + index, 0.79 - index * 1e-6) for index in range(1, 2000)]
    figure = draw_pareto(pareto_points(many), x="size_bytes", y="auc")
    assert "scattergl" in {trace.type for trace in figure.data}


def test_a_module_changed_twice_is_one_bar_from_first_to_last():
    changes = [Change(step=0, method="m", module="tables.user", bytes_before=100, bytes_after=50),
               Change(step=1, method="m", module="tables.user", bytes_before=50, bytes_after=10),
               Change(step=1, method="m", module="mlp.0", bytes_before=400, bytes_after=100)]
    bars = byte_bars(changes)
    assert [(bar.module, bar.before, bar.after) for bar in bars] == [("mlp.0", 400, 100), ("tables.user", 100, 10)]
    assert len(draw_byte_bars(bars).data) == 2


def test_bars_beyond_the_most_are_added_up():
    changes = [Change(step=0, method="m", module=f"t{index:02}", bytes_before=10, bytes_after=1) for index in range(20)]
    bars = byte_bars(changes, most=5)
    assert (bars[-1].module, bars[-1].before, bars[-1].after) == ("16 more", 160, 16)


def test_a_family_the_theme_does_not_know_is_still_drawn():
    point = run(1, 10, 0.79)
    odd = FakePoint(2, "odd", "newfamily", run(2, 20, 0.8).values)
    figure = draw_pareto(pareto_points([point, odd]), x="size_bytes", y="auc")
    assert {row[0] for trace in figure.data if trace.customdata is not None for row in trace.customdata} >= {1, 2}


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (1e3, 1e8, [1e3, 1e4, 1e5, 1e6, 1e7, 1e8]),
    (2.75e5, 1.9e6, [2e5, 5e5, 1e6, 2e6]),
    (9e4, 4.2e5, [1e5, 2e5, 5e5]),
    (1.6, 4.3, [2, 3, 4]),
    (2.4, 3.6, [2.5, 3, 3.5]),
])
def test_a_logarithmic_axis_has_three_round_ticks_however_little_it_spans(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)
