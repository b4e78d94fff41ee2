"""Click prediction: will this person click, buy or like this item?"""

from __future__ import annotations

from compression.spec.task import Task, task

CLICK = task(Task(
    key="ctr",
    title="Click prediction",
    label_help="1 if the person clicked, bought or liked it; 0 if not.",
    metrics=("auc", "logloss", "gauc", "hit_rate_10", "ndcg_10", "calibration_error"),
    tolerance=0.001,
    loss="binary_cross_entropy",
    stopping=("auc", "logloss"),
    positive_from=1.0,
    unit="row",
    output_form="probability",
    split="time",
))
