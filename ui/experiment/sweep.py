"""A sweep: one slider over several values, or a grid of two, as several recipes queued at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from compression.spec.errors import RecipeError
from compression.spec.method import METHODS
from compression.spec.presets import recipe_name
from compression.spec.recipe import check
from compression.spec.records import Recipe
from ui.shared.escape import escaped
from ui.shared.params_form import Control, controls, format_number, parse_list

MAX_RUNS = 100  # of one sweep


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
    """Values to start from: every option, the default with its neighbours, or round values spread over the slider."""
    if control.kind == "toggle":
        return (False, True)
    if control.kind == "select":
        return control.options
    if control.kind == "steps":
        here = control.options.index(min(control.options, key=lambda option: abs(option - control.default)))
        return control.options[max(0, here - 1):here + 2]
    span = control.upper - control.lower
    round_to = max(control.step, 10.0 ** round(math.log10(span / 10)))
    values = [min(max(round((control.lower + span * share) / round_to) * round_to, control.lower), control.upper)
              for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
    kept = [round(round(value / control.step) * control.step, 10) for value in values]
    return tuple(dict.fromkeys(int(value) if control.whole else value for value in kept))


def parse_values(control: Control, text: str) -> tuple[float, ...]:
    """The numbers of "0.2, 0.4 0.8", each once. Raises RecipeError where one is no number or beyond the bounds."""
    try:
        values = tuple(dict.fromkeys(parse_list(text, whole=control.whole)))
    except ValueError:
        raise RecipeError(f"{control.label} takes {'whole ' * control.whole}numbers separated by commas; "
                          f"got {text!r}.") from None
    for value in values:
        if not control.lower <= value <= control.upper:
            raise RecipeError(f"{control.label} must be in [{format_number(control.lower)}, "
                              f"{format_number(control.upper)}]; got {format_number(value)}.")
    return values


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
    # a key of its own for each parameter, so that every one starts at its own values
    if one.control.kind not in ("slider", "steps"):
        chosen = st.multiselect("Values", one.control.options or (False, True), default=suggested(one.control),
                                key=f"{key}.{title}")
        return Axis(one.step, one.control.name, tuple(chosen)) if chosen else None
    start = ", ".join(f"{value:g}" for value in suggested(one.control))
    text = st.text_input("Values, separated by commas", start, key=f"{key}.{title}",
                         help=f"From {format_number(one.control.lower)} to {format_number(one.control.upper)}.")
    try:
        values = parse_values(one.control, text)
    except RecipeError as error:
        st.error(escaped(error))
        return None
    return Axis(one.step, one.control.name, values) if values else None
