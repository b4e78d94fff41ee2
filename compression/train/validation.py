"""Metrics of a validation split by name, as a task names them to decide which epoch of a training is the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from compression.data.scores import auc, log_loss
from compression.spec.errors import ModelError

# logits (N,), label (N,), weight (N,) or None; None where rows can't tell
Metric = Callable[[np.ndarray, np.ndarray, "np.ndarray | None"], "float | None"]

VALIDATION: dict[str, Metric] = {"auc": auc, "logloss": log_loss}


def validation_scores(metrics: Iterable[str], logits: np.ndarray, label: np.ndarray,
                      weight: np.ndarray | None = None) -> dict[str, float | None]:
    """Each of the metrics over the rows. Raises ModelError for a name that there isn't."""
    metrics = tuple(metrics)
    for name in metrics:
        if name not in VALIDATION:
            raise ModelError(f"There is no validation metric {name!r}; it is one of: {', '.join(VALIDATION)}.")
    return {name: VALIDATION[name](logits, label, weight) for name in metrics}
