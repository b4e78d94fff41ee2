"""The first runs of a model on its data: a few recipes from safe to bold, queued with one click."""

from __future__ import annotations

import streamlit as st

from compression.spec.errors import RecPressError
from compression.spec.presets import PRESETS, presets_for
from compression.spec.recipe import without_training_rows
from compression.spec.records import Recipe, RunSpec
from jobs.submit import submit_many
from storage.records import DataRow, ModelRow
from storage.store import Store
from ui.shared.escape import escaped
from ui.shared.format import plural
from ui.shared.state import open_page, say_later

FIRST = ("int8", "int4", "rare", "student")
MOST = 4


def suggested_recipes(model: ModelRow, data: DataRow) -> list[tuple[str, Recipe, str]]:
    """Name, recipe and reason: the model as it is, and presets that suit it. Without training rows, only those that
    learn nothing."""
    suiting = presets_for(model.description)
    first = [PRESETS[key] for key in FIRST if PRESETS[key] in suiting]
    chosen = [one for one in (first if len(first) > 1 else suiting) if not (
        data.description.is_test_only and without_training_rows(one.recipe, data.name))]
    return [("baseline", Recipe(), "The model as it is, exported and measured the same way."),
            *((one.recipe.name, one.recipe, one.summary) for one in chosen[:MOST])]


def queue_suggested(store: Store, model: ModelRow, data: DataRow) -> None:
    """Queue them and open Compare, where the plot draws itself as they finish; a refusal is shown."""
    recipes = suggested_recipes(model, data)
    try:
        jobs = submit_many(store, [(name, RunSpec(model=model.id, data=data.id, recipe=recipe))
                                   for name, recipe, _ in recipes])
    except RecPressError as error:
        st.error(escaped(error))
        return
    say_later(f"{plural(len(recipes), 'run')} queued.")
    open_page("compare", project=store.job(jobs[0]).project)
