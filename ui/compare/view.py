"""The parts of the Compare page: axes and limits, the recommendation, plot beside table, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from compression.spec.names import BUNDLE
from compression.spec.records import RunSpec
from compression.spec.task import DEFAULT_TASK, TASKS
from compression.tasks.recommend import Limits, Recommendation, limit_words
from compression.tasks.units import metric_title, split_key, target_words
from compression.tasks.verdict import largest_batch_key, sentence
from plots.pareto import ParetoPoint, draw_pareto
from storage.records import Point, Project
from storage.store import Store
from ui.compare.data import DRAWN, TABLE_ROWS, differing, table_order, thinned
from ui.compare.state import OF_TASK, View, add_problem, change, moved
from ui.shared.escape import escaped
from ui.shared.format import plural
from ui.shared.links import draw_download, run_file_url
from ui.shared.result_table import DIFFERENCE, column_config, difference_name, metric_keys, result_columns
from ui.shared.shell import empty_state
from ui.shared.state import is_dark, open_page, page_link
from ui.shared.table import draw_dataframe
from ui.shared.ticks import draw_ticks

PLOT_HEIGHT = 430
ROW_HEIGHT = 35  # of a table
BESIDE_SIZE = ("download_bytes", "bundle_bytes")
ACROSS = 4  # runs side by side
GOALS = {"size": "smallest", "latency": "fastest", "quality": "most accurate"}
CHART = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "toImage"]}


def choose_project(projects: Sequence[Project], view: View) -> Project:
    """The project whose runs are compared: the link's, else the newest."""
    by_key = {project.key: project for project in projects}
    if view.project and view.project not in by_key:
        add_problem("The project of this address has no finished run here; the newest project is shown.")
    if st.session_state.get("compare.project") not in by_key:
        st.session_state["compare.project"] = view.project if view.project in by_key else projects[0].key

    def title(key: str) -> str:
        one = by_key[key]
        return (f"{one.model_name} × {one.data_name} · {', '.join(target_words(one.target))} · "
                f"{plural(one.runs, 'run')}")

    return by_key[st.selectbox("Project", list(by_key), key="compare.project", on_change=moved, format_func=title,
                               label_visibility="collapsed", help="Model × dataset × target.")]


def draw_controls(keys: Sequence[str], view: View, project: Project, task: str) -> View:
    """Axes, scales and limits in one row; gives the view as the widgets have it."""
    for name, fallback in (("x", "size_bytes"), ("y", TASKS[task].primary_metric)):
        asked = st.session_state.get(f"compare.{name}")
        if asked not in keys:
            st.session_state[f"compare.{name}"] = fallback if fallback in keys else keys[0]
            if asked is not None:
                add_problem(f"No run of this project has {asked[:40]!r}; the axis shows "
                            f"{metric_title(st.session_state[f'compare.{name}'])}.")
    across = st.columns([1.2, 1.2, 0.62, 0.62, 1.8], gap="small", vertical_alignment="bottom")
    x = across[0].selectbox("Across", keys, key="compare.x", on_change=moved, format_func=metric_title)
    y = across[1].selectbox("Up", keys, key="compare.y", on_change=moved, format_func=metric_title)
    logx = across[2].toggle("log ↔", key="compare.logx", on_change=moved, help="Logarithmic scale across.")
    logy = across[3].toggle("log ↕", key="compare.logy", on_change=moved, help="Logarithmic scale upwards.")
    with across[4], st.popover(limits_label(asked_limits(view, project, task)), width="stretch",
                               help="What a run may cost; the best run inside the limits is recommended."):
        view = _draw_limits(keys, view, project, task)
    return replace(view, x=x, y=y, logx=logx, logy=logy)


def asked_limits(view: View, project: Project, task: str) -> Limits:
    """The limits as their widgets stand now: the label is drawn before they are."""
    kept = {name: st.session_state[f"compare.{name}"] for name in ("loss", "ms", "mb", "proven", "slower")
            if f"compare.{name}" in st.session_state}
    return replace(view, **kept).limits(project.target, task)


def limits_label(limits: Limits) -> str:
    said = [words for words in (limit_words(limits), "slower runs allowed" if limits.slower else "") if words]
    return f"Limits: {', '.join(said) or 'none'}"


