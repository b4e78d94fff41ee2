"""Recipes: read and write them, check them, digest them, and estimate what they will weigh.

recipe = load_recipe(path)
problems = check(recipe)                 # errors and warnings, each at its step
layers = estimate(description, recipe)   # the exported tensors, by shapes alone
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import yaml
from pydantic import ValidationError

from compression.spec import order
from compression.spec.digests import digested
from compression.spec.effects import Effects
from compression.spec.errors import RecipeError
from compression.spec.method import METHODS, Method, Need, Params, Problem
from compression.spec.plain_text import TextError, read_json, read_yaml
from compression.spec.records import ModelDescription, Recipe, Step

MAX_RECIPE_CHARS = 100_000
MAX_STEPS = 100


def parse_step(step: Step) -> tuple[Method, Params]:
    """The step's method and validated parameters. Raises RecipeError for an unknown method or a broken bound."""
    if step.method not in METHODS:
        raise RecipeError(f"There is no method {step.method!r}; known methods: {', '.join(sorted(METHODS))}.")
    chosen = METHODS[step.method]
    return chosen, chosen.parse(step.params)


def check(recipe: Recipe) -> list[Problem]:
    """Everything that keeps a recipe from running or may disappoint, in the order of the steps."""
    problems: list[Problem] = []
    placed: list[order.Placed] = []
    for index, step in enumerate(recipe.steps):
        try:
            chosen, params = parse_step(step)
        except RecipeError as error:
            problems.append(Problem(index, "error", str(error)))
            continue
        placed.append(order.place(index, chosen, params))
        problems.extend(Problem(index, "warning", sentence) for sentence in chosen.warnings(params))
    return sorted([*order.problems(placed), *problems], key=lambda problem: problem.step)


def effects_of(step: Step) -> Effects:
    """What the step makes, needs and undoes. Raises RecipeError as parse_step does."""
    chosen, params = parse_step(step)
    return chosen.effects_of(params)


def fine_tune_step(**params: Any) -> Step:
    """A step that trains the model on, with these settings of a training (compression/train/params.py)."""
    return Step(method=order.training_key(), params=params)


def trains(step: Step) -> bool:
    """Whether a step trains the model; one of an unknown method does not."""
    return step.method in METHODS and METHODS[step.method].trains


def without_training_rows(recipe: Recipe, data_name: str) -> str:
    """Why a recipe can't run on a dataset of test rows alone, naming the first step that learns; "" where it can."""
    for index, step in enumerate(recipe.steps):
        chosen, _ = parse_step(step)
        if chosen.needs & {Need.LABELS, Need.CALIBRATION, Need.FINE_TUNE}:
            return (f"Step {index + 1} ({chosen.title}) learns from training rows, and {data_name} has test rows "
                    "alone. Remove the step, or choose a dataset with a training split.")
    return ""


def estimate(description: ModelDescription, recipe: Recipe) -> ModelDescription:
    """The model as the recipe will leave it, by shapes alone. Raises RecipeError as parse_step does."""
    layers = description.layers
    for step in recipe.steps:
        chosen, params = parse_step(step)
        layers = chosen.estimated(layers, params)
    return description.model_copy(update={"layers": layers})


def digest(recipe: Recipe) -> str:
    """sha256 of what the recipe does: defaults filled in, its name left out; digests.py says which parameters count."""
    steps = [[step.method, digested(parse_step(step)[1])] for step in recipe.steps]
    text = json.dumps([recipe.version, steps, recipe.seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load_recipe(text: str) -> Recipe:
    """A recipe from YAML or JSON. Raises RecipeError with the line or key that is wrong."""
    return _recipe_of(text, read_yaml)


def load_json_recipe(text: str) -> Recipe:
    """A recipe from JSON alone, as links carry it. Raises RecipeError with the place or key that is wrong."""
    return _recipe_of(text, read_json)


def _recipe_of(text: str, read: Callable[[str], Any]) -> Recipe:
    if len(text) > MAX_RECIPE_CHARS:
        raise RecipeError(f"A recipe has at most {MAX_RECIPE_CHARS} characters; got {len(text)}.")
    try:
        plain = read(text)
    except TextError as error:
        raise RecipeError(f"The recipe can't be read: {error}.") from None
    if not isinstance(plain, dict):
        raise RecipeError("A recipe is a mapping with version, name and steps; see README.md for an example.")
    try:
        recipe = Recipe(**plain)
    except (ValidationError, TypeError) as error:
        details = error.errors() if isinstance(error, ValidationError) else []
        where = "; ".join(f"{'.'.join(map(str, item['loc']))[:60]}: {item['msg']}" for item in details[:3])
        raise RecipeError(f"The recipe can't be read: {where or str(error)[:200]}.") from None
    if len(recipe.steps) > MAX_STEPS:
        raise RecipeError(f"A recipe has at most {MAX_STEPS} steps; got {len(recipe.steps)}.")
    for step in recipe.steps:
        parse_step(step)
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every default written out, so that it means the same next year."""
    steps = [{"method": step.method, "params": parse_step(step)[1].model_dump(mode="json")} for step in recipe.steps]
    plain = {"version": recipe.version, "name": recipe.name, "seed": recipe.seed, "steps": steps}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
