"""AUC and log loss of scores over labels, as plain numbers: for training, checks of data, samples and measurement.

Legend: N rows; labels are 0 and 1.
"""

from __future__ import annotations

import numpy as np


def auc(scores: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> float | None:
    """Area under the ROC curve, ties counting one half; None where only one class is present (counts, if weighted).

    Source: Mann and Whitney 1947, from mid-ranks; agrees with scikit-learn's roc_auc_score.
    """
    if weight is not None:
        return _weighted_auc(scores, label, weight)
    positive = label > 0.5
    n_positive = int(positive.sum())
    n_negative = len(label) - n_positive
    if not n_positive or not n_negative:
        return None
    rank_sum = midranks(scores)[positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _weighted_auc(scores: np.ndarray, label: np.ndarray, weight: np.ndarray) -> float | None:
    positive = label > 0.5
    counted = weight[positive].sum(dtype=np.float64)
    if not counted or not weight[~positive].any():
        return None
    below = share_below(scores[positive], scores[~positive], weight[~positive])
    return float(below @ weight[positive].astype(np.float64) / counted)


def share_below(values: np.ndarray, others: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(N,) of the weight of `others` (M,), the share that lies below each value; equal ones count one half."""
    order = np.argsort(others, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weight[order], dtype=np.float64)])
    ends = [np.searchsorted(others[order], values, side=side) for side in ("left", "right")]
    return (sums[ends[0]] + sums[ends[1]]) / 2 / sums[-1]


def midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, (N,) float64; equal values share the middle of their ranks."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    new = np.ones(len(values), bool)
    new[1:] = ordered[1:] != ordered[:-1]
    start = np.flatnonzero(new)
    count = np.diff(np.append(start, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(start + (count + 1) / 2, count)
    return ranks


def row_loss(chances: np.ndarray, label: np.ndarray, *, margin: float) -> np.ndarray:
    """−log p of what happened, for each row (N,) float64; p is kept within [margin, 1 − margin]."""
    p = np.clip(chances, margin, 1 - margin)
    return -np.where(label > 0.5, np.log(p), np.log1p(-p))


def log_loss(logits: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> float:
    """(Weighted) mean of −log p of what happened, from logits, in float64."""
    logits = logits.astype(np.float64)
    return float(np.average(np.logaddexp(0, logits) - logits * label, weights=weight))
