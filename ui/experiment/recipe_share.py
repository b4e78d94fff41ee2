"""A recipe in and out of the editor: as a link, as YAML to copy or download, from a paste or a file."""

from __future__ import annotations

import re

import streamlit as st

from compression.spec.errors import RecipeError
from compression.spec.link import pack
from compression.spec.presets import recipe_name
from compression.spec.recipe import MAX_RECIPE_CHARS, dump_recipe, load_recipe
from compression.spec.records import Recipe
from ui.experiment.recipe_editor import set_steps
from ui.shared.copy_button import copy_link_button
from ui.shared.escape import escaped
from ui.shared.state import plain_query

SEED = "experiment.seed"
PASTED, UPLOADED, PROBLEM = "experiment.yaml", "experiment.yaml_file", "experiment.yaml_error"


def draw_share(recipe: Recipe, *, model: str, data: str) -> None:
    """Copy a link, download the YAML, or bring a recipe in."""
    with st.expander("Share or import"):
        try:
            text, problem = dump_recipe(recipe), ""
        except RecipeError as error:
            text, problem = "", str(error)
        if problem:
            st.caption("Fix the errors above to share this recipe.")
        else:
            _draw_out(recipe, text, model=model, data=data)
        st.text_area("Paste a recipe", key=PASTED, height=90, placeholder="version: 1\nname: …\nsteps: …")
        st.file_uploader("or choose a YAML file", type=("yaml", "yml", "json"), key=UPLOADED, max_upload_size=1)
        st.button("Load recipe", on_click=_bring_in)
        if st.session_state.get(PROBLEM):
            st.error(escaped(st.session_state[PROBLEM]))


def load_into_editor(recipe: Recipe) -> None:
    """Put a recipe that came from outside into the form."""
    # a recipe named after what it does goes on to be: its name follows the steps
    st.session_state["experiment.name"] = "" if recipe.name == recipe_name(recipe.steps) else recipe.name
    st.session_state[SEED] = recipe.seed
    set_steps(recipe.steps)


def file_name(recipe: Recipe) -> str:
    """A file name that every system takes: "int8 rows + int8 dense" → "int8-rows-int8-dense.yaml"."""
    return (re.sub(r"[^a-z0-9]+", "-", recipe.name.lower()).strip("-")[:60] or "recipe") + ".yaml"


def _draw_out(recipe: Recipe, text: str, *, model: str, data: str) -> None:
    left, right = st.columns(2, gap="small")
    with left:
        try:
            token = pack(recipe)
        except RecipeError as error:
            st.caption(escaped(error))
        else:
            query = plain_query({"model": model, "data": data, "recipe": token})
            copy_link_button("Copy link", "&".join(f"{key}={value}" for key, value in query.items()), key="share.link",
                             help="Whoever opens it finds this recipe in the editor, with this model and dataset if "
                                  "they are there.")
    with right:
        st.download_button("Download", text, file_name=file_name(recipe), mime="application/yaml", width="stretch",
                           help="The recipe as YAML, every default written out.", on_click="ignore")
    st.code(text, language="yaml", height=180)


def _bring_in() -> None:
    file = st.session_state.get(UPLOADED)
    try:
        text = _text_of(file) if file is not None else st.session_state.get(PASTED, "")
        load_into_editor(load_recipe(text))
    except RecipeError as error:
        st.session_state[PROBLEM] = str(error)
        return
    st.session_state[PROBLEM] = ""


def _text_of(file) -> str:
    if file.size > 4 * MAX_RECIPE_CHARS:
        raise RecipeError(f"A recipe has at most {MAX_RECIPE_CHARS} characters; this file has {file.size:,} bytes.")
    try:
        return file.getvalue().decode()
    except UnicodeDecodeError:
        raise RecipeError(f"{file.name} is no text in UTF-8; a recipe is a YAML or JSON file.") from None
