"""The parts of the Runs page: filters that live in the URL, one page of jobs, and what to do with the chosen ones."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from compression.spec.task import DEFAULT_TASK, TASKS
from compression.spec.values import Values, values_of
from compression.tasks.units import MISSING, format_difference, metric_title, signed
from compression.tasks.verdict import ratio_at, slower_at
from storage.records import STATES, Job, Page
from storage.store import Store
from ui.shared.escape import escaped
from ui.shared.format import ago, human_seconds, plural
from ui.shared.live import attempt, draw_failure, log_tail, progress_words
from ui.shared.state import open_page, query_int, query_text, set_query
from ui.shared.tasks import known_task
from ui.shared.ticks import draw_ticks

PER_PAGE = 25
FOUND = ("Size", "Quality", "Time")
KINDS = {"run": "runs", "train": "trainings", "sample": "samples", "import_model": "model imports",
         "import_data": "data imports"}
WRITTEN, MOVED = "runs.written", "runs.moved"
TICKED = "runs.ticked"  # ids of jobs


def choose_filters(store: Store) -> dict:
    """State, kind, model and name; gives the arguments of `store.jobs`. Read from the URL and written back."""
    models = {row.id: row.name for row in store.models()}
    query = {key: query_text(key) for key in ("state", "kind", "model", "q")}
    moved = st.session_state.pop(MOVED, False)
    forgotten = "runs.q" not in st.session_state  # Streamlit drops the widgets of a page that was left
    if forgotten or (st.session_state.get(WRITTEN) != query and not moved):  # a link or Back
        st.session_state.update({
            "runs.state": query["state"] if query["state"] in STATES else None,
            "runs.kind": query["kind"] if query["kind"] in KINDS else None,
            "runs.model": query["model"] if query["model"] in models else None, "runs.q": query["q"] or ""})
    counts = store.counts()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        state = st.pills("State", STATES, key="runs.state", on_change=_moved,
                         format_func=lambda one: f"{one} {counts[one]:,}" if one in counts else one)
        kind = st.selectbox("Kind", list(KINDS), index=None, key="runs.kind", on_change=_moved, format_func=KINDS.get,
                            placeholder="any kind", width=170)
        model = st.selectbox("Model", list(models), index=None, key="runs.model", on_change=_moved,
                             format_func=models.get, placeholder="any model", width=220)
        text = st.text_input("Name or number", key="runs.q", on_change=_moved, placeholder="int8, #12", width=180)
    query = {"state": state, "kind": kind, "model": model, "q": text or None}
    if query != st.session_state.get(WRITTEN):
        set_query(**query)
        if WRITTEN in st.session_state:
            set_query(page=None)
        st.session_state[WRITTEN] = query
    return {"states": [state] if state else None, "kinds": [kind] if kind else None, "model": model,
            "text": text or None}


def _moved() -> None:
    # the session is newer than the address the browser sent along
    st.session_state[MOVED] = True


def jobs_page(store: Store, filters: dict) -> Page[Job]:
    """The page of the URL's `page`, counted from 1; beyond the last, the last."""
    number = max(1, query_int("page", 1))
    page = store.jobs(**filters, page=number - 1, per_page=PER_PAGE)
    if not page.items and page.total:
        page = store.jobs(**filters, page=page.pages - 1, per_page=PER_PAGE)
    return page


def job_rows(jobs: Sequence[Job], names: dict[str, str], found: dict[int, tuple[str, ...]]) -> list[dict]:
    """Jobs as rows of the table; `found` has the headline numbers of finished runs."""
    return [{"#": job.id, "Name": job.name, "State": job.state,
             **dict(zip(FOUND, found.get(job.id, ("",) * len(FOUND)), strict=True)), "Note": note(job),
             "Model": names.get(job.model or "", ""), "Dataset": names.get(job.data or "", ""),
             "Took": human_seconds(job.ended - job.started) if job.ended and job.started else "—",
             "Queued": ago(job.created), "Kind": job.kind.replace("_", " "),
             "Cloned from": job.parent} for job in jobs]


def note(job: Job) -> str:
    """What there is to know at a glance: how far it is, or why it failed."""
    if job.state in ("queued", "running"):
        return progress_words(job)
    if job.state == "failed" and job.failure:
        return job.failure.message
    if job.cached_from:
        return f"equal to run {job.cached_from}"
    return f"on {job.device}" if job.device not in (None, "cpu") else ""


@st.cache_resource(show_spinner=False, max_entries=5000)
def headline(_store: Store, place: tuple[str, str], job_id: int, task: str) -> tuple[str, ...]:
    """Size, the task's first metric and time of a finished run in words, which never change. place: home, workspace."""
    result = _store.result(job_id)
    values, sizes = values_of(result), result.spec.target.batch_sizes
    first = TASKS[task].primary_metric
    size, quality = values.get("size_bytes"), values.get(first)
    words = MISSING if quality is None or quality.difference is None else signed(quality.difference)
    return (format_difference("size_bytes", size.value, size.baseline) if size else MISSING,
            f"{metric_title(first)} {words}", time_words(values, sizes))


