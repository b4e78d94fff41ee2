"""Rows of the jobs and results tables to records and back."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from compression.spec.metrics import METRICS
from compression.spec.records import Failure, JobSpec, Progress, Recipe, Result
from compression.spec.task import Task
from compression.spec.values import whole
from storage.records import Job
from storage.tables import JobTable

SPEC: TypeAdapter[JobSpec] = TypeAdapter(JobSpec)


def job_record(row: JobTable) -> Job:
    """A jobs row as the record pages and workers see."""
    return Job(
        id=row.id, kind=row.kind, name=row.name, spec=SPEC.validate_json(row.spec), state=row.state,
        progress=Progress.model_validate_json(row.progress) if row.progress else None, attempt=row.attempt,
        created=row.created, started=row.started, ended=row.ended,
        failure=Failure.model_validate_json(row.failure) if row.failure else None, cancel_asked=row.cancel_asked,
        parent=row.parent, model=row.model, data=row.data, project=row.project,
        result_ready=row.result_id is not None, cached_from=row.cached_from, needs=row.needs, owner=row.owner,
        worker=row.worker, device=row.device)


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


def headline(result: Result, task: Task) -> dict[str, Any]:
    """The few numbers of a result that stand in columns of its row, for queries; what was not measured is None.

    loss: difference of the task's first metric to the baseline, positive is worse. latency_ratio: at the largest
    batch size.
    """
    here, baseline = whole(result.measurements), whole(result.baseline)
    quality = here.get((task.primary_metric, 0))
    loss = None
    if quality is not None and quality.difference is not None:
        loss = -quality.difference if METRICS[task.primary_metric].higher_is_better else quality.difference
    size, before = here.get(("size_bytes", 0)), baseline.get(("size_bytes", 0))
    ratios = {batch: item.value for (metric, batch), item in here.items() if metric == "latency_ratio"}
    return {
        "families": families(result.spec.recipe),
        "loss": loss,
        "negligible": loss is not None and loss <= task.tolerance,
        "size_bytes": size.value if size else None,
        "size_ratio": size.value / before.value if size and before and before.value else None,
        "latency_ratio": ratios[max(ratios)] if ratios else None,
    }
