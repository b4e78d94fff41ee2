"""Tasks: what a model is for decides its metrics, its loss and the words on the pages.

Click-through rate now; rating, top-K, sequence and text search move in as further entries.
"""

from __future__ import annotations

from typing import Literal

from compression.spec.records import Record


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


TASKS: dict[str, Task] = {
    "ctr": Task(
        key="ctr",
        title="Click prediction",
        label_help="1 if the person clicked, bought or liked it; 0 if not.",
        metrics=("auc", "logloss", "gauc", "hit_rate_10", "ndcg_10", "calibration_error"),
        loss="binary_cross_entropy",
        tolerance=0.001,
    ),
}
TaskKey = Literal[tuple(TASKS)]  # what a description, a signature and a binding may name
