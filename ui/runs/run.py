"""The parts of the Run page."""

from __future__ import annotations

import streamlit as st

from compression.running.step_cache import taken_sentence
from compression.spec.errors import RecPressError
from compression.spec.names import BUNDLE
from compression.spec.recipe import dump_recipe
from compression.spec.records import Result, RunSpec
from compression.spec.values import values_of
from compression.tasks.units import target_words
from plots.bars import byte_bars, draw_byte_bars
from storage.records import Job
from storage.store import Store
from ui.runs.verdict import draw_figures, draw_verdict, measurement_table
from ui.shared.chart import draw_chart
from ui.shared.escape import escaped
from ui.shared.format import ago, human_seconds, when
from ui.shared.links import draw_download, run_file_url
from ui.shared.live import POLL_S, attempt, draw_failure, log_tail, progress_share, progress_words
from ui.shared.shell import draw_gone, empty_state
from ui.shared.state import is_dark, open_page, page_link, query_int
from ui.shared.table import draw_dataframe
from ui.shared.tasks import task_of, warn_without_task

BADGES = {"queued": "gray", "running": "blue", "done": "green", "failed": "red", "cancelled": "orange"}
LOG_LINE_HEIGHT = 22  # pixels


def opened_job(store: Store) -> Job:
    """The job of `?id=`; without one, or with one that is gone, says so and stops the page."""
    job_id = query_int("id")
    try:
        if job_id is not None:
            return store.job(job_id)
        empty_state("No run chosen", "This page shows one run; open it from the list of runs, or from a point on "
                                     "Compare.")
        page_link("runs", "All runs")
    except RecPressError as error:
        draw_gone("run", str(error), "runs")
    st.stop()


def draw_head(store: Store, job: Job) -> None:
    """Name, state, where it comes from, and what can be done with it."""
    left, right = st.columns([1.6, 1], vertical_alignment="bottom")
    with left:
        st.title(escaped(job.name), anchor=False)
        told = [f"Run {job.id}" if job.kind == "run" else f"Job {job.id} · {job.kind.replace('_', ' ')}"]
        told += [_name(store.model, job.model), _name(store.dataset, job.data)]
        if isinstance(job.spec, RunSpec):
            told += target_words(job.spec.target)
        if job.ended and job.started:
            told.append(f"took {human_seconds(job.ended - job.started)}, ended {ago(job.ended)}")
        st.markdown(f":{BADGES[job.state]}-badge[{job.state}] :gray[{' · '.join(escaped(one) for one in told if one)}]",
                    help=f"Queued {when(job.created)}, started {when(job.started)}, ended {when(job.ended)}.")
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        _draw_actions(store, job)
    if job.cached_from:
        st.caption(f"An equal run was measured before: these are the numbers of run {job.cached_from}.")
    if job.parent:
        page_link("run", f"Cloned from run {job.parent}", id=job.parent)


def _name(get, key: str | None) -> str:
    """The name of a model or dataset; "" where it is gone."""
    try:
        return get(key).name if key else ""
    except RecPressError:
        return "deleted"


def _draw_actions(store: Store, job: Job) -> None:
    if job.state in ("queued", "running"):
        st.button("Cancel", on_click=attempt, args=(store.cancel, job.id), disabled=job.cancel_asked)
        return
    if job.kind == "run" and st.button("Clone", help="Open its recipe on the Experiment page."):
        open_page("experiment", clone=job.id)
    if job.state in ("failed", "cancelled") and st.button("Retry", type="primary",
                                                          help="Queue it again; it goes on from its checkpoint."):
        try:
            store.retry(job.id)
        except RecPressError as error:
            st.error(escaped(error))
        else:
            st.rerun()
    if job.result_ready:
        if st.button("Compare", help="See it beside the other runs of its model and dataset."):
            open_page("compare", project=job.project, pick=job.id)
        draw_download("Export", run_file_url(job.id, BUNDLE), primary=True,
                      help="A zip: model.onnx, recipe, signature, vocabularies, numbers, model card, predict.py.")


