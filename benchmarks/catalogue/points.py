"""Points: what was tried and what came out, a JSON line each, so that a run goes on where it was stopped.

Each line is written whole by one process, the parent; a line that a kill cut short is read as not there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compression.spec.records import Recipe


@dataclass(frozen=True)
class Job:
    """One thing to try on one reference: a recipe, or a control at a setting."""

    dataset: str
    seed: int
    series: str  # one line of a plot: a sweep's or a control's name
    on: str  # "tables", "dense", "both"
    method: str  # key of the catalogue; "" for a control
    setting: str  # as the table shows it
    tuned: bool = False
    recipe: Recipe | None = None
    control: str = ""
    value: Any = None

    @property
    def digest(self) -> str:
        """What makes two jobs the same; names and order of the sweeps don't."""
        told = [self.dataset, self.seed, self.control, self.value]
        if self.recipe is not None:
            told += [self.recipe.seed, [[step.method, step.params] for step in self.recipe.steps]]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Point:
    """A finished job: bytes, paired AUC difference with its interval; or the sentence why there are none."""

    digest: str
    dataset: str
    seed: int
    series: str
    on: str
    method: str
    setting: str
    tuned: bool
    bytes: int | None = None
    baseline_bytes: int | None = None
    auc: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    seconds: float | None = None
    said: list[str] = field(default_factory=list)
    failure: str | None = None

    @property
    def is_control(self) -> bool:
        return not self.method


def point_of(job: Job, figures: dict[str, Any]) -> Point:
    """The point of a finished job."""
    return Point(digest=job.digest, dataset=job.dataset, seed=job.seed, series=job.series, on=job.on,
                 method=job.method, setting=job.setting, tuned=job.tuned, **figures)


def read_points(path: Path) -> dict[str, Point]:
    """Finished points by digest; the last line of a digest counts."""
    points: dict[str, Point] = {}
    if not path.exists():
        return points
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            point = Point(**json.loads(line))
        except (ValueError, TypeError):
            continue
        points[point.digest] = point
    return points


def add_point(path: Path, point: Point) -> None:
    """One more line, on the disk before the next job starts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(point)) + "\n")


def left_to_do(jobs: Iterable[Job], points: dict[str, Point], *, again: Iterable[str] = ()) -> list[Job]:
    """Jobs without a point, each once; those that failed, and those of methods in `again`, are tried once more."""
    repeated = set(again)
    left = {job.digest: job for job in jobs if job.digest not in points or points[job.digest].failure
            or job.method in repeated}
    return list(left.values())
