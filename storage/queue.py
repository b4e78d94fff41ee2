"""The queue: submitted by people, claimed by workers, ended once.

A worker holds a job by (worker, attempt) and a count of heartbeats. Another worker may take the job once it has seen
that count stand still for a lease on its own monotonic clock; what the clocks of machines say plays no part. Whoever
lost the job finds its pair gone and changes nothing: so a job ends once, however many processes were killed on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from compression.spec.code_version import code_version
from compression.spec.errors import StorageError
from compression.spec.records import Failure, JobSpec, Progress, RunSpec
from storage.base import LARGEST_ID, Base, containing, shortened
from storage.catalogue import checked_title
from storage.digests import device_kind, project_key, spec_digest
from storage.records import LOCAL, Job, Page, State
from storage.rows import SPEC, job_record
from storage.silence import LEASE_S
from storage.tables import DataTable, JobTable, ModelTable, ProjectTable, ResultTable, WorkerTable
from storage.uses import ACTIVE, delete_finished, refuse_while_compared

TRIES = 3
MOST_PAGES = 10**9


class Queue(Base):
    """The part of the store that keeps jobs."""

    def submit(self, spec: JobSpec, *, name: str = "", parent: int | None = None, owner: str = LOCAL,
               fresh: bool = False) -> int:
        """Queue one job; gives its id. See submit_many."""
        return self.submit_many([(name, spec)], parent=parent, owner=owner, fresh=fresh)[0]

    def submit_many(self, jobs: Sequence[tuple[str, JobSpec]], *, parent: int | None = None, owner: str = LOCAL,
                    fresh: bool = False) -> list[int]:
        """Queue (name, spec) pairs, all or none; gives their ids in order.

        A run whose equal (model, data, recipe, target, code, device kind) is done already is done at once and points
        to the same result, unless `fresh` asks to measure again. Raises StorageError for a model or dataset that
        isn't stored, RecipeError for a recipe that can't be parsed.
        """
        with self.database.writing() as session:
            return [self.put_job(session, name, spec, parent=parent, owner=owner, fresh=fresh) for name, spec in jobs]

    def put_job(self, session: Session, name: str, spec: JobSpec, *, parent: int | None, owner: str,
                fresh: bool = False) -> int:
        """The row of a job, within a transaction."""
        _check_inputs(session, spec)
        row = JobTable(kind=spec.kind, name=checked_title(name or _title(spec)), spec=SPEC.dump_json(spec).decode(),
                       digest="", state="queued", attempt=0, attempts_before=0, cancel_asked=False, fresh=fresh,
                       created=self.clock(), parent=parent, data=getattr(spec, "data", None), owner=owner)
        if isinstance(spec, RunSpec):
            row.model, row.digest = spec.model, spec_digest(spec, code=code_version())
            row.project = project_key(spec.model, spec.data, spec.target)
            row.needs = "cuda" if spec.target.device == "cuda" else None
            self.insert_if_absent(session, ProjectTable, {
                "key": row.project, "model": spec.model, "data": spec.data, "owner": owner, "created": row.created,
                "target": spec.target.model_dump_json()})
            self._use_cached(session, row, row.needs or self._best_device(session))
        session.add(row)
        session.flush()
        return row.id

    def jobs(self, *, states: Sequence[State] | None = None, kinds: Sequence[str] | None = None,
             model: str | None = None, data: str | None = None, project: str | None = None, text: str | None = None,
             parent: int | None = None, owner: str | None = None, page: int = 0, per_page: int = 50) -> Page[Job]:
        """One page of jobs, newest first; `text` is looked for in the name, or is the number of a job."""
        where: list[sa.ColumnElement[bool]] = []
        if states is not None:
            where.append(JobTable.state.in_(states))
        if kinds is not None:
            where.append(JobTable.kind.in_(kinds))
        for column, value in ((JobTable.model, model), (JobTable.data, data), (JobTable.project, project),
                              (JobTable.parent, parent), (JobTable.owner, owner)):
            if value is not None:
                where.append(column == value)
        if text:
            number = text.strip().lstrip("#")
            exact = [JobTable.id == int(number)] if number.isdecimal() and len(number) < 18 else []
            where.append(sa.or_(containing(JobTable.name, text.strip()), *exact))
        page = min(max(0, page), MOST_PAGES)
        with self.database.reading() as session:
            total = session.scalar(sa.select(sa.func.count()).select_from(JobTable).where(*where)) or 0
            rows = session.scalars(sa.select(JobTable).where(*where).order_by(JobTable.id.desc())
                                   .offset(page * per_page).limit(per_page))
            return Page([job_record(row) for row in rows], total, page, per_page)

    def job(self, job_id: int) -> Job:
        """A job. Raises StorageError if there is none."""
        with self.database.reading() as session:
            return job_record(existing_job(session, job_id))

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state that occurs."""
        with self.database.reading() as session:
            return dict(session.execute(sa.select(JobTable.state, sa.func.count()).group_by(JobTable.state)).all())

    def rename_job(self, job_id: int, name: str) -> None:
        with self.database.writing() as session:
            existing_job(session, job_id).name = checked_title(name)

    def cancel(self, job_id: int) -> State:
        """End a queued job now, a running one within two seconds; gives the state it is in. An ended job stays."""
        with self.database.writing() as session:
            row = existing_job(session, job_id, lock=True)
            if row.state == "queued":
                row.state, row.ended = "cancelled", self.clock()
            elif row.state == "running":
                row.cancel_asked = True
            return row.state

    def retry(self, job_id: int) -> int:
        """Queue a failed or cancelled job again under its own number, to go on from its checkpoint."""
        with self.database.writing() as session:
            row = existing_job(session, job_id, lock=True)
            if row.state not in ("failed", "cancelled"):
                raise StorageError(f"Job {job_id} is {row.state}; only a failed or cancelled job can be retried. "
                                   "Clone it to run it again.")
            spec = SPEC.validate_json(row.spec)
            _check_inputs(session, spec)
            for name, digest in getattr(spec, "files", {}).items():
                if not self.files.has(digest):
                    raise StorageError(f"The uploaded file {name!r} is no longer kept; upload it again.")
            row.state, row.cancel_asked, row.attempts_before = "queued", False, row.attempt
            row.failure = row.progress = row.ended = row.worker = row.beats = None
            return job_id

    def delete_job(self, job_id: int) -> None:
        """Delete an ended job and its result. Raises StorageError while it is active or in a saved comparison."""
        with self.database.writing() as session:
            row = existing_job(session, job_id, lock=True)
            what = f"{'Run' if row.kind == 'run' else 'Job'} {job_id} ({row.name})"
            if row.state in ACTIVE:
                raise StorageError(f"{what} can't be deleted: it is {row.state}. Cancel it first.")
            refuse_while_compared(session, JobTable.id == job_id, what)
            delete_finished(session, JobTable.id == job_id)

    def claim(self, worker: str, device: str) -> Job | None:
        """Take the oldest job this worker can do: one whose lease ran out, else a queued one. None if there is none.

        A lease runs out for those who have watched it: an idle worker here, a busy one in each heartbeat.
        A job lost for the third time ends as failed, a lost job that was to be cancelled as cancelled.
        """
        with self.database.reading() as session:  # an idle worker asks often and must not take the write lock
            claimable = self._claimable(device, self._silent(session))
            if session.scalar(claimable.limit(1)) is None:
                return None
        with self.database.writing() as session:
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
                elif not self._use_cached(session, row, row.needs or device_kind(device)):
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
        with self.database.writing() as session:
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
        with self.database.writing() as session:
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
        with self.database.writing() as session:
            row = held_job(session, job_id, worker, attempt)
            if row is not None:
                row.state = "cancelled" if row.cancel_asked else "queued"
                row.ended = self.clock() if row.cancel_asked else None
                row.attempts_before += 1
                row.beats = row.worker = None

    def _silent(self, session: Session) -> list[tuple[int, int, float]]:
        """Running jobs (id, attempt, beats) whose heartbeat this store has not seen move for a lease."""
        rows = session.execute(sa.select(JobTable.id, JobTable.attempt, JobTable.beats).where(
            JobTable.state == "running", JobTable.beats.is_not(None))).all()
        still = self.lease_silence.observe({row.id: (row.attempt, row.beats) for row in rows})
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

    def _use_cached(self, session: Session, row: JobTable, kind: str) -> bool:
        """End the job with the result of an equal spec, if there is one."""
        if not row.digest or row.fresh:
            return False
        found = session.execute(sa.select(ResultTable.id, ResultTable.job).where(
            ResultTable.digest == f"{row.digest}:{kind}").order_by(ResultTable.id.desc()).limit(1)).first()
        if found is None:
            return False
        row.state, row.result_id, row.cached_from, row.ended = "done", found.id, found.job, self.clock()
        row.device, row.worker, row.beats, row.failure = kind, None, None, None
        return True

    def _best_device(self, session: Session) -> str:
        """The kind of device a job queued now will most likely run on."""
        rows = session.execute(sa.select(WorkerTable.id, WorkerTable.device, WorkerTable.seen)).all()
        still = self.worker_silence.observe({row.id: row.seen for row in rows})
        alive = [row.device for row in rows if still[row.id] < LEASE_S]
        return "cuda" if any(device_kind(device) == "cuda" for device in alive) else "cpu"


