"""The parts of the Compare page: axes and limits, the recommendation, plot beside table, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from compression.errors import RecPressError
from compression.records import RunSpec
from plots.constraints import Recommendation, limit_words
from plots.pareto import ParetoPoint, draw_pareto
from plots.units import metric_title, split_key
from plots.verdict import largest_batch_key, sentence
from storage.records import Point, Project
from storage.store import Store
from ui.compare_data import DRAWN, TABLE_ROWS, differing, table_order, thinned
from ui.compare_state import View, change, moved, view_query
from ui.format import plural
from ui.links import draw_download, run_file_url
from ui.result_table import DIFFERENCE, column_config, difference_name, metric_keys, result_columns
from ui.state import is_dark, open_page, page_link
from ui.table import draw_dataframe
from ui.verdict import escaped

PLOT_HEIGHT = 430
ROW_HEIGHT = 35  # of a table
BUNDLE = "bundle.zip"
BESIDE_SIZE = ("download_bytes", "bundle_bytes")
GOALS = {"size": "smallest", "latency": "fastest", "quality": "most accurate"}
CHART = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "toImage"]}


def choose_project(projects: Sequence[Project], view: View) -> Project:
    """The project whose runs are compared: the link's, else the newest."""
    by_key = {project.key: project for project in projects}
    if st.session_state.get("compare.project") not in by_key:
        st.session_state["compare.project"] = view.project if view.project in by_key else projects[0].key

    def title(key: str) -> str:
        one = by_key[key]
        level = one.target.graph_optimization
        optimised = "" if level == "all" else f", graph optimisation {level}"
        return (f"{one.model_name} × {one.data_name} · {one.target.device.upper()}, "
                f"{plural(one.target.threads, 'thread')}{optimised} · {plural(one.runs, 'run')}")

    return by_key[st.selectbox("Project", list(by_key), key="compare.project", on_change=moved, format_func=title,
                               label_visibility="collapsed", help="Model × dataset × target.")]


def draw_controls(points: Sequence[Point], view: View) -> View:
    """Axes, scales and limits in one row; gives the view as the widgets have it."""
    keys = metric_keys(points)
    for name, fallback in (("x", "size_bytes"), ("y", "auc")):
        if st.session_state.get(f"compare.{name}") not in keys:
            st.session_state[f"compare.{name}"] = fallback if fallback in keys else keys[0]
    across = st.columns([1.2, 1.2, 0.62, 0.62, 1.8], gap="small", vertical_alignment="bottom")
    x = across[0].selectbox("Across", keys, key="compare.x", on_change=moved, format_func=metric_title)
    y = across[1].selectbox("Up", keys, key="compare.y", on_change=moved, format_func=metric_title)
    logx = across[2].toggle("log ↔", key="compare.logx", on_change=moved, help="Logarithmic scale across.")
    logy = across[3].toggle("log ↕", key="compare.logy", on_change=moved, help="Logarithmic scale upwards.")
    with across[4], st.popover(_limits_label(view), width="stretch",
                               help="What a run may cost; the best run inside the limits is recommended."):
        view = _draw_limits(keys, view)
    return replace(view, x=x, y=y, logx=logx, logy=logy)


def _limits_label(view: View) -> str:
    words = limit_words(replace(view.limits, max_size_bytes=st.session_state.get("compare.mb") and
                                st.session_state["compare.mb"] * 1e6, max_loss=st.session_state.get("compare.loss"),
                                max_latency_ms=st.session_state.get("compare.ms")))
    return f"Limits: {words or 'none'}"


