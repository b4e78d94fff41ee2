"""What must hold after any trouble: each job done once, with its result and its files, and no work done twice."""

from __future__ import annotations

import sqlalchemy as sa

from storage.narrowing import EVERY_WORKSPACE
from storage.store import Store
from storage.tables import MeasurementTable, ResultTable


def steps_done(store: Store, job_id: int) -> int:
    """How many steps a job named "steps N" has done, over all its attempts."""
    log = store.log_path(job_id)
    return sum(line.startswith("step ") for line in log.read_text().splitlines()) if log.exists() else 0


def check_done_once(store: Store, ids: list[int], steps: int) -> None:
    """Every job is done with one result, and did each step once, but for the one that each kill fell into."""
    jobs = [store.job(job_id) for job_id in ids]
    assert [job.state for job in jobs] == ["done"] * len(ids)
    points = store.points(jobs[0].model, jobs[0].data)
    assert [point.job_id for point in points] == sorted(ids)
    with store.database.reading(EVERY_WORKSPACE) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(ResultTable)) == len(ids)
        assert session.scalar(sa.select(sa.func.count()).select_from(MeasurementTable)) == 3 * len(ids)
    for job in jobs:
        bundle = store.files.path(store.result(job.id).files["bundle.zip"])
        assert bundle.read_bytes().startswith(b"bundle of")
        assert steps <= steps_done(store, job.id) <= steps + job.attempt - 1
