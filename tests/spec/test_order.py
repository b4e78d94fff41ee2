"""The order of a recipe is checked once, from what methods declare, and what is said can be done."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from compression.spec.effects import DENSE, TABLES, Effect
from compression.spec.method import METHODS, Problem
from compression.spec.order import fixed
from compression.spec.presets import PRESETS
from compression.spec.recipe import check, fine_tune_step, trains
from compression.spec.records import Part, Recipe, Step
from compression.testing.steps import recipe_of

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("compression", "jobs", "pages", "plots", "storage", "ui")
TUNE = ("train.fine_tune", {})
ZEROS_NOW = ("prune.magnitude", "prune.random", "prune.taylor", "prune.n_of_m")
ZEROS_LATER = ("prune.movement", "prune.l1", "prune.iterative")


def said(*steps: tuple[str, dict]) -> list[str]:
    return [f"{problem.severity} {problem.step + 1}: {problem.message}" for problem in check(recipe_of(*steps))]


def has(text: str, *steps: tuple[str, dict]) -> bool:
    return any(text in one for one in said(*steps))


@pytest.mark.parametrize("low_rank", ["factorize.svd", "factorize.activation_svd", "factorize.cross"])
@pytest.mark.parametrize("pruning", [*ZEROS_NOW, *ZEROS_LATER])
def test_low_rank_undoes_the_zeros_of_every_pruning_method(pruning, low_rank):
    warning = "warning 3: This step undoes the zeros of step 1; keep one of the two."
    assert has(warning, (pruning, {}), TUNE, (low_rank, {}))
    assert not has("undoes", (low_rank, {}), (pruning, {}), TUNE)
    assert not has("undoes", (pruning, {}), TUNE, ("prune.store_sparse", {}), (low_rank, {}))


def test_zeros_of_other_parts_are_left_alone():
    tables = {"weights": "tables"}
    assert not has("undoes", ("prune.magnitude", tables), ("factorize.svd", {"weights": "dense"}))
    assert not has("undoes", ("prune.magnitude", {"sparsity": 0.0}), ("factorize.svd", {}))
    assert has("undoes", ("prune.magnitude", tables), ("embed.reduce_dim", {}))


def test_a_training_that_holds_no_zeros_is_warned_of():
    lost = "warning 3: This training loses zeros of step 1"
    assert has(lost, ("prune.magnitude", {}), TUNE, TUNE)
    assert not has("loses", ("prune.magnitude", {}), TUNE)
    assert not has("loses", ("prune.magnitude", {}), TUNE, ("prune.magnitude", {"sparsity": 0.8}), TUNE)
    # a mask that is made fits one shape, one that grows while training fits any
    assert has(lost, ("prune.magnitude", {}), ("prune.channels", {}), TUNE)
    assert not has("loses", ("prune.movement", {}), ("prune.channels", {}), TUNE)
    assert not has("loses", ("prune.channels", {}), ("prune.magnitude", {}), TUNE)
    assert not has("loses", ("prune.magnitude", {}), ("reparam.depthwise", {}), TUNE)  # masks are on matrices alone


@pytest.mark.parametrize("counting", ["embed.prune_rows", "embed.mixed_precision", "embed.nested_codes"])
@pytest.mark.parametrize("sharing", ["embed.hash", "factorize.tensor_train"])
def test_what_counts_rows_is_warned_where_nobody_can(sharing, counting):
    assert has("warning 3: This step needs to know how often rows are read", (sharing, {}), TUNE, (counting, {}))
    assert not has("how often", (counting, {}), TUNE)
    assert not has("how often", (sharing, {}), TUNE, ("embed.prune_rows", {"by": "norm"}))


def test_one_training_treats_the_weights_of_a_layer_in_one_way():
    branches, binary = ("reparam.overparameterize", {}), ("quantize.binary", {})
    assert has("error 2: Step 1 trains layers in parts in the next training", branches, ("prune.movement", {}), TUNE)
    assert has("error 2: Step 1 holds single weights at zero", ("prune.n_of_m", {}), binary, TUNE)
    assert not has("at once", ("prune.n_of_m", {}), TUNE, binary, TUNE)
    assert not has("at once", ("prune.magnitude", {"weights": "tables"}), binary, TUNE)
    assert not has("at once", ("reparam.overparameterize", {"n_parts": 1}), binary, TUNE)


def test_what_waits_for_a_training_is_not_left_without_its_layers():
    gates = ("embed.learn_dims", {})
    assert has("warning 2: This step replaces layers that step 1 waits", gates, ("embed.hash", {}), TUNE)
    assert not has("waits", gates, TUNE, ("embed.quantize_rows", {}))
    assert not has("waits", ("reparam.overparameterize", {}), ("embed.quantize_rows", {}), TUNE)


def test_sparse_storage_comes_after_the_training_that_makes_its_zeros():
    assert has("no step before it makes zeros", ("prune.movement", {}), ("prune.store_sparse", {}), TUNE)
    assert said(("prune.movement", {}), TUNE, ("prune.store_sparse", {})) == []
    assert has("no step before it makes zeros", ("prune.channels", {}), ("prune.store_sparse", {}))
    dense_alone = {"weights": "dense"}
    assert not has("leaves", ("prune.random", {}), ("prune.store_sparse", dense_alone), ("embed.quantize_rows", {}))
    assert not has("leaves", ("prune.random", {}), ("prune.store_sparse", {}), ("distill.self", {}), TUNE)
    assert has("leaves", ("prune.random", {}), ("prune.store_sparse", {}), ("embed.quantize_rows", {}))


def test_halves_of_tables_may_follow_codes_of_dense_layers():
    assert said(("share.kmeans", {}), ("quantize.half", {"weights": "tables"})) == []
    assert has("error 2: Tables are already quantised by step 1", ("embed.quantize_rows", {}),
               ("quantize.half", {"weights": "tables"}))


def test_two_steps_have_one_problem_with_each_other():
    assert said(("quantize.dynamic", {}), ("quantize.weights", {})) == [
        "error 2: Dense layers are already quantised by step 1; keep one of them."]
    errors = [one for one in said(("quantize.dynamic", {}), ("prune.l1", {}), TUNE) if one.startswith("error 2")]
    assert errors == ["error 2: L1 training needs float weights, and step 1 has quantised the dense layers; "
                      "move it before step 1."]


def test_a_step_that_can_not_be_read_keeps_its_place_and_hides_no_other():
    broken = Recipe(steps=(Step(method="gone"), Step(method="quantize.dynamic"), Step(method="quantize.static")))
    assert [(problem.step, problem.severity) for problem in check(broken)] == [(0, "error"), (2, "error")]
    assert "step 2" in check(broken)[1].message


def kind_of(recipe: Recipe, problem: Problem) -> tuple[str, str]:
    """The problem wherever its steps now stand."""
    return recipe.steps[problem.step].method, re.sub(r"[Ss]tep \d+", "step", problem.message)


@pytest.mark.parametrize("first", sorted(METHODS))
def test_doing_what_is_said_takes_the_problem_away(first):
    for second in METHODS:
        a, b = ((key, METHODS[key].tiny) for key in (first, second))
        for recipe in (recipe_of(a, b), recipe_of(a, b, TUNE), recipe_of(a, TUNE, b), recipe_of(a, TUNE, b, TUNE)):
            problems = check(recipe)
            counts = Counter(kind_of(recipe, one) for one in problems)
            for problem in problems:
                if problem.fix is None:
                    continue
                after = fixed(recipe, problem.fix)
                left = Counter(kind_of(after, one) for one in check(after))
                kind = kind_of(recipe, problem)
                assert left[kind] < counts[kind], (recipe.steps, problem)


def test_fixes_move_insert_and_remove():
    late = recipe_of(("quantize.dynamic", {}), ("prune.channels", {}))
    assert [step.method for step in fixed(late, check(late)[0].fix).steps] == ["prune.channels", "quantize.dynamic"]
    alone = recipe_of(("prune.movement", {}), ("prune.store_sparse", {}))
    error = next(problem for problem in check(alone) if problem.severity == "error")
    assert [step.method for step in fixed(alone, error.fix).steps] == [
        "prune.movement", "train.fine_tune", "prune.store_sparse"]
    twice = recipe_of(("embed.quantize_rows", {"n_bits": 8}), ("embed.quantize_rows", {"n_bits": 4}))
    assert fixed(twice, check(twice)[0].fix).steps == twice.steps[:1]


def test_every_ready_recipe_is_in_order():
    assert {key: check(preset.recipe) for key, preset in PRESETS.items() if check(preset.recipe)} == {}


def test_one_method_trains_and_its_step_is_made_in_one_place():
    assert [key for key, method in METHODS.items() if method.trains] == ["train.fine_tune"]
    assert fine_tune_step(epochs=3) == Step(method="train.fine_tune", params={"epochs": 3})
    assert trains(fine_tune_step()) and not trains(Step(method="quantize.dynamic")) and not trains(Step(method="gone"))


def test_parts_are_declared_by_the_settings():
    half = METHODS["quantize.half"]
    made = {weights: half.effects_of(half.parse({"weights": weights})).makes[Effect.CODES]
            for weights in ("dense", "tables", "both")}
    assert made == {"dense": DENSE, "tables": TABLES, "both": frozenset(Part)}
    train = METHODS["quantize.train_dense"]
    made = {bits: train.effects_of(train.parse({"n_bits": bits})).makes[Effect.INT8_PRODUCTS] for bits in (8, 7, 4)}
    assert made == {8: DENSE, 7: DENSE, 4: frozenset()}


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_names_another_methods_key(room):
    """Order, notes and messages come from declarations; ready recipes alone name methods."""
    keys = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, METHODS))})(?!\w)")
    families = {f"{key.split('.')[0]}." for key in METHODS}
    found = []
    for path in sorted((ROOT / room).rglob("*.py")):
        if path.name == "presets.py" or "testing" in path.relative_to(ROOT).parts:  # recipes, as tests have them
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = {node.args[0].value for node in ast.walk(tree) if isinstance(node, ast.Call)
               and isinstance(node.func, ast.Name) and node.func.id == "method"
               and node.args and isinstance(node.args[0], ast.Constant)}
        texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
                named = {*keys.findall(node.value), *({node.value} & families)} - own
                found += [f"{path.relative_to(ROOT)}:{node.lineno} names {', '.join(sorted(named))}"] if named else []
    assert not found
