"""Results: saved in one transaction with everything a job made, and read back for Run and Home."""

from __future__ import annotations

import sqlalchemy as sa

from compression.spec.code_version import code_version
from compression.spec.errors import StorageError
from compression.spec.names import BUNDLE
from compression.spec.records import Measurement, Result, RunSpec, Target
from storage.catalogue import Catalogue
from storage.claims import held_job
from storage.digests import device_kind, spec_digest
from storage.narrowing import NarrowedSession
from storage.queue import Queue, existing_job
from storage.records import Job, Outcome, Project
from storage.rows import families, job_record, measurement_rows, stored, stored_spec
from storage.tables import (
    DataTable,
    JobTable,
    MeasurementTable,
    ModelTable,
    ProjectTable,
    ResultFileTable,
    ResultTable,
)
from storage.uses import ACTIVE


class Results(Catalogue, Queue):
    """The part of the store that keeps what jobs found."""

    def finish(self, job_id: int, worker: str, outcome: Outcome, *, attempt: int) -> bool:
        """End a job with all it made, in one transaction. The files must be in the artifact store already.

        False, and nothing is saved, if this worker no longer holds the job. Raises StorageError for a missing file.
        """
        for made in (outcome.model, outcome.dataset):
            if made is not None:
                self._check_manifest(made.manifest)
        if outcome.result is not None:
            self._check_manifest(outcome.result.files)
        with self.database.writing(self.access) as session:
            row = held_job(session, job_id, worker, attempt)
            if row is None:
                return False
            if outcome.dataset is not None:
                row.data = self._put_dataset(session, outcome.dataset, owner=row.owner, job=job_id)
            if outcome.model is not None:
                row.model = self._put_model(session, outcome.model, owner=row.owner, job=job_id)
            if outcome.result is not None:
                row.result_id = self._put_result(session, row, outcome.result, outcome.code_version or code_version())
            for spec in outcome.next_jobs:
                self._put_job(session, "", spec, parent=job_id, owner=row.owner)
            row.state, row.ended, row.failure = "done", self.clock(), None
            row.beats = row.worker = None
            return True

    def result(self, job_id: int) -> Result:
        """The result of a finished run. Raises StorageError while there is none."""
        with self.database.reading(self.access) as session:
            row = existing_job(session, job_id)
            body = session.scalar(sa.select(ResultTable.body).where(ResultTable.id == row.result_id))
            if body is None:
                raise StorageError(f"Job {job_id} is {row.state} and has no result. See its log on the Runs page.")
            return stored(Result, body)

    def baseline(self, model: str, data: str, *, project: str | None = None) -> tuple[Measurement, ...]:
        """The baseline's numbers as the newest finished run measured them; empty while there is no run."""
        query = (sa.select(ResultTable.body).join(JobTable, JobTable.result_id == ResultTable.id)
                 .where(JobTable.model == model, JobTable.data == data, JobTable.state == "done")
                 .order_by(JobTable.id.desc()).limit(1))
        if project is not None:
            query = query.where(JobTable.project == project)
        with self.database.reading(self.access) as session:
            body = session.scalar(query)
        return stored(Result, body).baseline if body else ()

    def bundles(self, *, limit: int = 200) -> list[tuple[Job, str]]:
        """The newest finished runs, each with the digest of its bundle."""
        query = (sa.select(JobTable, ResultFileTable.digest)
                 .join(ResultFileTable, ResultFileTable.result_id == JobTable.result_id)
                 .where(JobTable.state == "done", ResultFileTable.name == BUNDLE)
                 .order_by(JobTable.id.desc()).limit(limit))
        with self.database.reading(self.access) as session:
            return [(job_record(row), digest) for row, digest in session.execute(query)]

    def projects(self, *, limit: int = 20) -> list[Project]:
        """Projects with the newest run first. Which run of one to take, compression.tasks.recommend decides."""
        done = sa.func.sum(sa.case((JobTable.state == "done", 1), else_=0))
        active = sa.func.sum(sa.case((JobTable.state.in_(ACTIVE), 1), else_=0))
        newest = sa.func.max(JobTable.created)
        counted = (sa.select(JobTable.project, done.label("runs"), active.label("active"), newest.label("last"))
                   .where(JobTable.project.is_not(None)).group_by(JobTable.project)
                   .order_by(newest.desc()).limit(limit).subquery())
        query = (sa.select(ProjectTable, ModelTable.name, DataTable.name, counted.c.runs, counted.c.active,
                           counted.c.last)
                 .join(counted, counted.c.project == ProjectTable.key)
                 .outerjoin(ModelTable, ModelTable.id == ProjectTable.model)
                 .outerjoin(DataTable, DataTable.id == ProjectTable.data).order_by(counted.c.last.desc()))
        with self.database.reading(self.access) as session:
            rows = session.execute(query).all()
        return [Project(key=row[0].key, model=row[0].model, model_name=row[1] or "deleted model", data=row[0].data,
                        data_name=row[2] or "deleted dataset", target=stored(Target, row[0].target),
                        runs=row[3], active=row[4], last=row[5]) for row in rows]

    def _put_result(self, session: NarrowedSession, row: JobTable, result: Result, code: str) -> int:
        spec = stored_spec(row.spec)
        assert isinstance(spec, RunSpec), f"job {row.id} is a {row.kind} and has no result"
        row.digest = spec_digest(spec, code=code)
        saved = ResultTable(digest=f"{row.digest}:{row.needs or device_kind(row.device or 'cpu')}", job=row.id,
                            body=result.model_dump_json(), families=families(result.spec.recipe), created=self.clock())
        session.add(saved)
        session.flush()
        rows = measurement_rows(result, saved.id)
        if rows:
            session.execute(sa.insert(MeasurementTable), rows)
        for name, digest in result.files.items():
            session.add(ResultFileTable(result_id=saved.id, name=name, digest=digest))
        return saved.id
