"""The view of Compare survives its URL, the table holds numbers, and a sweep names what differs."""

import pytest

from compression.spec.errors import RecipeError
from compression.spec.method import METHODS
from compression.spec.presets import PRESETS, recipe_name
from compression.spec.recipe import check, parse_step
from compression.spec.records import Recipe, Step, Target
from compression.spec.values import Value
from plots.pareto import pareto_points
from tests.plots.points import run
from tests.ui.filled import description
from ui.compare.data import DRAWN, differing, thinned
from ui.compare.state import View, parse_view, view_query
from ui.compare.view import table_keys
from ui.experiment.recipe_editor import stages, timed_words
from ui.experiment.sweep import Axis, expand, sliders, suggested
from ui.shared.result_table import metric_keys, result_columns


@pytest.mark.parametrize("view", [
    View(), View(project="p", runs=(1, 2), x="latency_ratio@512", logx=False, loss=None, ms=2.5, mb=0.6, proven=True,
                 goal="latency", slower=True, pin=3, pick=4, side=(1, 2), q="int8", at="latency_p95_ms@1"),
])
def test_a_view_is_the_same_after_its_address(view):
    query = {key: value for key, value in view_query(view).items() if value is not None}
    assert parse_view(query) == (view, [])


def test_the_view_everybody_starts_with_needs_no_address():
    assert all(value is None for value in view_query(View()).values())


def test_columns_hold_values_and_differences_and_nothing_for_what_was_not_measured():
    columns = result_columns([run(1, 10, 0.79), run(2, 20)], ["size_bytes", "auc"])
    assert columns["size_bytes"] == [10, 20]
    assert columns["size_bytes difference"] == pytest.approx([0.1, 0.2])
    assert columns["auc"] == [0.79, None] and columns["auc difference"][1] is None


def test_a_pinned_run_is_what_differences_are_counted_from():
    pinned = run(2, 20, 0.795)
    columns = result_columns([run(1, 10, 0.79), pinned], ["size_bytes", "auc"], pinned=pinned)
    assert columns["size_bytes difference"] == [0.5, 1.0]
    assert columns["auc difference"] == pytest.approx([-0.005, 0])


def test_metric_keys_come_in_the_order_of_the_catalogue_then_by_batch():
    keys = metric_keys([run(1, 10, 0.79, 3)])
    assert keys == ["auc", "size_bytes", "latency_p50_ms@512", "latency_ratio@512"]


def test_the_table_has_the_axes_first_and_the_download_size_where_it_was_measured():
    points = [run(1, 10, 0.79, 3), run(2, 20, 0.795, 2)]
    keys = table_keys(points, View(x="latency_p50_ms@512"))
    assert keys == ["auc", "latency_p50_ms@512", "size_bytes", "latency_ratio@512"]
    points[1].values["download_bytes"] = Value(15e6, baseline=90e6)
    points[1].values["bundle_bytes"] = Value(21e6, baseline=99e6)
    assert table_keys(points, View())[-3:] == ["latency_ratio@512", "download_bytes", "bundle_bytes"]
    assert result_columns(points, ["bundle_bytes"])["bundle_bytes"] == [None, 21]  # a run from before shows "—"
    assert result_columns(points, ["download_bytes"])["download_bytes"] == [None, 15]


def test_thinning_keeps_the_front_and_what_was_asked_for():
    points = pareto_points([run(index, 10 + index % 500, 0.79 - index * 1e-6) for index in range(1, 5000)])
    kept = thinned(points, {4321})
    assert len(kept) <= DRAWN + sum(point.on_front for point in points) + 2
    assert {point.job_id for point in points if point.on_front} <= {point.job_id for point in kept}
    assert 4321 in {point.job_id for point in kept}


def test_what_is_equal_is_left_out_side_by_side():
    step = Step(method="prune.magnitude", params={"sparsity": 0.5})
    other = Step(method="prune.magnitude", params={"sparsity": 0.8})
    rows = differing([("a", Recipe(steps=(step,)), run(1, 10, 0.79)), ("b", Recipe(steps=(other,)), run(2, 10, 0.8))])
    assert [row["What"] for row in rows] == ["AUC", "prune.magnitude · sparsity"]
    assert rows[0]["b"].endswith("best")


def test_a_grid_is_every_combination_with_names_that_tell_them_apart():
    recipe = Recipe(name=recipe_name((Step(method="embed.prune_rows"),)), steps=(Step(method="embed.prune_rows"),))
    runs = expand(recipe, [Axis(0, "keep", (0.1, 0.5)), Axis(0, "min_rows", (2, 64))])
    assert len(runs) == 4 == len({one.name for one in runs})
    assert {one.steps[0].params["keep"] for one in runs} == {0.1, 0.5}


def test_a_sweep_that_is_too_large_or_breaks_a_bound_is_refused_with_the_reason():
    recipe = Recipe(name="x", steps=(Step(method="prune.magnitude"),))
    with pytest.raises(RecipeError, match="at most 100 runs; this one has 101"):
        expand(recipe, [Axis(0, "sparsity", tuple(index / 200 for index in range(101)))])
    with pytest.raises(RecipeError, match=r"sparsity of prune.magnitude must be in \[0, 0.99\]"):
        expand(recipe, [Axis(0, "sparsity", (0.5, 1.5))])


def test_every_suggested_value_of_every_method_passes_its_validator():
    for key in METHODS:
        recipe = Recipe(steps=(Step(method=key),))
        for slider in sliders(recipe):
            for value in suggested(slider.control):
                parse_step(Step(method=key, params={slider.control.name: value}))


def test_every_preset_can_run_and_makes_a_model_that_it_suits_smaller():
    for preset in PRESETS.values():
        assert [one for one in check(preset.recipe) if one.severity == "error"] == []
        found = stages(description(), preset.recipe)
        if preset.suits(description()):
            assert found[-1].size_bytes < found[0].size_bytes, preset.key


def test_the_size_says_which_layers_a_run_may_leave_in_float():
    rows, dense = Step(method="embed.quantize_rows"), Step(method="quantize.dynamic")
    assert timed_words(Recipe(steps=(rows,))) == ""
    assert "Dynamic int8: dense layers that measure slower" in timed_words(Recipe(steps=(rows, dense, dense)))


def test_a_recipe_is_named_after_what_it_does():
    assert recipe_name(PRESETS["int4"].recipe.steps) == "int4 rows + int8 dense"
    assert recipe_name(()) == "baseline"
    assert recipe_name((Step(method="train.fine_tune"),)) == "fine-tune"


def test_a_value_without_baseline_has_no_difference():
    assert result_columns([run(1, 10)], ["latency_p50_ms@512"])["latency_p50_ms@512 difference"] == [None]
    assert Value(1.0).baseline is None


def test_a_limit_of_zero_is_a_limit():
    limits = View(loss=0.0, ms=0.0, mb=0.0).limits(Target())
    assert (limits.max_loss, limits.max_latency_ms, limits.max_size_bytes) == (0.0, 0.0, 0.0)
