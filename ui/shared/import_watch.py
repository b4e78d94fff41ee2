"""Following one import until it ends: its page is then the model or dataset it made, or the way to mend it."""

from __future__ import annotations

import streamlit as st

from compression.spec.errors import RecPressError
from compression.spec.records import ImportModelSpec
from storage.store import Store
from ui.shared.escape import escaped
from ui.shared.failures import warn_without_worker
from ui.shared.live import POLL_S, draw_job
from ui.shared.shell import draw_back, page_title
from ui.shared.state import open_page

ACTIVE = ("queued", "running")


def draw_import(store: Store, job_id: int, page: str) -> None:
    """Progress while the job of `?job=` runs; then `page` at what it made. An ended or strange job leads to the list.
    """
    try:
        job = store.job(job_id)
    except RecPressError:
        open_page(page)
        return
    made = job.model if page == "models" else job.data
    if job.state == "done" and made:
        open_page(page, id=made)
    draw_back(f"All {page}", page)
    page_title(job.name, "Read, checked and measured in a process of its own. You may leave: it goes on.")
    if job.state in ACTIVE:
        _follow(store, job_id)
        warn_without_worker(store)
        return
    if job.state == "cancelled":
        st.info("This import was cancelled. Nothing was kept of it.")
    else:
        cause = job.failure
        told = f"{escaped(cause.message)}\n\n{escaped(cause.next_step)}" if cause else "The cause is not known."
        st.error(f"**{escaped(job.name)} failed.** {told}".strip())
    if isinstance(job.spec, ImportModelSpec) and st.button("Correct it", type="primary"):
        open_page(page, add="upload", job=job_id)
    if not isinstance(job.spec, ImportModelSpec) and st.button("Upload again", type="primary"):
        open_page(page, add="upload")


@st.fragment(run_every=POLL_S)
def _follow(store: Store, job_id: int) -> None:
    job = store.job(job_id)
    if job.state not in ACTIVE:
        st.rerun()
    draw_job(store, job)
