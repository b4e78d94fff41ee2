"""Quality of scores against labels, with 95 % intervals and the paired difference to the baseline.

Legend: N rows, U users. Scores are probabilities (N,). Intervals treat rows as drawn independently (metrics of users:
users), and say how far the value would move on other rows of the same kind, not on another data set.

    auc                 DeLong's variance, on the scale of the logit; the difference from the paired components
    logloss             mean over rows
    gauc                mean over users, weighted by their rows
    hit_rate_10, ndcg_10   mean over users of equal weight (ranking.py)
    calibration_error   no interval: the noise of its bins moves the value itself, by as much as it spreads

Where rows have weights, metrics of rows (auc, logloss, calibration_error) count each row by its own; metrics of users
rank what was shown to each and count it once, whatever its weight.

estimates.py has the formulas; docs/results/coverage.md shows how often the intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from compression.data.dataset import Rows
from compression.data.scores import midranks, row_loss
from compression.measure.delong import auc_components
from compression.measure.estimates import Estimate, mean_interval, paired_interval
from compression.measure.ranking import hit_rate, ndcg, over_users
from compression.spec.errors import MeasureError
from compression.spec.metrics import METRICS
from compression.spec.records import Measurement
from compression.spec.task import TASKS

N_BINS = 20
_EPS = float(np.finfo(np.float32).eps)  # probabilities are kept this far from 0 and 1, as scikit-learn does for float32


@dataclass(frozen=True)
class Quality:
    """How a metric is computed from scores, the baseline's scores and rows; whether the order of scores is all it sees.
    """

    measure: Callable[[np.ndarray, "np.ndarray | None", Rows], "Estimate | None"]
    order_only: bool


def measure_quality(
    scores: np.ndarray, baseline_scores: np.ndarray | None, rows: Rows, *, task: str, split: str
) -> list[Measurement]:
    """The task's metrics of `scores` (N,); with baseline scores also the paired differences over the same rows.

    GAUC, HR@10 and NDCG@10 are absent where the rows have no user, or no user with both classes. Equal scores differ
    by exactly nothing, as do equal orders in metrics that see only the order.
    Raises MeasureError if scores are no probabilities, or the rows hold one class only.
    """
    scores = _checked(scores, rows, "scores")
    baseline = None if baseline_scores is None else _checked(baseline_scores, rows, "scores of the baseline")
    counted = rows.label if rows.weight is None else rows.label[rows.weight > 0]
    positives = int((counted > 0.5).sum())
    if positives in (0, len(counted)):
        raise MeasureError(
            f"All {len(rows)} rows of the {split} split have the label {int(positives > 0)}; "
            f"{METRICS[TASKS[task].primary_metric].title} needs both classes. "
            "Choose another split or another threshold for the label on the Datasets page."
        )
    estimates = {key: estimate(key, scores, baseline, rows) for key in TASKS[task].metrics}
    return [_measurement(key, found, split) for key, found in estimates.items() if found is not None]


def estimate(key: str, scores: np.ndarray, baseline: np.ndarray | None, rows: Rows) -> Estimate | None:
    """One metric of QUALITY. Where no other rows could tell the two files apart, the difference is exactly nothing."""
    quality = QUALITY[key]
    found = quality.measure(scores, baseline, rows)
    if found is not None and found.difference == 0 and _same(scores, baseline, order_only=quality.order_only):
        return replace(found, difference_interval=(0.0, 0.0))
    return found


def _same(scores: np.ndarray, baseline: np.ndarray, *, order_only: bool) -> bool:
    return np.array_equal(scores, baseline) or (
        order_only and np.array_equal(midranks(scores), midranks(baseline)))


def auc(scores: np.ndarray, baseline: np.ndarray | None, rows: Rows) -> Estimate:
    """Area under the ROC curve, ties count one half; rows count by their weight.

    Source: DeLong et al. 1988, computed as in Sun & Xu 2014.
    """
    positive = rows.label > 0.5
    components = auc_components(scores, positive, rows.weight)
    difference, interval = None, None
    if baseline is not None:
        paired = components.minus(auc_components(baseline, positive, rows.weight))
        difference, interval = paired.auc, paired.interval
    return Estimate(components.auc, len(rows), components.logit_interval, difference, interval)


def logloss(scores: np.ndarray, baseline: np.ndarray | None, rows: Rows) -> Estimate:
    """Mean of −log p of what happened, natural logarithm, p kept within [1.2e-7, 1 − 1.2e-7]."""
    loss = row_loss(scores, rows.label, margin=_EPS)
    value, interval = float(np.average(loss, weights=rows.weight)), mean_interval(loss, rows.weight)
    if interval is not None:
        interval = (max(0.0, interval[0]), interval[1])
    if baseline is None:
        return Estimate(value, len(rows), interval)
    paired = loss - row_loss(baseline, rows.label, margin=_EPS)
    return Estimate(value, len(rows), interval, float(np.average(paired, weights=rows.weight)),
                    paired_interval(paired, rows.weight))


def gauc(scores: np.ndarray, baseline: np.ndarray | None, rows: Rows) -> Estimate | None:
    """AUC within each user, averaged by the user's rows; n is the number of users counted.

    A user with one class only has no AUC and is left out. Source: Zhu et al. 2017, arXiv:1706.06978.
    """
    return over_users(scores, baseline, rows, user_auc)


def user_auc(scores: np.ndarray, label: np.ndarray, user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (U,) and AUC (U,) of every user that has both classes; ties count one half."""
    _, user = np.unique(user, return_inverse=True)
    order = np.lexsort((scores, user))
    user, score, positive = user[order], scores[order], label[order] > 0.5
    rows = np.bincount(user)
    n_positive = np.bincount(user, weights=positive, minlength=len(rows))
    place = np.arange(len(user)) - (np.cumsum(rows) - rows)[user]  # 0-based rank within the user
    new = np.ones(len(user), bool)
    new[1:] = (user[1:] != user[:-1]) | (score[1:] != score[:-1])
    group = np.cumsum(new) - 1  # rows of one user with one score
    first = place[new]
    midrank = first[group] + (np.bincount(group)[group] + 1) / 2  # 1-based, ties share the middle
    rank_sum = np.bincount(user, weights=midrank * positive, minlength=len(rows))
    counted = (n_positive > 0) & (n_positive < rows)
    rows, n_positive, rank_sum = rows[counted], n_positive[counted], rank_sum[counted]
    wins = rank_sum - n_positive * (n_positive + 1) / 2
    return rows.astype(np.float64), wins / (n_positive * (rows - n_positive))


