"""Experiment: choose what to compress, put a recipe together while its size is computed, queue the runs."""

import streamlit as st

from ui.experiment.form import choose_subject, draw_recipe_and_review, load_from_url
from ui.shared.shell import empty_state, page_title
from ui.shared.state import open_page, store

page_title("Experiment", "Put a recipe together, see at once what the file will weigh, and queue it.")
models, datasets = store().models(), store().datasets()
if not models or not datasets:
    empty_state("Nothing to compress yet" if not models else "No dataset yet",
                "An experiment needs a model and a dataset it can be measured on. The sample on Home brings both; "
                "or add your own.")
    with st.container(horizontal=True):
        if st.button("Try the sample", type="primary"):
            open_page("home")
        if st.button("Add a model" if datasets else "Add a dataset"):
            open_page("models" if datasets else "datasets")
    st.stop()
load_from_url(store())
model, data, target = choose_subject(models, datasets)
draw_recipe_and_review(store(), model, data, target)
