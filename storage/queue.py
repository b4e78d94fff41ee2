"""The queue of a workspace: jobs submitted, watched, cancelled, retried and deleted by people.

Workers take them from the queues of all workspaces: see claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from compression.spec.code_version import code_version
from compression.spec.errors import StorageError
from compression.spec.records import JobSpec, RunSpec
from storage.base import LARGEST_ID, containing, shortened
from storage.bound import Bound
from storage.catalogue import checked_title
from storage.digests import project_key, spec_digest
from storage.narrowing import NarrowedSession
from storage.records import Job, Page, State
from storage.rows import SPEC, job_record, stored_spec
from storage.tables import DataTable, JobTable, ModelTable, ProjectTable
from storage.uses import ACTIVE, delete_finished, refuse_while_compared

MOST_PAGES = 10**9


class Queue(Bound):
    """The part of the store that keeps jobs."""

    def submit(self, spec: JobSpec, *, name: str = "", parent: int | None = None, fresh: bool = False) -> int:
        """Queue one job; gives its id. See submit_many."""
        return self.submit_many([(name, spec)], parent=parent, fresh=fresh)[0]

    def submit_many(self, jobs: Sequence[tuple[str, JobSpec]], *, parent: int | None = None,
                    fresh: bool = False) -> list[int]:
        """Queue (name, spec) pairs, all or none; gives their ids in order.

        A run whose equal (model, data, recipe, target, code, device kind) is done already is done at once and points
        to the same result, unless `fresh` asks to measure again. Raises StorageError for a model or dataset that
        isn't stored, RecipeError for a recipe that can't be parsed.
        """
        with self.database.writing(self.access) as session:
            return [self._put_job(session, name, spec, parent=parent, owner=self.access.person, fresh=fresh)
                    for name, spec in jobs]

    def _put_job(self, session: NarrowedSession, name: str, spec: JobSpec, *, parent: int | None, owner: str,
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
            self._use_cached(session, row, row.needs or self._best_device(session), session.access)
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
        with self.database.reading(self.access) as session:
            total = session.scalar(sa.select(sa.func.count()).select_from(JobTable).where(*where)) or 0
            rows = session.scalars(sa.select(JobTable).where(*where).order_by(JobTable.id.desc())
                                   .offset(page * per_page).limit(per_page))
            return Page([job_record(row) for row in rows], total, page, per_page)

    def job(self, job_id: int) -> Job:
        """A job. Raises StorageError if there is none."""
        with self.database.reading(self.access) as session:
            return job_record(existing_job(session, job_id))

    def log_path(self, job_id: int) -> Path:
        """The log of a job; the file is there once a worker has started it. Raises StorageError if there is no job."""
        with self.database.reading(self.access) as session:
            existing_job(session, job_id)
        return self.job_folder(job_id) / "log.txt"

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state that occurs."""
        with self.database.reading(self.access) as session:
            return dict(session.execute(sa.select(JobTable.state, sa.func.count()).group_by(JobTable.state)).all())

    def rename_job(self, job_id: int, name: str) -> None:
        with self.database.writing(self.access) as session:
            existing_job(session, job_id).name = checked_title(name)

    def cancel(self, job_id: int) -> State:
        """End a queued job now, a running one within two seconds; gives the state it is in. An ended job stays."""
        with self.database.writing(self.access) as session:
            row = existing_job(session, job_id, lock=True)
            if row.state == "queued":
                row.state, row.ended = "cancelled", self.clock()
            elif row.state == "running":
                row.cancel_asked = True
            return row.state

    def retry(self, job_id: int) -> int:
        """Queue a failed or cancelled job again under its own number, to go on from its checkpoint."""
        with self.database.writing(self.access) as session:
            row = existing_job(session, job_id, lock=True)
            if row.state not in ("failed", "cancelled"):
                raise StorageError(f"Job {job_id} is {row.state}; only a failed or cancelled job can be retried. "
                                   "Clone it to run it again.")
            spec = stored_spec(row.spec)
            _check_inputs(session, spec)
            for name, digest in getattr(spec, "files", {}).items():
                if not self.files.has(digest):
                    raise StorageError(f"The uploaded file {name!r} is no longer kept; upload it again.")
            row.state, row.cancel_asked, row.attempts_before = "queued", False, row.attempt
            row.failure = row.progress = row.ended = row.worker = row.beats = None
            return job_id

    def delete_job(self, job_id: int) -> None:
        """Delete an ended job and its result. Raises StorageError while it is active or in a saved comparison."""
        with self.database.writing(self.access) as session:
            row = existing_job(session, job_id, lock=True)
            what = f"{'Run' if row.kind == 'run' else 'Job'} {job_id} ({row.name})"
            if row.state in ACTIVE:
                raise StorageError(f"{what} can't be deleted: it is {row.state}. Cancel it first.")
            refuse_while_compared(session, JobTable.id == job_id, what)
            delete_finished(session, JobTable.id == job_id)


def existing_job(session: NarrowedSession, job_id: int, *, lock: bool = False) -> JobTable:
    """The row of a job, locked against others if asked. Raises StorageError if there is none."""
    row = session.get(JobTable, job_id, with_for_update=lock or None) if 0 < job_id <= LARGEST_ID else None
    if row is None:
        raise StorageError(f"There is no job {shortened(str(job_id))}; it may have been deleted. See the Runs page.")
    return row


def _check_inputs(session: NarrowedSession, spec: JobSpec) -> None:
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