def _draw_limits(keys: Sequence[str], view: View, project: Project, task: str) -> View:
    if st.session_state.get("compare.loss") == OF_TASK:
        st.session_state["compare.loss"] = TASKS[task].tolerance
    loss = st.number_input(f"{metric_title(TASKS[task].primary_metric)} lost, at most", 0.0, 1.0, value=None,
                           step=0.0005, format="%.4f", key="compare.loss", on_change=moved, placeholder="no limit",
                           help="Absolute: 0.001 is a tenth of a point.")
    proven = st.toggle("Only where the 95 % interval shows it", key="compare.proven", on_change=moved,
                       help="The whole paired interval has to keep the limit, not only the measured value.")
    ms = st.number_input("Milliseconds, at most", 0.0, value=None, step=0.1, format="%.3f", key="compare.ms",
                         on_change=moved, placeholder="no limit")
    latencies = [key for key in keys if split_key(key)[0] in ("latency_p50_ms", "latency_p95_ms")]
    default = largest_batch_key(dict.fromkeys(latencies), "latency_p50_ms")
    if st.session_state.get("compare.at") not in latencies:
        st.session_state["compare.at"] = default
    at = st.selectbox("read at", latencies, key="compare.at", on_change=moved,
                      format_func=metric_title) if latencies else None
    mb = st.number_input("MB on disk, at most", 0.0, value=None, step=1.0, format="%.3f", key="compare.mb",
                         on_change=moved, placeholder="no limit")
    goal = st.segmented_control("Then take the", list(GOALS), key="compare.goal", on_change=moved,
                                format_func=GOALS.get, required=True)
    batches = " and ".join(f"{size:,}" for size in project.target.batch_sizes)
    slower = st.toggle("even if it is slower than the baseline", key="compare.slower", on_change=moved,
                       help=f"Otherwise a run that is slower at a batch size of the target ({batches}) is left out.")
    return replace(view, loss=loss, proven=proven, ms=ms, mb=mb, at=None if at == default else at, goal=goal or "size",
                   slower=slower)


def draw_recommendation(found: Recommendation) -> None:
    """The sentence that says which run to take and why, and the way to take it."""
    left, right = st.columns([3.4, 1], vertical_alignment="center")
    left.markdown(f"**Recommended** · {escaped(found.why)}" if found.winner else escaped(found.why))
    if found.winner:
        with right, st.container(horizontal=True, horizontal_alignment="right"):
            draw_download("Export the winner", run_file_url(found.winner, BUNDLE), primary=True,
                          help="Download its bundle: model.onnx, recipe, numbers, model card, predict.py.")


def draw_picked(points: Sequence[Point], view: View, project: Project, task: str) -> None:
    """The run whose point was clicked: its verdict, and the way to it."""
    picked = next((point for point in points if point.job_id == view.pick), None)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="compare_picked"):
        if picked is None:
            st.caption("Click a point to read its verdict and open the run.")
            return
        told = sentence(picked.name, picked.values, task=task, batch_sizes=project.target.batch_sizes)
        st.markdown(escaped(f"#{picked.job_id} {told}"), width="stretch")
        page_link("run", f"Open run {picked.job_id}", id=picked.job_id)


def draw_plot(placed: list[ParetoPoint], count: int, view: View, winner: int | None) -> None:
    """The trade-off plot; a click on a point picks its run. `count` runs were asked for; not all have both numbers."""

    def picked() -> None:
        chosen = st.session_state["compare.plot"]["selection"]["points"]
        job_id = next((point["customdata"][0] for point in chosen if point.get("customdata")), 0)
        if job_id:
            change(pick=int(job_id))

    marked = {view.pick} if view.pick else set()
    drawn = thinned(placed, marked | {winner or 0} | set(view.side))
    figure = draw_pareto(drawn, x=view.x, y=view.y, log_x=view.logx, log_y=view.logy, recommended=winner,
                         highlighted=marked, dark=is_dark(), height=PLOT_HEIGHT)
    st.plotly_chart(figure, theme=None, config=CHART, key="compare.plot", on_select=picked, selection_mode="points",
                    alt=f"{metric_title(view.y)} against {metric_title(view.x)} of {plural(len(placed), 'run')}; "
                        "the table beside it has the same numbers.")
    missing = count - sum(point.job_id > 0 for point in placed)
    if missing:
        st.caption(f"{plural(missing, 'run')} of {count:,} {'has' if missing == 1 else 'have'} no "
                   f"{metric_title(view.x)} or no {metric_title(view.y)} and {'is' if missing == 1 else 'are'} not "
                   "in the plot.")
    if len(placed) > DRAWN:
        st.caption(f"{len(drawn):,} of {len(placed):,} points drawn: crowded points that others beat are drawn once.")


