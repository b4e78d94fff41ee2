"""What a model is for decides its metrics, its loss and the words on the pages. Each task is a file of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from compression.spec.records import Record
from compression.spec.registry import Registry


class Task(Record):
    """A prediction task and what belongs to it."""

    key: str
    title: str
    label_help: str
    metrics: tuple[str, ...]  # keys of METRICS, quality only, most important first
    loss: str  # name in compression.train.losses
    tolerance: float  # a loss of the first metric below this is called negligible

    @property
    def primary_metric(self) -> str:
        return self.metrics[0]


TASKS = Registry[Task]("task", room="compression.tasks", group="recpress.tasks", contract=1)


def task(declared: Task) -> Task:
    """Register a task under its key."""
    return TASKS.register(declared.key, declared)


def _known(key: str) -> str:
    if key not in TASKS:
        raise ValueError(f"must be one of {', '.join(TASKS)}")
    return key


TaskKey = Annotated[str, AfterValidator(_known)]  # what a description, a signature and a binding may name
