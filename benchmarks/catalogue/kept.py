"""Figures of earlier runs, as docs/results/methods.csv keeps them: they stand where a run has fewer seeds of its own.

So a machine that never ran the benchmark goes on where another one stopped; `--again METHOD` measures anew.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.catalogue.goals import SEEDS, SERIES
from benchmarks.catalogue.jobs import RECIPES
from benchmarks.catalogue.points import Job
from benchmarks.catalogue.references import SOURCES

Key = tuple[str, str, str, bool]  # dataset, series, setting, tuned


@dataclass(frozen=True)
class Kept:
    """A line of the table: means over so many seeds, and the 95 % interval of the difference."""

    ratio: float
    difference: float
    low: float
    high: float
    seeds: int


def key_of(job: Job) -> Key:
    """Where the table has the job; a recipe of a goal stands there as a recipe."""
    series = f"{RECIPES} {job.series}" if job.on == SERIES else job.series
    return (job.dataset, series, job.setting, job.tuned)


def read_kept(path: Path) -> dict[Key, Kept]:
    """The lines of the table by their key; none where there is no table."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["dataset"], row["series"], row["setting"], row["tuned"] == "1"):
                Kept(*(float(row[name]) for name in ("times_smaller", "auc_difference", "low", "high")),
                     seeds=int(row["seeds"]))
                for row in csv.DictReader(file)}


def is_known(job: Job, kept: Mapping[Key, Kept]) -> bool:
    """Whether the table has the job from as many seeds as it is run with."""
    wanted = len(SEEDS if job.on == SERIES else SOURCES[job.dataset].seeds)
    return key_of(job) in kept and kept[key_of(job)].seeds >= wanted