def draw_table(points: Sequence[Point], placed: Sequence[ParetoPoint], view: View, meets: frozenset[int],
               pinned: Point | None, task: str) -> None:
    """The same runs as numbers; a click on a heading sorts, ticked rows are set side by side."""
    shown = table_order(points, placed, {*view.side, view.pick or 0})
    keys = table_keys(shown, view, task)
    columns = result_columns(shown, keys, pinned=pinned)
    for key in BESIDE_SIZE:
        if key not in (view.x, view.y):
            columns.pop(difference_name(key), None)  # its value alone: differences of what is compared come first
    columns["meets"] = [point.job_id in meets for point in shown]
    config = column_config(keys, pinned=pinned)
    config["meets"] = st.column_config.CheckboxColumn(
        "Limits", help="Ticked where the run keeps every limit; unless allowed, none that is slower does.")
    ids = [point.job_id for point in shown]

    def ticked(now: tuple[int, ...]) -> None:
        elsewhere = tuple(run for run in view.side if run not in ids)  # ticked before the name filter hid them
        change(side=elsewhere + now)

    draw_ticks(columns, ids, key="compare.table", ticked=view.side, on_tick=ticked,
               height=min(PLOT_HEIGHT, ROW_HEIGHT * (len(shown) + 1) + 3), column_config=config,
               column_order=table_columns(list(columns)), placeholder="—")
    if len(points) > TABLE_ROWS:
        st.caption(f"{TABLE_ROWS:,} of {len(points):,} runs: the front first, then the newest. Filter by name below.")


def table_keys(points: Sequence[Point], view: View, task: str = DEFAULT_TASK) -> list[str]:
    """What is on the axes, then what everybody asks of a run, where it was measured."""
    known = metric_keys(points)
    ratio = largest_batch_key(dict.fromkeys(known), "latency_ratio")
    asked = [key for key in (TASKS[task].primary_metric, "size_bytes", ratio, *BESIDE_SIZE) if key in known]
    return list(dict.fromkeys([view.y or TASKS[task].primary_metric, view.x, *asked]))


def table_columns(names: Sequence[str]) -> list[str]:
    """The name, what differs, the limits, then the values themselves: the first fit beside the plot."""
    plain = [name for name in names if name not in ("job", "name", "meets")]
    told = [name for name in plain if name.endswith(DIFFERENCE) or name.startswith("latency_ratio")]
    return ["name", *told, "meets", *(name for name in plain if name not in told), "job"]


def draw_pin(points: Sequence[Point], view: View) -> View:
    """Which run differences are counted from, and a filter by name."""
    asked = {*view.runs, *view.side, st.session_state.get("compare.pin")}
    names = {point.job_id: f"#{point.job_id} {point.name}" for place, point in enumerate(points)
             if place >= len(points) - TABLE_ROWS or point.job_id in asked}
    if st.session_state.get("compare.pin") not in names:
        if st.session_state.get("compare.pin") is not None:
            add_problem(f"Run {st.session_state['compare.pin']} is not in this project; differences are to the "
                        "baseline.")
        st.session_state["compare.pin"] = None
    across = st.columns([1.4, 1.2], vertical_alignment="bottom")
    pin = across[0].selectbox("Differences are to", list(names), key="compare.pin", on_change=moved,
                              format_func=names.get, placeholder="the baseline, as measured beside each run")
    text = across[1].text_input("Only runs named", key="compare.q", on_change=moved, placeholder="any name")
    return replace(view, pin=pin, q=text)


def pinned_point(points: Sequence[Point], view: View) -> Point | None:
    """The run that differences are counted from, shown in the table or not; None is the baseline."""
    return next((point for point in points if point.job_id == view.pin), None)


def draw_none(view: View) -> None:
    """No run of the project is left by the name or the address."""
    empty_state("No run matches", f"No run has {view.q!r} in its name." if view.q else
                "None of the chosen runs is finished in this project.")
    st.button("Show every run of the project", on_click=_show_all)


def _show_all() -> None:
    change(runs=(), q="")
    st.session_state["compare.q"] = ""


def draw_side_by_side(store: Store, points: Sequence[Point], view: View) -> None:
    """Two to four ticked runs: only what differs."""
    by_id = {point.job_id: point for point in points}
    ticked = [by_id[job_id] for job_id in view.side if job_id in by_id]
    chosen = ticked[:ACROSS]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header("Side by side", anchor=False, width="content")
        if ticked:
            st.button("Untick all", type="tertiary", on_click=change, kwargs={"side": ()})
    if len(chosen) < 2:
        st.caption("Tick two to four runs in the table to see only what differs between them.")
        return
    if len(ticked) > ACROSS:
        rest = ", ".join(f"#{point.job_id}" for point in ticked[ACROSS:])
        st.caption(f"The first {ACROSS} of {len(ticked)} ticked runs; untick one to see {rest}.")
    specs = [store.job(point.job_id).spec for point in chosen]
    rows = differing([(f"#{point.job_id} {point.name}", spec.recipe, point)
                      for point, spec in zip(chosen, specs, strict=True) if isinstance(spec, RunSpec)])
    draw_dataframe(rows, hide_index=True, height="content")
    with st.container(horizontal=True):
        for point in chosen:
            if st.button(f"Clone #{point.job_id}", key=f"clone.{point.job_id}", type="tertiary"):
                open_page("experiment", clone=point.job_id)