def _draw_limits(keys: Sequence[str], view: View) -> View:
    loss = st.number_input("AUC lost, at most", 0.0, 1.0, step=0.0005, format="%.4f", key="compare.loss",
                           on_change=moved, placeholder="no limit", help="Absolute: 0.001 is a tenth of a point.")
    proven = st.toggle("Only where the 95 % interval shows it", key="compare.proven", on_change=moved,
                       help="The whole paired interval has to keep the limit, not only the measured value.")
    ms = st.number_input("Milliseconds, at most", 0.0, step=0.1, format="%.3f", key="compare.ms", on_change=moved,
                         placeholder="no limit")
    latencies = [key for key in keys if split_key(key)[0] in ("latency_p50_ms", "latency_p95_ms")]
    if st.session_state.get("compare.at") not in latencies:
        default = largest_batch_key(dict.fromkeys(latencies), "latency_p50_ms")
        st.session_state["compare.at"] = default
    at = st.selectbox("read at", latencies, key="compare.at", on_change=moved,
                      format_func=metric_title) if latencies else None
    mb = st.number_input("MB on disk, at most", 0.0, step=1.0, format="%.3f", key="compare.mb", on_change=moved,
                         placeholder="no limit")
    goal = st.segmented_control("Then take the", list(GOALS), key="compare.goal", on_change=moved,
                                format_func=GOALS.get, required=True)
    default = largest_batch_key(dict.fromkeys(latencies), "latency_p50_ms")
    return replace(view, loss=loss, proven=proven, ms=ms, mb=mb, at=None if at == default else at, goal=goal or "size")


def draw_recommendation(found: Recommendation) -> None:
    """The sentence that says which run to take and why, and the way to take it."""
    left, right = st.columns([3.4, 1], vertical_alignment="center")
    left.markdown(f"**Recommended** · {escaped(found.why)}" if found.winner else escaped(found.why))
    if found.winner:
        with right, st.container(horizontal=True, horizontal_alignment="right"):
            draw_download("Export the winner", run_file_url(found.winner, BUNDLE), primary=True,
                          help="Download its bundle: model.onnx, recipe, numbers, model card, predict.py.")


def draw_picked(points: Sequence[Point], view: View) -> None:
    """The run whose point was clicked: its verdict, and the way to it."""
    picked = next((point for point in points if point.job_id == view.pick), None)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="compare_picked"):
        if picked is None:
            st.caption("Click a point to read its verdict and open the run.")
            return
        st.markdown(escaped(f"#{picked.job_id} {sentence(picked.name, picked.values)}"), width="stretch")
        page_link("run", f"Open run {picked.job_id}", id=picked.job_id)


def draw_plot(placed: list[ParetoPoint], view: View, winner: int | None) -> None:
    """The trade-off plot; a click on a point picks its run."""

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
    if len(placed) > DRAWN:
        st.caption(f"{len(drawn):,} of {len(placed):,} points drawn: crowded points that others beat are drawn once.")


def draw_table(points: Sequence[Point], placed: Sequence[ParetoPoint], view: View, meets: frozenset[int]) -> None:
    """The same runs as numbers; a click on a heading sorts, ticked rows are set side by side."""
    shown = table_order(points, placed, set(view.side) | {view.pick or 0})
    pinned = next((point for point in points if point.job_id == view.pin), None)
    keys = table_keys(shown, view)
    columns = result_columns(shown, keys, pinned=pinned)
    for key in BESIDE_SIZE:
        if key not in (view.x, view.y):
            columns.pop(difference_name(key), None)  # its value alone: differences of what is compared come first
    columns["meets"] = [point.job_id in meets for point in shown]
    config = column_config(keys, pinned_name=pinned.name if pinned else "the baseline")
    config["meets"] = st.column_config.CheckboxColumn("Limits", help="Ticked where the run keeps every limit.")

    def ticked() -> None:
        rows = st.session_state["compare.table"]["selection"]["rows"]
        change(side=tuple(shown[row].job_id for row in rows[:4]))

    start = [index for index, point in enumerate(shown) if point.job_id in view.side]
    draw_dataframe(columns, hide_index=True, height=min(PLOT_HEIGHT, ROW_HEIGHT * (len(shown) + 1) + 3),
                 column_config=config, key="compare.table",
                 column_order=table_columns(list(columns)),
                 on_select=ticked, selection_mode="multi-row", selection_default={"selection": {"rows": start}},
                 placeholder="—")
    if len(points) > TABLE_ROWS:
        st.caption(f"{TABLE_ROWS:,} of {len(points):,} runs: the front first, then the newest. Filter by name below.")


