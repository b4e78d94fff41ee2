"""Compare: the trade-off of every run of a project, the limits that matter, and the run that keeps them best."""

from dataclasses import replace

import streamlit as st

from ui import compare_view as parts
from ui.compare_data import chosen_points, judged, project_points, revision
from ui.compare_saved import open_saved, project_of
from ui.compare_state import opened_view, write_view
from ui.escape import escaped
from ui.failures import warn_without_worker
from ui.live import draw_active
from ui.shell import empty_state, page_title
from ui.state import open_page, store

open_saved(store())
view = opened_view()
head, side = st.columns([1.6, 1], vertical_alignment="bottom")
with head:
    page_title("Compare")
known = store().projects(limit=200)
projects = [project for project in known if project.runs]
waiting = [project for project in known if not project.runs and project.active
           and (project.key == view.project or not projects)]
if waiting:
    empty_state("Runs are on their way", "The plot appears here with the first that is done, and grows with the rest.")
    st.caption(escaped(f"{waiting[0].model_name} · {waiting[0].data_name}"))
    draw_active(store())
    warn_without_worker(store())
    st.stop()
if not projects:
    empty_state("No finished run yet", "Queue two or three recipes on the Experiment page: they appear here as points "
                "between size, speed and quality.")
    if st.button("Build a recipe", type="primary"):
        open_page("experiment")
    st.stop()
with side:
    project = parts.choose_project(projects, replace(view, project=view.project or project_of(store(), view.runs)))
if view.project and view.project != project.key:  # runs of the other project mean nothing here
    view = replace(view, runs=(), side=(), pick=None, pin=None)
of = revision(store(), project)
everything = project_points(store(), project, of)
view = replace(view, q=st.session_state.get("compare.q") or "")
points = chosen_points(everything, view.runs, view.q)
if not points:
    empty_state("No run matches", "None of the chosen runs is finished in this project.")
    if st.button("Show every run of the project"):
        write_view(replace(view, runs=(), q="", project=project.key))
        st.session_state["compare.q"] = ""
        st.rerun()
    st.stop()
recommendation_place = st.container()
view = parts.draw_controls(points, replace(view, project=project.key))
placed, found = judged(points, (*of, view.runs, view.q), view.x, view.y, view.limits)
with recommendation_place:
    parts.draw_recommendation(found)
left, right = st.columns([1.15, 1], gap="medium")
with left:
    parts.draw_plot(placed, view, found.winner)
with right:
    parts.draw_table(points, placed, view, found.meets)
parts.draw_picked(points, view)
view = parts.draw_pin(store(), everything, view)
parts.draw_side_by_side(store(), points, view)
write_view(view)
if project.active:
    draw_active(store())
