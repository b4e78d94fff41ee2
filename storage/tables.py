"""The tables. Records travel as their JSON text; what is searched, joined or sorted by has a column.

Digests of models and datasets stay plain text in `jobs`, so that a finished run outlives nothing it does not own.
Changing a table means a new file in storage/migrations/versions.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite counts rows by INTEGER PRIMARY KEY only
Counter = BigInteger().with_variant(Integer, "sqlite")

NAMES = {"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_name)s",
         "fk": "fk_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}


class Table(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {str: Text, dict[str, Any]: JSON, dict[str, str]: JSON}


class Owned:
    """Belongs to a workspace: storage.narrowing adds the condition to every query, and the workspace to a new row."""

    workspace: Mapped[str] = mapped_column()


class Named(Owned):
    """What has the digest of its content for a name: equal content may be in several workspaces, once in each."""

    workspace: Mapped[str] = mapped_column(primary_key=True)


class ModelTable(Named, Table):
    __tablename__ = "models"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    architecture: Mapped[str]
    manifest: Mapped[dict[str, str]]
    description: Mapped[str]  # ModelDescription
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    origin: Mapped[str]
    data: Mapped[str | None]
    notes: Mapped[dict[str, Any]]
    job: Mapped[int | None] = mapped_column(BigInteger)
    created: Mapped[float] = mapped_column(index=True)
    owner: Mapped[str]


class DataTable(Named, Table):
    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    manifest: Mapped[dict[str, str]]
    description: Mapped[str]  # DataDescription
    summary: Mapped[dict[str, Any]]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    origin: Mapped[str]
    job: Mapped[int | None] = mapped_column(BigInteger)
    created: Mapped[float] = mapped_column(index=True)
    owner: Mapped[str]


class ProjectTable(Named, Table):
    __tablename__ = "projects"
    key: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(index=True)
    data: Mapped[str] = mapped_column(index=True)
    target: Mapped[str]  # Target
    owner: Mapped[str]
    created: Mapped[float]


class ResultTable(Owned, Table):
    """A result stands by itself: several jobs with equal specs point to one."""

    __tablename__ = "results"
    id: Mapped[int] = mapped_column(Counter, primary_key=True)
    digest: Mapped[str]  # of the spec, the code and the device kind
    job: Mapped[int] = mapped_column(BigInteger)  # the job that made it
    body: Mapped[str]  # Result
    families: Mapped[str]
    created: Mapped[float]
    # autoincrement: the id of a deleted result is never given to another, so its numbers may be remembered by id
    __table_args__ = (Index("ix_results_digest", "digest"), {"sqlite_autoincrement": True})


class ResultFileTable(Table):
    __tablename__ = "result_files"
    result_id: Mapped[int] = mapped_column(ForeignKey("results.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]


class MeasurementTable(Table):
    """What Compare plots: whole-split numbers of a result, one row for each metric and batch size."""

    __tablename__ = "measurements"
    result_id: Mapped[int] = mapped_column(ForeignKey("results.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    batch_size: Mapped[int] = mapped_column(primary_key=True)  # 0 where it plays no part
    value: Mapped[float]
    ci_low: Mapped[float | None]
    ci_high: Mapped[float | None]
    difference: Mapped[float | None]
    difference_low: Mapped[float | None]
    difference_high: Mapped[float | None]
    baseline: Mapped[float | None]
    __table_args__ = ({"sqlite_with_rowid": False},)  # the rows of a result lie side by side


class JobTable(Owned, Table):
    __tablename__ = "jobs"
    id: Mapped[int] = mapped_column(Counter, primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    spec: Mapped[str]  # JobSpec
    digest: Mapped[str]  # of the spec and the code; "" where nothing is cached
    state: Mapped[str]
    progress: Mapped[str | None]  # Progress
    attempt: Mapped[int]  # only ever grows: with the worker it fences off whoever lost the job
    attempts_before: Mapped[int]  # of them, before the last retry by a person
    cancel_asked: Mapped[bool]
    fresh: Mapped[bool]  # measure again even where an equal result exists
    needs: Mapped[str | None]
    created: Mapped[float]
    started: Mapped[float | None]
    ended: Mapped[float | None]
    failure: Mapped[str | None]  # Failure
    parent: Mapped[int | None] = mapped_column(BigInteger, index=True)
    model: Mapped[str | None]
    data: Mapped[str | None]
    project: Mapped[str | None]
    result_id: Mapped[int | None] = mapped_column(ForeignKey("results.id"), index=True)
    cached_from: Mapped[int | None] = mapped_column(BigInteger)
    owner: Mapped[str]
    worker: Mapped[str | None]
    device: Mapped[str | None]
    # heartbeats of the attempt: whoever sees none for a lease may take the job; None: its worker is known to be dead
    beats: Mapped[float | None]
    __table_args__ = (
        # the workspace comes last: one that began with it would be chosen for lists, and sort every job of a workspace
        Index("ix_jobs_state_id_workspace", "state", "id", "workspace"),
        Index("ix_jobs_model_data_state", "model", "data", "state"),
        Index("ix_jobs_data", "data"),
        Index("ix_jobs_project_state", "project", "state"),
        {"sqlite_autoincrement": True},  # the id of a deleted run is never given to another
    )


class ComparisonTable(Owned, Table):
    __tablename__ = "comparisons"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    view: Mapped[dict[str, Any]]
    created: Mapped[float]
    owner: Mapped[str]


class ComparedRunTable(Table):
    __tablename__ = "compared_runs"
    comparison: Mapped[str] = mapped_column(ForeignKey("comparisons.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)


class SettingTable(Table):
    """Of the machine, not of a workspace: how large its cache, how long a job may take on its workers."""

    __tablename__ = "settings"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]]


class WorkerTable(Table):
    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    device: Mapped[str]
    job: Mapped[int | None] = mapped_column(BigInteger)
    started: Mapped[float]
    seen: Mapped[float]
