"""A sweep: one slider over several values, or a grid of two, as several recipes queued at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from compression.errors import RecipeError
from compression.method import METHODS
from compression.presets import recipe_name
from compression.recipe import check
from compression.records import Recipe
from ui.params_form import Control, controls, format_number

MAX_RUNS = 100  # of one sweep
SUGGESTED = 5


@dataclass(frozen=True)
class Axis:
    """A parameter of a step, with the values it takes in turn."""

    step: int
    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Slider:
    """A parameter that can be swept: the step it belongs to, and its control."""

    step: int
    control: Control
    title: str  # "1 · Magnitude pruning: Sparsity"


def sliders(recipe: Recipe) -> list[Slider]:
    """Every parameter of the recipe that takes one of several values."""
    return [Slider(index, one, f"{index + 1} · {METHODS[step.method].title}: {one.label}")
            for index, step in enumerate(recipe.steps) if step.method in METHODS
            for one in controls(METHODS[step.method].params) if one.kind in ("slider", "steps", "select", "toggle")]


def suggested(control: Control) -> tuple[Any, ...]:
    """Values to choose from: every option, or five spread evenly over the slider."""
    if control.kind == "toggle":
        return (False, True)
    if control.options:
        return control.options
    span = control.upper - control.lower
    spread = [control.lower + round(span * part / (SUGGESTED + 1) / control.step) * control.step
              for part in range(1, SUGGESTED + 1)]
    return tuple(sorted({control.default, *(int(value) if control.whole else round(value, 10) for value in spread)}))


def parse_value(control: Control, text: Any) -> Any:
    """A typed value as the parameter has it. Raises RecipeError where it isn't a number within the bounds."""
    if not isinstance(text, str) or text in control.options:
        return text
    try:
        value = int(text) if control.whole else float(text)
    except ValueError:
        raise RecipeError(f"{control.label} takes a number; got {text!r}.") from None
    if not control.lower <= value <= control.upper:
        raise RecipeError(f"{control.label} must be in [{format_number(control.lower)}, "
                          f"{format_number(control.upper)}]; got {text}.")
    return value


def expand(recipe: Recipe, axes: Sequence[Axis]) -> list[Recipe]:
    """One recipe for each combination of values, named after what differs.

    Raises RecipeError above MAX_RUNS, and where a combination can't run.
    """
    axes = [axis for axis in axes if axis.values]
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MAX_RUNS:
        raise RecipeError(f"A sweep has at most {MAX_RUNS} runs; this one has {count}. Choose fewer values.")
    found = _named(recipe, [_with(recipe, axes, values)
                            for values in itertools.product(*(axis.values for axis in axes))])
    for one in found:
        errors = [problem.message for problem in check(one) if problem.severity == "error"]
        if errors:
            raise RecipeError(f"{one.name} can't run: {errors[0]}")
    return found


def _with(recipe: Recipe, axes: Sequence[Axis], values: Sequence[Any]) -> tuple[Recipe, str]:
    """The recipe with these values, and the values in words."""
    steps = list(recipe.steps)
    told = []
    for axis, value in zip(axes, values, strict=True):
        steps[axis.step] = steps[axis.step].model_copy(
            update={"params": {**steps[axis.step].params, axis.name: value}})
        told.append(f"{axis.name.replace('_', ' ')} {format_number(value) if _is_number(value) else value}")
    return recipe.model_copy(update={"steps": tuple(steps)}), ", ".join(told)


def _named(recipe: Recipe, varied: list[tuple[Recipe, str]]) -> list[Recipe]:
    """Names that tell the runs apart: what each does, or the values behind the name where that isn't enough."""
    plain = [recipe_name(one.steps) for one, _ in varied]
    enough = recipe.name == recipe_name(recipe.steps) and len(set(plain)) == len(plain)
    return [one.model_copy(update={"name": name if enough else f"{recipe.name} · {told}" if told else recipe.name})
            for (one, told), name in zip(varied, plain, strict=True)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def draw_sweep(recipe: Recipe) -> list[Axis]:
    """Choose one parameter and its values, and a second for a grid. Gives the axes; empty without a sweep."""
    known = sliders(recipe)
    if not known:
        st.caption("Add a step to sweep one of its sliders.")
        return []
    first = _draw_axis(known, "Vary", "experiment.sweep1")
    if first is None:
        return []
    rest = [one for one in known if (one.step, one.control.name) != (first.step, first.name)]
    second = _draw_axis(rest, "And, as a grid, vary", "experiment.sweep2") if rest else None
    return [axis for axis in (first, second) if axis is not None]


def _draw_axis(known: list[Slider], label: str, key: str) -> Axis | None:
    titles = {one.title: one for one in known}
    if st.session_state.get(key) not in titles:
        st.session_state.pop(key, None)  # the step it belonged to is gone
    title = st.selectbox(label, list(titles), index=None, key=key, placeholder="Nothing: one run")
    if title is None:
        return None
    one = titles[title]
    typed = one.control.kind in ("slider", "steps")
    chosen = st.multiselect("Values", list(suggested(one.control)), key=f"{key}.{title}", accept_new_options=typed,
                            format_func=lambda value: format_number(value) if _is_number(value) else str(value),
                            placeholder="Choose, or type a value and press Enter" if typed else "Choose")
    try:
        values = tuple(dict.fromkeys(parse_value(one.control, value) for value in chosen))
    except RecipeError as error:
        st.error(str(error))
        return None
    return Axis(one.step, one.control.name, values) if values else None