def time_words(values: Values, sizes: Sequence[int]) -> str:
    """The ratio of times at the largest batch size; where the run is slower at another, that one as well."""
    timed = {size: ratio for size in sizes if (ratio := ratio_at(values, size))}
    if not timed:
        return MISSING
    lead = max(timed)
    return "; ".join([f"{timed[lead].value:.2f}×", *(f"{timed[size].value:.2f}× at {size:,}"
                                                      for size in slower_at(values, sizes) if size != lead)])


def draw_table(store: Store, page: Page[Job]) -> list[Job]:
    """One page of jobs; gives the ticked ones."""
    place = (str(store.home), store.access.workspace)
    datasets = store.datasets()
    names = {row.id: row.name for row in [*store.models(), *datasets]}
    tasks = {row.id: known_task(row.description.task) for row in datasets}
    found = {job.id: headline(store, place, job.id, tasks.get(job.data, DEFAULT_TASK))
             for job in page.items if job.result_ready}
    rows = job_rows(page.items, names, found)
    if not any(job.parent for job in page.items):
        rows = [{key: value for key, value in row.items() if key != "Cloned from"} for row in rows]
    ids = [job.id for job in page.items]
    # what is not in sight is not ticked: nobody cancels a job of another page
    ticked = [one for one in st.session_state.get(TICKED, ()) if one in ids]
    draw_ticks(rows, ids, key="runs.table", ticked=ticked, on_tick=_tick, height="content", column_config={
        "#": st.column_config.NumberColumn(format="%d", width=56),
        "Name": st.column_config.TextColumn(width=230),
        "Size": st.column_config.TextColumn(help="Size on disk against the baseline."),
        FOUND[1]: st.column_config.TextColumn(help="The first metric of its task: paired difference to the baseline."),
        "Time": st.column_config.TextColumn(
            help="Latency ratio to the baseline at the largest batch size, and wherever the run is slower."),
        "Note": st.column_config.TextColumn(width=220, help="How far it is, or why it failed.")})
    st.session_state[TICKED] = tuple(ticked)
    return [job for job in page.items if job.id in ticked]


def _tick(now: tuple[int, ...]) -> None:
    st.session_state[TICKED] = now


def draw_pager(page: Page[Job]) -> None:
    """Previous and next, with the place in the URL."""
    with st.container(horizontal=True, vertical_alignment="center"):
        last = min((page.page + 1) * page.per_page, page.total)
        st.caption(f"{page.page * page.per_page + 1:,} to {last:,} of {plural(page.total, 'job')}")
        for label, number, enabled in (("Newer", page.page, page.page > 0),
                                       ("Older", page.page + 2, page.page + 1 < page.pages)):
            if st.button(label, disabled=not enabled, type="tertiary"):
                set_query(page=number if number > 1 else None)
                st.rerun()


def draw_actions(store: Store, chosen: Sequence[Job]) -> None:
    """What can be done with the ticked jobs; the one main action is to compare them."""
    done = [job for job in chosen if job.kind == "run" and job.result_ready]
    active = [job for job in chosen if job.state in ("queued", "running")]
    again = [job for job in chosen if job.state in ("failed", "cancelled")]
    with st.container(horizontal=True, key="runs_actions"):
        if st.button("Compare selected", type="primary", disabled=not done,
                     help="Tick finished runs of one project in the table."):
            open_page("compare", runs=[job.id for job in done], project=done[0].project,
                      side=[job.id for job in done[:4]] if len(done) > 1 else None)
        if st.button("Open", disabled=len(chosen) != 1):
            open_page("run", id=chosen[0].id)
        if st.button("Clone", disabled=len(chosen) != 1 or chosen[0].kind != "run",
                     help="Open the recipe of one run on the Experiment page."):
            open_page("experiment", clone=chosen[0].id)
        st.button("Retry", disabled=not again, on_click=attempt, args=(store.retry, *(job.id for job in again)),
                  help="Queue failed or cancelled jobs again.")
        st.button("Cancel", disabled=not active, on_click=attempt, key="runs.cancel",
                  args=(store.cancel, *(job.id for job in active)))


def draw_detail(store: Store, job: Job) -> None:
    """A ticked job that has no result: why, what next, and the end of its log."""
    if job.state not in ("failed", "cancelled"):
        return
    st.markdown(f"**#{job.id} {escaped(job.name)}**")
    draw_failure(job)
    text = log_tail(store, job.id, lines=40)
    if text:
        with st.expander("End of the log"):
            st.code(text, language=None, height=240)
