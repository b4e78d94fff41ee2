"""Compare: the trade-off of every run of a project, the limits that matter, and the run that keeps them best."""

from dataclasses import replace

import streamlit as st

from ui.compare import view as parts
from ui.compare.data import chosen_points, placed_points, project_points, recommended, revision
from ui.compare.saved import draw_saved, open_saved, project_of
from ui.compare.state import as_written, draw_problems, opened_view, without_missing, write_view
from ui.shared.escape import escaped
from ui.shared.failures import warn_without_worker
from ui.shared.live import draw_active
from ui.shared.result_table import metric_keys
from ui.shared.shell import empty_state, page_title
from ui.shared.state import open_page, store
from ui.shared.tasks import task_of, warn_without_task

open_saved(store())
view = opened_view()
head, side = st.columns([1, 1], vertical_alignment="bottom")
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
    named = [*view.runs, *view.side, *(one for one in (view.pick, view.pin) if one)]
    project = parts.choose_project(projects, replace(view, project=view.project or project_of(store(), named)))
if view.project and view.project != project.key:  # runs of the other project mean nothing here
    view = replace(view, runs=(), side=(), pick=None, pin=None)
of = revision(store(), project)
everything = project_points(store(), project, of)
view, task = replace(view, project=project.key), task_of(store(), project.data)
warn_without_task(store(), project.data)
# what stands below decides what is drawn above: controls are read first and take their place on the page
problem_place, recommendation_place, control_place, result_place, below = (st.container() for _ in range(5))
with control_place:
    view = parts.draw_controls(metric_keys(everything), view, project, task)
with below:
    pin_place, save_place = st.columns([2.6, 0.8], vertical_alignment="bottom")
    with pin_place:
        view = parts.draw_pin(everything, view)
points, shown = chosen_points(everything, view.runs, view.q), (*of, view.runs, view.q)
found = recommended(points, shown, view.limits(project.target, task))
placed = placed_points(points, shown, view.x, view.y)
with recommendation_place:
    if points:
        parts.draw_recommendation(found)
with result_place:
    if points:
        left, right = st.columns([1.15, 1], gap="medium")
        with left:
            parts.draw_plot(placed, len(points), view, found.winner)
        with right:
            parts.draw_table(points, placed, view, found.meets, parts.pinned_point(everything, view), task)
        parts.draw_picked(points, view, project, task)
    else:
        parts.draw_none(view)
with save_place:
    draw_saved(store(), points, without_missing(as_written(view, task), everything))
parts.draw_side_by_side(store(), chosen_points(everything, view.runs, ""), view)
with problem_place:
    draw_problems(view.runs, everything)
write_view(as_written(view, task))
if project.active:
    draw_active(store())