def existing_job(session: Session, job_id: int, *, lock: bool = False) -> JobTable:
    """The row of a job, locked against others if asked. Raises StorageError if there is none."""
    row = session.get(JobTable, job_id, with_for_update=lock or None) if 0 < job_id <= LARGEST_ID else None
    if row is None:
        raise StorageError(f"There is no job {shortened(str(job_id))}; it may have been deleted. See the Runs page.")
    return row


def held_job(session: Session, job_id: int, worker: str, attempt: int) -> JobTable | None:
    """The row of a job that this worker still holds, locked; None once another has taken it or it has ended."""
    return session.scalar(sa.select(JobTable).where(*_held(job_id, worker, attempt)).with_for_update())


def _held(job_id: int, worker: str, attempt: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (JobTable.id == job_id, JobTable.worker == worker, JobTable.attempt == attempt, JobTable.state == "running")


def _check_inputs(session: Session, spec: JobSpec) -> None:
    for table, what, page in ((ModelTable, "model", "Models"), (DataTable, "data", "Datasets")):
        digest = getattr(spec, what, None)
        # locked for sharing on PostgreSQL: nobody deletes it between this look and the commit
        if digest is not None and session.scalar(
                sa.select(table.id).where(table.id == digest).with_for_update(read=True)) is None:
            noun = "model" if what == "model" else "dataset"
            raise StorageError(f"The {noun} {digest[:12]!r} is not stored; it may have been deleted. "
                               f"Choose one on the {page} page.")


def _title(spec: JobSpec) -> str:
    if isinstance(spec, RunSpec):
        return spec.recipe.name
    named = getattr(spec, "name", "") or getattr(spec, "sample", "")
    return {"train": f"Train {getattr(spec, 'architecture', '')}", "sample": f"Sample {named}",
            "import_model": f"Import {named}", "import_data": f"Import {named}"}[spec.kind]


def _lost() -> Failure:
    return Failure(kind="JobError", message=f"The worker died while it ran this job, {TRIES} times out of {TRIES}.",
                   next_step="Most often the machine ran out of memory or was restarted: look at the log, "
                             "choose a smaller batch size or a larger machine, then retry.")