def draw_waiting(store: Store, job: Job) -> None:
    """Live progress and log until the job ends, then the page with what it found."""

    @st.fragment(run_every=POLL_S)
    def live() -> None:
        now = store.job(job.id)
        if now.state not in ("queued", "running"):
            st.rerun()
        words = progress_words(now)
        st.progress(progress_share(now.progress), text=escaped(words[:1].upper() + words[1:]))
        if now.state == "queued" and not any(worker.alive for worker in store.workers()):
            st.warning("No worker is running. Start one with `python -m jobs.worker`; Settings lists them.")
        _draw_log(store, job, height=360, growing=True)

    live()


def draw_ended(store: Store, job: Job) -> None:
    """A job without a result: why, what next, and its log. A finished import or training leads to what it made."""
    draw_failure(job)
    if job.state == "done" and job.model:
        page_link("models", "Open the model", id=job.model)
    elif job.state == "done" and job.data:
        page_link("datasets", "Open the dataset", id=job.data)
    _draw_log(store, job, height=420)


def draw_result(store: Store, job: Job) -> None:
    """Verdict and figures first; what is behind them in tabs."""
    result = store.result(job.id)
    values = values_of(result)
    sizes = result.spec.target.batch_sizes
    warn_without_task(store, job.data)
    task = task_of(store, job.data)
    draw_verdict(job.name, values, task=task, batch_sizes=sizes)
    draw_figures(values, sizes, task=task)
    if result.cached_steps:
        st.caption(taken_sentence(result.cached_steps))
    names = ["Where the bytes went", f"Changes {len(result.changes)} · left alone {len(result.skipped)}", "All numbers",
             "Recipe", "Log", "Files"]
    tabs = st.tabs(names)
    for tab, draw in zip(tabs[:4], (_draw_bytes, _draw_changes, _draw_numbers, _draw_recipe), strict=True):
        with tab:
            draw(result)
    with tabs[4]:
        _draw_log(store, job, height=420)
    with tabs[5]:
        _draw_files(job, result)


def _draw_bytes(result: Result) -> None:
    bars = byte_bars(result.changes)
    if not bars:
        st.caption("No step changed the bytes of a module.")
        return
    draw_chart(draw_byte_bars(bars, dark=is_dark()), key="run.bytes",
               alt="Bytes of each changed module before and after. The Changes tab has the same numbers.")


def _draw_changes(result: Result) -> None:
    if result.changes:
        draw_dataframe([{"Step": one.step + 1, "Method": one.method, "Module": one.module,
                       "Before": one.bytes_before, "After": one.bytes_after, "Detail": one.detail}
                      for one in result.changes], hide_index=True,
                     column_config=dict.fromkeys(("Before", "After"), st.column_config.NumberColumn(format="bytes")))
    else:
        st.caption("Nothing was changed: this is the model as it is.")
    if result.skipped:
        st.markdown("**Left alone, and why**")
        draw_dataframe([{"Step": one.step + 1, "Method": one.method, "Module": one.module, "Reason": one.reason}
                      for one in result.skipped], hide_index=True)


def _draw_numbers(result: Result) -> None:
    draw_dataframe(measurement_table(values_of(result)), hide_index=True)
    st.caption(escaped(" · ".join(f"{key} {value}" for key, value in result.environment.items())))


def _draw_recipe(result: Result) -> None:
    text = dump_recipe(result.spec.recipe)
    st.code(text, language="yaml")
    st.download_button("Download recipe.yaml", text, file_name="recipe.yaml", mime="application/yaml")


def _draw_files(job: Job, result: Result) -> None:
    for name, digest in sorted(result.files.items()):
        with st.container(horizontal=True, vertical_alignment="center"):
            draw_download(name, run_file_url(job.id, name))
            st.caption(f"sha256 {digest}")


def _draw_log(store: Store, job: Job, *, height: int, growing: bool = False) -> None:
    """The end of the log: a short one takes the lines it has; a growing one has its place from the start."""
    text = log_tail(store, job.id)
    if text:
        is_long = len(text.splitlines()) * LOG_LINE_HEIGHT > height
        st.code(text, language=None, height=height if growing or is_long else "content")
    else:
        st.caption("No log yet: it begins when a worker takes the job." if growing else "This job has no log.")
