"""Claims: jobs taken from the queues of all workspaces by workers, held by heartbeats, ended once.

A worker holds a job by (worker, attempt) and a count of heartbeats. Another worker may take the job once it has seen
that count stand still for a lease on its own monotonic clock; what the clocks of machines say plays no part. Whoever
lost the job finds its pair gone and changes nothing: so a job ends once, however many processes were killed on the way.
What a job made is saved by `finish` (results), in the job's own workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa

from compression.spec.records import Failure, Progress
from storage.access import Access
from storage.base import Base
from storage.digests import device_kind
from storage.narrowing import EVERY_WORKSPACE, NarrowedSession
from storage.records import Job, State
from storage.rows import job_record
from storage.silence import LEASE_S
from storage.tables import JobTable, ResultTable, WorkerTable
from storage.uses import ACTIVE

TRIES = 3


class Claims(Base):
    """The part of the machine that hands jobs to workers."""

    def claim(self, worker: str, device: str) -> Job | None:
        """Take the oldest job this worker can do: one whose lease ran out, else a queued one. None if there is none.

        A lease runs out for those who have watched it: an idle worker here, a busy one in each heartbeat.
        A job lost for the third time ends as failed, a lost job that was to be cancelled as cancelled.
        """
        # an idle worker asks often and must not take the write lock
        with self.database.reading(EVERY_WORKSPACE) as session:
            claimable = self._claimable(device, self._silent(session))
            if session.scalar(claimable.limit(1)) is None:
                return None
        with self.database.writing(EVERY_WORKSPACE) as session:
            while True:
                row = session.scalar(claimable.limit(1).with_for_update(skip_locked=True))
                if row is None:
                    return None
                now = self.clock()
                if row.state == "running" and row.cancel_asked:
                    row.state, row.ended, row.worker, row.beats = "cancelled", now, None, None
                elif row.state == "running" and row.attempt - row.attempts_before >= TRIES:
                    self._end_failed(row, _lost())
                elif row.state == "running" and row.needs not in (None, device_kind(device)):
                    row.state, row.worker, row.beats = "queued", None, None  # for a worker with that device
                elif not self._use_cached(session, row, row.needs or device_kind(device),
                                          Access(person=row.owner, workspace=row.workspace)):
                    row.state, row.worker, row.device, row.attempt = "running", worker, device, row.attempt + 1
                    row.started, row.beats, row.progress = now, 1.0, None
                    session.flush()
                    return job_record(row)
                session.flush()

    def heartbeat(self, job_id: int, worker: str, progress: Progress | None = None, *,
                  attempt: int) -> Literal["go", "cancel", "lost"]:
        """Renew the lease and store the progress; tells whether to go on, to cancel, or that another has the job."""
        values: dict[str, Any] = {"beats": sa.func.coalesce(JobTable.beats, 0.0) + 1.0}
        if progress is not None:
            values["progress"] = progress.model_dump_json()
        with self.database.writing(EVERY_WORKSPACE) as session:
            cancel = session.scalar(sa.update(JobTable).where(*_held(job_id, worker, attempt)).values(**values)
                                    .returning(JobTable.cancel_asked))
            session.execute(sa.update(WorkerTable).where(WorkerTable.id == worker).values(seen=self.clock(),
                                                                                         job=job_id))
            self._silent(session)  # who is busy watches the leases of the others too
        return "lost" if cancel is None else "cancel" if cancel else "go"

    def fail(self, job_id: int, worker: str, failure: Failure, *, attempt: int, retry: bool = False) -> State | None:
        """End an attempt without a result: back to the queue if `retry` and tries are left, else failed.

        Gives the job's new state, None if this worker no longer holds it.
        """
        with self.database.writing(EVERY_WORKSPACE) as session:
            row = held_job(session, job_id, worker, attempt)
            if row is None:
                return None
            if row.cancel_asked:
                row.state, row.ended = "cancelled", self.clock()
            elif retry and row.attempt - row.attempts_before < TRIES:
                row.state, row.failure = "queued", failure.model_dump_json()
            else:
                self._end_failed(row, failure)
            row.beats = row.worker = None
            return row.state

    def release(self, job_id: int, worker: str, *, attempt: int) -> None:
        """Give a job back to the queue because the worker stops; the attempt does not count."""
        with self.database.writing(EVERY_WORKSPACE) as session:
            row = held_job(session, job_id, worker, attempt)
            if row is not None:
                row.state = "cancelled" if row.cancel_asked else "queued"
                row.ended = self.clock() if row.cancel_asked else None
                row.attempts_before += 1
                row.beats = row.worker = None

    def _silent(self, session: NarrowedSession) -> list[tuple[int, int, float]]:
        """Running jobs (id, attempt, beats) whose heartbeat this store has not seen move for a lease."""
        rows = session.execute(sa.select(JobTable.id, JobTable.attempt, JobTable.beats).where(
            JobTable.state == "running", JobTable.beats.is_not(None))).all()
        still = self.opened.lease_silence.observe({row.id: (row.attempt, row.beats) for row in rows})
        return [tuple(row) for row in rows if still[row.id] >= LEASE_S]

    def _claimable(self, device: str, silent: Sequence[tuple[int, int, float]]) -> sa.Select[tuple[JobTable]]:
        # a heartbeat since the look takes a job off the list again
        same = [sa.and_(JobTable.id == job, JobTable.attempt == attempt, JobTable.beats == beats)
                for job, attempt, beats in silent]
        lost = sa.and_(JobTable.state == "running", sa.or_(JobTable.beats.is_(None), *same))
        fits = sa.or_(JobTable.needs.is_(None), JobTable.needs == device_kind(device))
        queued = sa.and_(JobTable.state == "queued", fits)
        return sa.select(JobTable).where(JobTable.state.in_(ACTIVE), sa.or_(lost, queued)).order_by(
            JobTable.state.desc(), JobTable.id)  # "running" before "queued"

    def _end_failed(self, row: JobTable, failure: Failure) -> None:
        row.state, row.ended, row.failure = "failed", self.clock(), failure.model_dump_json()
        row.beats = row.worker = None

    def _use_cached(self, session: NarrowedSession, row: JobTable, kind: str, access: Access) -> bool:
        """End the job with the result of an equal spec, if its workspace has one."""
        if not row.digest or row.fresh:
            return False
        equal = (sa.select(ResultTable.id, ResultTable.job).where(ResultTable.digest == f"{row.digest}:{kind}")
                 .order_by(ResultTable.id.desc()).limit(1))
        found = session.execute(session.narrowed(equal, access)).first()
        if found is None:
            return False
        row.state, row.result_id, row.cached_from, row.ended = "done", found.id, found.job, self.clock()
        row.device, row.worker, row.beats, row.failure = kind, None, None, None
        return True

    def _best_device(self, session: NarrowedSession) -> str:
        """The kind of device a job queued now will most likely run on."""
        rows = session.execute(sa.select(WorkerTable.id, WorkerTable.device, WorkerTable.seen)).all()
        still = self.opened.worker_silence.observe({row.id: row.seen for row in rows})
        alive = [row.device for row in rows if still[row.id] < LEASE_S]
        return "cuda" if any(device_kind(device) == "cuda" for device in alive) else "cpu"


def held_job(session: NarrowedSession, job_id: int, worker: str, attempt: int) -> JobTable | None:
    """The row of a job that this worker still holds, locked; None once another has taken it or it has ended."""
    return session.scalar(sa.select(JobTable).where(*_held(job_id, worker, attempt)).with_for_update())


def _held(job_id: int, worker: str, attempt: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (JobTable.id == job_id, JobTable.worker == worker, JobTable.attempt == attempt, JobTable.state == "running")


def _lost() -> Failure:
    return Failure(kind="JobError", message=f"The worker died while it ran this job, {TRIES} times out of {TRIES}.",
                   next_step="Most often the machine ran out of memory or was restarted: look at the log, "
                             "choose a smaller batch size or a larger machine, then retry.")