def calibration_error(scores: np.ndarray, baseline: np.ndarray | None, rows: Rows) -> Estimate:
    """Mean gap between predicted and observed rate over 20 bins of equal size, rows ordered by score.

    Rows with the same score share their observed rate, so that the order of the rows doesn't matter. Noise alone gives
    a perfectly calibrated model an error above 0, of the order of 0.8·√(rate·20 / N), which an interval around the
    value would not hold. Source: Naeini et al. 2015.
    """
    value = _mean_gap(scores, rows)
    return Estimate(value, len(rows), difference=None if baseline is None else value - _mean_gap(baseline, rows))


def _mean_gap(scores: np.ndarray, rows: Rows) -> float:
    if rows.weight is not None:
        return _weighted_gap(scores, rows.label, rows.weight.astype(np.float64))
    n, label = len(scores), rows.label
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    group = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    rate = (np.bincount(group, weights=label[order]) / np.bincount(group))[group]
    return float(np.abs(np.bincount(np.arange(n) * N_BINS // n, weights=ordered - rate)).sum() / n)


def _weighted_gap(scores: np.ndarray, label: np.ndarray, weight: np.ndarray) -> float:
    """As without weights; a bin holds a twentieth of the weight, as near as whole rows come to it."""
    order = np.argsort(scores, kind="stable")
    ordered, weight = scores[order], weight[order]
    group = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    held = np.bincount(group, weights=weight)
    rate = (np.bincount(group, weights=label[order] * weight) / np.where(held > 0, held, 1))[group]
    place = (np.cumsum(weight) - weight / 2) / weight.sum()
    gaps = np.bincount((place * N_BINS).astype(np.int64), weights=weight * (ordered - rate), minlength=N_BINS)
    return float(np.abs(gaps).sum() / weight.sum())


def _checked(scores: np.ndarray, rows: Rows, what: str) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.shape != (len(rows),):
        raise MeasureError(f"The {what} have shape {scores.shape}; one for each of the {len(rows)} rows is expected.")
    outside = int((~((scores >= 0) & (scores <= 1))).sum())  # NaN is outside too
    if outside:
        raise MeasureError(
            f"{outside} of {len(rows)} {what} are not probabilities in [0, 1]. "
            "If the model gives logits, say so in its binding on the Models page."
        )
    return scores


def _measurement(key: str, estimate: Estimate, split: str) -> Measurement:
    low, high = estimate.interval or (None, None)
    difference_low, difference_high = estimate.difference_interval or (None, None)
    return Measurement(metric=key, value=estimate.value, n=estimate.n, ci_low=low, ci_high=high,
                       difference=estimate.difference, difference_low=difference_low,
                       difference_high=difference_high, split=split)


QUALITY: dict[str, Quality] = {
    "auc": Quality(auc, order_only=True),
    "logloss": Quality(logloss, order_only=False),
    "gauc": Quality(gauc, order_only=True),
    "hit_rate_10": Quality(hit_rate, order_only=True),
    "ndcg_10": Quality(ndcg, order_only=True),
    "calibration_error": Quality(calibration_error, order_only=False),
}
