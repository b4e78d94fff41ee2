"""The recipe as it is put together: steps in order, their sliders, what conflicts, and what the file will weigh.

The recipe lives in the session as a list of steps, each with an id of its own, so that moving one keeps its
sliders. `stages()` and the list operations know nothing of streamlit's widgets and are tested on their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from compression.spec.catalogue import by_family, family_title
from compression.spec.errors import RecipeError
from compression.spec.method import METHODS, Gain, Problem
from compression.spec.presets import GOAL_WORDS, PRESETS, Goal, new_step, presets_for, recipe_name
from compression.spec.recipe import check, estimate
from compression.spec.records import ModelDescription, Recipe, Step
from compression.tasks.units import format_change, human_bytes
from ui.methods.rows import card_url, open_picker
from ui.shared.escape import escaped
from ui.shared.params_form import params_form

STEPS = "experiment.steps"  # session key: list of EditedStep
COUNTER = "experiment.step_counter"
PRESET = "experiment.preset"
GOAL = "experiment.goal"


@dataclass
class EditedStep:
    """A step under edit: an id that outlives moving it, and the values its widgets show."""

    id: int
    method: str
    params: dict[str, Any]


def edited_steps() -> list[EditedStep]:
    return st.session_state.setdefault(STEPS, [])


def set_steps(steps: tuple[Step, ...]) -> None:
    """Replace the recipe under edit: a preset, a clone, an imported file. Every step gets fresh widgets."""
    st.session_state[STEPS] = [EditedStep(_next_id(), step.method, dict(step.params)) for step in steps]


def add_step(method: str) -> None:
    """Put a step behind the last one that has to come before it: fine-tuning stays at the end of what it trains."""
    edited_steps().append(EditedStep(_next_id(), method, dict(new_step(method).params)))


def move_step(step_id: int, by: int) -> None:
    """Move a step up (−1) or down (+1); at the end of the list nothing happens."""
    steps = edited_steps()
    here = next(index for index, step in enumerate(steps) if step.id == step_id)
    there = here + by
    if 0 <= there < len(steps):
        steps[here], steps[there] = steps[there], steps[here]


def remove_step(step_id: int) -> None:
    st.session_state[STEPS] = [step for step in edited_steps() if step.id != step_id]


def _next_id() -> int:
    st.session_state[COUNTER] = st.session_state.get(COUNTER, 0) + 1
    return st.session_state[COUNTER]


def recipe_of(steps: list[EditedStep], *, name: str = "", seed: int = 0) -> Recipe:
    """The recipe under edit, named after what it does unless a name is given."""
    plain = tuple(Step(method=step.method, params=step.params) for step in steps)
    return Recipe(name=name or recipe_name(plain), steps=plain, seed=seed)


@dataclass(frozen=True)
class Stage:
    """What the exported file weighs after the first `step` steps (0: the model as it is)."""

    step: int
    title: str
    size_bytes: int


def stages(description: ModelDescription, recipe: Recipe) -> list[Stage]:
    """The exact size after each step, by shapes alone. Raises RecipeError as parse_step does."""
    found = [Stage(0, "as it is", description.size_bytes)]
    for count, step in enumerate(recipe.steps, start=1):
        # one step at a time over the layers the last one left
        description = estimate(description, recipe.model_copy(update={"steps": (step,)}))
        found.append(Stage(count, METHODS[step.method].title, description.size_bytes))
    return found


def draw_recipe_editor(description: ModelDescription | None = None) -> list[EditedStep]:
    """Presets, the steps with their sliders, and the control that adds one. Gives the steps as they now stand.

    With a model, presets and methods are those that suit it.
    """
    _draw_presets(description)
    steps = edited_steps()
    problems = check(recipe_of(steps))
    for index, step in enumerate(steps):
        _draw_step(step, index, len(steps))
        problems = check(recipe_of(steps)) if index == len(steps) - 1 else problems
    if not steps:
        st.caption("No step yet: the run measures the model as it is, the baseline. Pick a preset, or add a step.")
    draw_problems(problems)
    _draw_adder(description)
    return steps


def _draw_presets(description: ModelDescription | None) -> None:
    def chosen() -> None:
        picked = st.session_state[PRESET]
        if picked:
            set_steps(PRESETS[picked].recipe.steps)

    goals = [goal for goal in Goal if presets_for(description, goal)]
    if not goals:
        return
    st.segmented_control("Ready recipes for", goals, key=GOAL, format_func=lambda goal: goal.value,
                         help="Recipes that suit this model, by what matters most. Every slider stays yours.")
    goal = st.session_state.get(GOAL)
    if goal is None:
        return
    st.caption(GOAL_WORDS[Goal(goal)])
    keys = [one.key for one in presets_for(description, Goal(goal))]
    st.pills("Start from", keys, key=PRESET, wrap=True, on_change=chosen, label_visibility="collapsed",
             format_func=lambda key: PRESETS[key].recipe.name)
    picked = st.session_state.get(PRESET)
    if picked and edited_steps():
        when = PRESETS[picked].when
        st.caption(f"{PRESETS[picked].summary} For: {when[0].lower()}{when[1:]}")


def _draw_step(step: EditedStep, index: int, count: int) -> None:
    chosen = METHODS.get(step.method)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{index + 1} · {chosen.title if chosen else escaped(step.method)}**"
                        + (f" &nbsp; :small[[Card]({card_url(step.method)})]" if chosen else ""),
                        help=f"{chosen.summary} Source: {chosen.source}" if chosen else None, width="stretch")
            key = f"step.{step.id}"
            st.button("Up", key=f"{key}.up", type="tertiary", disabled=index == 0, on_click=move_step,
                      args=(step.id, -1), help="Apply this step earlier.")
            st.button("Down", key=f"{key}.down", type="tertiary", disabled=index == count - 1, on_click=move_step,
                      args=(step.id, 1), help="Apply this step later.")
            st.button("Remove", key=f"{key}.remove", type="tertiary", on_click=remove_step, args=(step.id,),
                      help="Take this step out of the recipe.")
        if chosen:
            step.params = params_form(chosen.params, key=f"{key}.params", values=step.params, columns=2)


def draw_problems(problems: list[Problem]) -> None:
    """Errors and warnings in words, each with the number of its step."""
    for problem in problems:
        draw = st.error if problem.severity == "error" else st.warning
        draw(f"Step {problem.step + 1}: {escaped(problem.message)}")


def _draw_adder(description: ModelDescription | None) -> None:
    def add() -> None:
        picked = st.session_state["experiment.add"]
        if picked:
            add_step(picked)
            st.session_state["experiment.add"] = None

    keys = [one.key for members in by_family().values() for one in members]
    if description:
        keys = sorted(keys, key=lambda key: bool(METHODS[key].why_not(description)))
    left, right = st.columns([3.4, 1], gap="small", vertical_alignment="bottom")
    with left:
        st.selectbox("Add a step", keys, index=None, key="experiment.add", placeholder="Type to find a method",
                     on_change=add, format_func=lambda key: f"{METHODS[key].title} · {METHODS[key].summary}",
                     help="Families: " + ", ".join(family_title(family).lower() for family in by_family()) + ".")
    with right:
        if st.button(f"See all {len(METHODS)}", key="experiment.browse", width="stretch",
                     help="Every method by family, with what it does to the size of this model."):
            open_picker(description, add_step)


def timed_words(recipe: Recipe) -> str:
    """What the estimate can't know: which layers the run will put back because they measure slower; "" where none."""
    timed = [METHODS[step.method].title for step in recipe.steps if Gain.FASTER in METHODS[step.method].gains]
    if not timed:
        return ""
    return (f" {' and '.join(dict.fromkeys(timed))}: dense layers that measure slower than float on the target stay in "
            "float, and the file is larger by them.")


def draw_size(description: ModelDescription | None, recipe: Recipe) -> None:
    """What the export will weigh, and how each step brings it there.

    The tensors are exact; the graph is the baseline's, and grows by some hundred bytes with each layer replaced.
    """
    if description is None:
        st.caption("Choose a model to see what the file will weigh.")
        return
    try:
        found = stages(description, recipe)
    except RecipeError as error:
        st.caption(f"No estimate: {escaped(error)}")
        return
    before, after = found[0].size_bytes, found[-1].size_bytes
    change = format_change(after / before) if before else "±0 %"
    st.metric("Size on disk, computed", human_bytes(after), delta=None if change.startswith("±") else change,
              delta_color="normal" if after <= before else "inverse", delta_arrow="down" if after <= before else "up",
              help=f"From shapes alone: {after:,} bytes. Weights, indices, scales and codebooks count exactly; the few "
                   f"kB of the graph are those of the model as it is ({before:,} bytes in all) and may grow."
                   + timed_words(recipe))
    if len(found) > 2:
        st.caption("  \n".join(f"after {stage.step} · {stage.title}: {human_bytes(stage.size_bytes)}"
                               for stage in found[1:]))