def table_keys(points: Sequence[Point], view: View) -> list[str]:
    """What is on the axes, then what everybody asks of a run, where it was measured."""
    known = metric_keys(points)
    ratio = largest_batch_key(dict.fromkeys(known), "latency_ratio")
    asked = [key for key in ("auc", "size_bytes", ratio, *BESIDE_SIZE) if key in known]
    return list(dict.fromkeys([view.y, view.x, *asked]))


def table_columns(names: Sequence[str]) -> list[str]:
    """The name, what differs, the limits, then the values themselves: the first fit beside the plot."""
    plain = [name for name in names if name not in ("job", "name", "meets")]
    told = [name for name in plain if name.endswith(DIFFERENCE) or name.startswith("latency_ratio")]
    return ["name", *told, "meets", *(name for name in plain if name not in told), "job"]


def draw_pin(store: Store, points: Sequence[Point], view: View) -> View:
    """Which run differences are counted from, a filter by name, and a name under which to keep the picture."""
    names = {point.job_id: f"#{point.job_id} {point.name}" for point in points[-TABLE_ROWS:]}
    if st.session_state.get("compare.pin") not in names:
        st.session_state["compare.pin"] = None
    across = st.columns([1.4, 1.2, 0.8], vertical_alignment="bottom")
    pin = across[0].selectbox("Differences are to", list(names), key="compare.pin", on_change=moved,
                              format_func=names.get, placeholder="the baseline, as measured beside each run")
    text = across[1].text_input("Only runs named", key="compare.q", on_change=moved, placeholder="any name")
    view = replace(view, pin=pin, q=text)
    with across[2]:
        draw_save(store, points, view)
    return view


def draw_save(store: Store, points: Sequence[Point], view: View) -> None:
    """Keep this picture under a name, and open one that was kept."""
    with st.popover("Save or open", width="stretch", help="A saved comparison keeps its runs from being deleted."):
        name = st.text_input("Name", key="compare.save_name", placeholder="Candidates for the spring release")
        if st.button("Save this comparison", disabled=not name.strip()):
            runs = view.side or view.runs or tuple(point.job_id for point in points[-50:])
            try:
                saved = store.save_comparison(name, runs, view={key: value for key, value in view_query(
                    replace(view, runs=tuple(runs))).items() if value is not None})
            except RecPressError as error:
                st.error(escaped(error))
            else:
                st.success(f"Saved. Its link: compare?c={saved}")
        for one in store.comparisons(limit=10):
            page_link("compare", f"{one.name} · {plural(len(one.runs), 'run')}", c=one.id)


def draw_side_by_side(store: Store, points: Sequence[Point], view: View) -> None:
    """Two to four ticked runs: only what differs."""
    by_id = {point.job_id: point for point in points}
    chosen = [by_id[job_id] for job_id in view.side if job_id in by_id][:4]
    st.header("Side by side", anchor=False)
    if len(chosen) < 2:
        st.caption("Tick two to four runs in the table to see only what differs between them.")
        return
    specs = [store.job(point.job_id).spec for point in chosen]
    rows = differing([(f"#{point.job_id} {point.name}", spec.recipe, point)
                      for point, spec in zip(chosen, specs, strict=True) if isinstance(spec, RunSpec)])
    draw_dataframe(rows, hide_index=True)
    with st.container(horizontal=True):
        for point in chosen:
            if st.button(f"Clone #{point.job_id}", key=f"clone.{point.job_id}", type="tertiary"):
                open_page("experiment", clone=point.job_id)
