"""Work in progress: stage, rate and time left, polled every two seconds until nothing is left to wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from compression.spec.errors import RecPressError
from compression.spec.records import Progress
from storage.records import Job
from storage.store import Store
from ui.shared.escape import escaped
from ui.shared.format import human_count, human_seconds, plural

POLL_S = 2.0
SHOWN = 6  # running jobs listed one by one
LOG_LINES = 200
LOG_BYTES = 64_000


def progress_share(progress: Progress | None) -> float:
    """How much of the stage is done, 0 to 1; 0 where its length isn't known."""
    if progress is None or not progress.total:
        return 0.0
    return min(1.0, max(0.0, progress.done / progress.total))


def progress_words(job: Job) -> str:
    """ "fine-tune · epoch 3 of 20 · 41.0k rows/s · 12 s left", or what the job waits for."""
    if job.state == "queued":
        waiting = "waits for a worker with a GPU" if job.needs == "cuda" else "waits for a worker"
        return f"{waiting} · attempt {job.attempt + 1}, the last was lost" if job.attempt else waiting
    if job.cancel_asked:
        return "is being cancelled"
    one = job.progress
    if one is None:
        return "starting"
    told = [one.stage]
    if one.total:
        told.append(f"{one.unit} {one.done:,.0f} of {one.total:,.0f}".strip())
    if one.rate:
        told.append(f"{human_count(one.rate)} {'rows' if one.unit == 'epoch' else one.unit or 'rows'}/s")
    if one.seconds_left is not None:
        told.append(f"{human_seconds(one.seconds_left)} left")
    if one.message:
        told.append(one.message)
    return " · ".join(told)


def draw_active(store: Store) -> None:
    """The jobs that run or wait, alive; the page reruns once when one of them ends."""
    counts = store.counts()
    active = counts.get("running", 0) + counts.get("queued", 0)
    ended = sum(counts.values()) - active

    @st.fragment(run_every=POLL_S if active else None)
    def live() -> None:
        now = store.counts()
        if sum(now.values()) - now.get("running", 0) - now.get("queued", 0) != ended:
            st.rerun()
        running = store.jobs(states=["running"], per_page=SHOWN)
        # newest first, so the last one is the oldest, which is the next to run
        waiting = store.jobs(states=["queued"], page=max(0, now.get("queued", 0) - 1), per_page=1)
        then = f", next #{waiting.items[0].id} {waiting.items[0].name}" if running.items and waiting.items else ""
        st.caption(f"{plural(running.total, 'job')} running, {waiting.total:,} queued{escaped(then)}")
        for job in running.items or waiting.items:
            draw_job(store, job)

    if active:
        live()


def draw_job(store: Store, job: Job) -> None:
    """One active job: its name, its progress and a way to stop it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key=f"active.{job.id}"):
        st.progress(progress_share(job.progress) if job.state == "running" else 0.0,
                    text=escaped(f"#{job.id} {job.name} — {progress_words(job)}"))
        st.button("Cancel", key=f"cancel.{job.id}", type="tertiary", disabled=job.cancel_asked, on_click=attempt,
                  args=(store.cancel, job.id), help="Stops within two seconds; a finished result is never lost.")


def attempt(action: Callable[[int], Any], *job_ids: int) -> None:
    """Do this to each job, from a button; what the store refuses (a job that has just ended, say) is shown."""
    for job_id in job_ids:
        try:
            action(job_id)
        except RecPressError as error:
            st.toast(escaped(error))


def log_tail(store: Store, job_id: int, *, lines: int = LOG_LINES) -> str:
    """The last lines of a job's log; empty while there is none."""
    path = store.log_path(job_id)
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - LOG_BYTES))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])


def draw_failure(job: Job) -> None:
    """Why a job ended without a result, and what to do next."""
    if job.state == "cancelled":
        st.info("This run was cancelled. Retry goes on from its last checkpoint." if job.started else
                "This run was cancelled before it began. Retry queues it again.")
    elif job.failure is not None:
        next_step = f"\n\n{escaped(job.failure.next_step)}" if job.failure.next_step else ""
        st.error(f"**{escaped(job.failure.message)}**{next_step}")
