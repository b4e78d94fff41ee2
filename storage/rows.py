"""Rows of the jobs and results tables to records and back."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter

from compression.spec.records import Failure, JobSpec, Progress, Recipe, Record, Result
from compression.spec.registry import STORED
from compression.spec.values import whole
from storage.records import Job
from storage.tables import JobTable

SPEC: TypeAdapter[JobSpec] = TypeAdapter(JobSpec)
Stored = TypeVar("Stored", bound=Record)


def stored(record: type[Stored], text: str) -> Stored:
    """A record as it was stored, though a plug-in that it names may be gone."""
    return record.model_validate_json(text, context=STORED)


def stored_spec(text: str) -> JobSpec:
    """As `stored`, for what a job was asked to do."""
    return SPEC.validate_json(text, context=STORED)


def job_record(row: JobTable) -> Job:
    """A jobs row as the record pages and workers see."""
    return Job(
        id=row.id, kind=row.kind, name=row.name, spec=stored_spec(row.spec), state=row.state,
        progress=Progress.model_validate_json(row.progress) if row.progress else None, attempt=row.attempt,
        created=row.created, started=row.started, ended=row.ended,
        failure=Failure.model_validate_json(row.failure) if row.failure else None, cancel_asked=row.cancel_asked,
        parent=row.parent, model=row.model, data=row.data, project=row.project,
        result_ready=row.result_id is not None, cached_from=row.cached_from, needs=row.needs, owner=row.owner,
        workspace=row.workspace, worker=row.worker, device=row.device)


def families(recipe: Recipe) -> str:
    """The families of a recipe in order of appearance: "embed+quantize"; fine-tuning counts only where it is alone."""
    found = list(dict.fromkeys(step.method.split(".")[0] for step in recipe.steps))
    return "+".join([family for family in found if family != "train"] or found)


def measurement_rows(result: Result, result_id: int) -> list[dict[str, Any]]:
    """The rows of the measurements table for a result."""
    baseline = whole(result.baseline)
    rows = []
    for (metric, batch_size), item in whole(result.measurements).items():
        before = baseline.get((metric, batch_size))
        rows.append({"result_id": result_id, "metric": metric, "batch_size": batch_size, "value": item.value,
                     "ci_low": item.ci_low, "ci_high": item.ci_high, "difference": item.difference,
                     "difference_low": item.difference_low, "difference_high": item.difference_high,
                     "baseline": before.value if before else None})
    return rows
