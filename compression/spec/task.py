"""What a model is for decides its metrics, its loss and the words on the pages. Each task is a file of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from compression.spec.records import Record
from compression.spec.registry import Registry, one_of

DEFAULT_TASK = "ctr"  # of a description, a signature or a binding that names none

OutputForm = Literal["probability", "logit", "rating", "vector"]  # of scores; rating: no sigmoid follows
SplitKind = Literal["time", "user_time", "leave_one_out", "random", "user", "given"]


class Task(Record):
    """A prediction task, and all that it decides. Labels become 0 and 1: a row is positive from a value on."""

    key: str
    title: str
    label_help: str  # what 1 and 0 stand for, shown beside the label
    metrics: tuple[str, ...]  # keys of METRICS, quality only, most important first
    tolerance: float  # a loss of the first metric below this is called negligible
    loss: str  # what a training makes small: a name in compression.train.losses
    stopping: tuple[str, ...]  # metrics of compression.train.validation; the first that validation rows allow decides
    positive_from: float = 1.0  # the label's value from which a row is positive, where a description doesn't say
    unit: Literal["row", "user"] = "row"  # what the interval of the first metric is over; users need a user column
    output_form: OutputForm = "probability"  # of the scores of models that are made for the task
    split: SplitKind = "time"  # how rows are cut, where a description doesn't say

    @property
    def primary_metric(self) -> str:
        return self.metrics[0]


TASKS = Registry[Task]("task", room="compression.tasks", group="recpress.tasks", contract=1)


def task(declared: Task) -> Task:
    """Register a task under its key."""
    return TASKS.register(declared.key, declared)


TaskKey = Annotated[str, one_of(TASKS)]  # what a description, a signature and a binding may name
