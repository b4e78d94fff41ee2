"""Who uses a run, a model or a dataset: what keeps it from being deleted, in a sentence."""

from __future__ import annotations

import sqlalchemy as sa

from compression.spec.errors import StorageError
from storage.base import listed
from storage.narrowing import NarrowedSession
from storage.tables import ComparedRunTable, ComparisonTable, JobTable, ResultTable

ACTIVE = ("queued", "running")


def refuse_while_used(session: NarrowedSession, chosen: sa.ColumnElement[bool], what: str, *, with_runs: bool) -> None:
    """Raise StorageError if the jobs chosen are queued, running, compared or (unless `with_runs`) finished runs."""
    active = session.execute(sa.select(JobTable.id, JobTable.name, JobTable.state).where(
        chosen, JobTable.state.in_(ACTIVE)).order_by(JobTable.id)).all()
    if active:
        jobs = listed([f"{job.state} job {job.id} ({job.name})" for job in active])
        raise StorageError(f"{what} can't be deleted: {jobs} still uses it. Wait for the end, or cancel it on the "
                           "Runs page." if len(active) == 1 else
                           f"{what} can't be deleted: {jobs} still use it. Wait for their end, or cancel them on the "
                           "Runs page.")
    refuse_while_compared(session, chosen, what)
    runs = session.scalar(sa.select(sa.func.count()).where(chosen, JobTable.kind == "run", JobTable.state == "done"))
    if runs and not with_runs:
        raise StorageError(f"{what} can't be deleted alone: {runs} finished run{'s' * (runs > 1)} measured it. "
                           "Delete it together with its runs, or keep it.")


def refuse_while_compared(session: NarrowedSession, chosen: sa.ColumnElement[bool], what: str) -> None:
    """Raise StorageError if a saved comparison, of whomever, shows one of the jobs chosen."""
    compared = session.execute(
        sa.select(ComparisonTable.name, ComparisonTable.owner).distinct()
        .join(ComparedRunTable, ComparedRunTable.comparison == ComparisonTable.id)
        .join(JobTable, JobTable.id == ComparedRunTable.job).where(chosen)
        .order_by(ComparisonTable.owner, ComparisonTable.name)).all()
    if compared:
        names = listed([f"{row.name!r} of {row.owner}" for row in compared])
        one = len(compared) == 1
        raise StorageError(f"{what} can't be deleted: the saved comparison{'' if one else 's'} {names} "
                           f"show{'s' if one else ''} it. Delete {'that comparison' if one else 'those comparisons'} "
                           "first (on the Compare page, under Save or open), or ask the owner to.")


def delete_finished(session: NarrowedSession, chosen: sa.ColumnElement[bool]) -> list[int]:
    """Delete ended jobs, and results that no other job points to; gives the ids of the jobs."""
    rows = session.execute(sa.select(JobTable.id, JobTable.result_id).where(
        chosen, JobTable.state.not_in(ACTIVE))).all()
    jobs = [row.id for row in rows]
    results = {row.result_id for row in rows if row.result_id is not None}
    session.execute(sa.delete(JobTable).where(chosen, JobTable.state.not_in(ACTIVE)))
    if results:
        still = sa.select(JobTable.result_id).where(JobTable.result_id.is_not(None))
        session.execute(sa.delete(ResultTable).where(ResultTable.id.in_(results), ResultTable.id.not_in(still)))
    return jobs
