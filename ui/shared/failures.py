"""What stands in the way: preparations that failed, a queue that nobody works on, a home of another database."""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from storage.records import Job
from storage.store import Store
from ui.shared.escape import escaped
from ui.shared.live import attempt
from ui.shared.state import page_link

SHOWN_FOR_S = 24 * 3600.0
MOST = 3


def recent_failures(store: Store, kinds: Sequence[str], *, now: float | None = None) -> list[Job]:
    """Jobs of these kinds that failed within a day, newest first, at most three."""
    since = (time.time() if now is None else now) - SHOWN_FOR_S
    failed = store.jobs(states=["failed"], kinds=kinds, per_page=MOST).items
    return [job for job in failed if (job.ended or 0) >= since]


def draw_failures(store: Store, kinds: Sequence[str]) -> None:
    """Each recent failure with its cause, next step, retry and dismissal."""
    for job in recent_failures(store, kinds):
        with st.container(border=True, key=f"failure.{job.id}"):
            cause = job.failure
            text = f"**{escaped(job.name)} failed.** {escaped(cause.message) if cause else 'The cause is not known.'}"
            st.error(text + (f"\n\n{escaped(cause.next_step)}" if cause and cause.next_step else ""))
            with st.container(horizontal=True, gap="small"):
                st.button("Retry", key=f"retry.{job.id}", on_click=attempt, args=(store.retry, job.id))
                st.button("Dismiss", key=f"dismiss.{job.id}", on_click=attempt, args=(store.delete_job, job.id),
                          help="Removes the failed job and its log.")
                page_link("run", "Log", id=job.id)


def warn_of_another_database(store: Store) -> None:
    """Say so where the home folder and the database don't belong together."""
    notice = store.home_notice()
    if notice:
        st.warning(escaped(notice))


def warn_without_worker(store: Store) -> None:
    """Say so where jobs wait and nobody works."""
    if store.counts().get("queued") and not any(worker.alive for worker in store.workers()):
        st.warning("No worker is running, so nothing moves. They start with the app; "
                   "`python -m jobs.worker` starts one by hand.")
