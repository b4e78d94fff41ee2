"""Runs: what is running, what has run, and what to do with it."""

import streamlit as st

from ui.runs import view as parts
from ui.shared.live import draw_active
from ui.shared.shell import empty_state, page_title
from ui.shared.state import open_page, store

page_title("Runs", "Every job, newest first. Tick runs to compare them; the address keeps your filters.")
if not store().counts():
    empty_state("Nothing has run yet", "Queue a recipe on the Experiment page, or start with the sample on Home.")
    with st.container(horizontal=True):
        if st.button("Build a recipe", type="primary"):
            open_page("experiment")
        if st.button("Try the sample"):
            open_page("home")
    st.stop()
draw_active(store())
filters = parts.choose_filters(store())
page = parts.jobs_page(store(), filters)
if not page.total:
    empty_state("No job matches these filters", "Loosen a filter, or clear the name.")
    st.stop()
actions = st.container()
chosen = parts.draw_table(store(), page)
with actions:
    parts.draw_actions(store(), chosen)
parts.draw_pager(page)
for job in chosen[:3]:
    parts.draw_detail(store(), job)
