"""Quality of scores against labels, with 95 % intervals and the paired difference to the baseline.

Legend: N rows, U users. Scores are probabilities (N,). Intervals treat rows as drawn independently (GAUC: users), and
say how far the value would move on other rows of the same kind, not on another data set.

    auc                 DeLong's variance; the difference from the paired components
    logloss             mean over rows, normal interval
    gauc                bootstrap over users; above 20,000 users the normal interval of a ratio
    hit_rate_10, ndcg_10   the same over users of equal weight (ranking.py)
    calibration_error   normal bootstrap of the gaps of the bins, its bias taken off
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compression.data.dataset import Rows
from compression.errors import MeasureError
from compression.measure.delong import auc_components
from compression.measure.estimates import N_RESAMPLES, Estimate, Z, around, plain_mean, weighted_mean
from compression.measure.ranking import hit_rate, ndcg
from compression.records import Measurement
from compression.tasks import TASKS

N_BINS = 20
_EPS = float(np.finfo(np.float32).eps)  # probabilities are kept this far from 0 and 1, as scikit-learn does for float32


Metric = Callable[[np.ndarray, "np.ndarray | None", Rows, np.random.Generator], "Estimate | None"]


def measure_quality(
    scores: np.ndarray, baseline_scores: np.ndarray | None, rows: Rows, *, task: str, split: str, seed: int
) -> list[Measurement]:
    """The task's metrics of `scores` (N,); with baseline scores also the paired differences over the same rows.

    GAUC, HR@10 and NDCG@10 are absent where the rows have no user, or no user with both classes.
    Raises MeasureError if scores are no probabilities, or the rows hold one class only.
    """
    scores = _checked(scores, rows, "scores")
    baseline = None if baseline_scores is None else _checked(baseline_scores, rows, "scores of the baseline")
    positives = int((rows.label > 0.5).sum())
    if positives in (0, len(rows)):
        raise MeasureError(
            f"All {len(rows)} rows of the {split} split have the label {int(positives > 0)}; AUC needs both classes. "
            "Choose another split or another threshold for the label on the Datasets page."
        )
    measurements = []
    for key in TASKS[task].metrics:
        generator = np.random.default_rng([seed, zlib.crc32(key.encode())])
        estimate = QUALITY[key](scores, baseline, rows, generator)
        if estimate is not None:
            measurements.append(_measurement(key, estimate, split))
    return measurements


def auc(scores: np.ndarray, baseline: np.ndarray | None, rows: Rows, generator: np.random.Generator) -> Estimate:
    """Area under the ROC curve, ties count one half. Source: DeLong et al. 1988, computed as in Sun & Xu 2014."""
    positive = rows.label > 0.5
    components = auc_components(scores, positive)
    value, error = components.auc, components.standard_error
    difference = None
    if baseline is not None:
        paired = components.minus(auc_components(baseline, positive))
        change, low, high = around(paired.auc, paired.standard_error)
        difference = (change, max(-1.0, low), min(1.0, high))
    return Estimate(value, max(0.0, value - Z * error), min(1.0, value + Z * error), len(rows), difference)


def logloss(scores: np.ndarray, baseline: np.ndarray | None, rows: Rows, generator: np.random.Generator) -> Estimate:
    """Mean of −log p of what happened, natural logarithm, p kept within [1.2e-7, 1 − 1.2e-7]."""
    loss = row_loss(scores, rows.label)
    value, low, high = plain_mean(loss)
    difference = None if baseline is None else plain_mean(loss - row_loss(baseline, rows.label))
    return Estimate(value, max(0.0, low), high, len(rows), difference)


def row_loss(scores: np.ndarray, label: np.ndarray) -> np.ndarray:
    """−log p of what happened, for each row (N,) float64."""
    p = np.clip(scores, _EPS, 1 - _EPS)
    return -np.where(label > 0.5, np.log(p), np.log1p(-p))


def gauc(
    scores: np.ndarray, baseline: np.ndarray | None, rows: Rows, generator: np.random.Generator
) -> Estimate | None:
    """AUC within each user, averaged by the user's rows; n is the number of users counted.

    A user with one class only has no AUC and is left out. Source: Zhu et al. 2017, arXiv:1706.06978.
    """
    if rows.user is None:
        return None
    weight, per_user = user_auc(scores, rows.label, rows.user)
    if len(weight) == 0:
        return None
    value, low, high = weighted_mean(per_user, weight, generator)
    difference = None
    if baseline is not None:  # who is counted depends on the labels alone: the same users for both
        difference = weighted_mean(per_user - user_auc(baseline, rows.label, rows.user)[1], weight, generator)
    return Estimate(value, max(0.0, low), min(1.0, high), len(weight), difference)


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


def calibration_error(
    scores: np.ndarray, baseline: np.ndarray | None, rows: Rows, generator: np.random.Generator
) -> Estimate:
    """Mean gap between predicted and observed rate over 20 bins of equal size, rows ordered by score.

    Rows with the same score share their observed rate, so that the order of the rows doesn't matter. Noise alone gives
    a perfectly calibrated model an error above 0, of the order of 0.8·√(rate·20 / N). Source: Naeini et al. 2015.
    """
    own = _bin_gaps(scores, rows.label)
    values = [own] if baseline is None else [own, _bin_gaps(baseline, rows.label)]
    draws = _draw_gaps(values, generator)
    value = float(np.abs(own.gap).sum())
    resampled = np.abs(draws[:, :N_BINS]).sum(1)
    low, high = _interval(value, resampled)
    difference = None
    if baseline is not None:
        change = value - float(np.abs(values[1].gap).sum())
        difference = (change, *_interval(change, resampled - np.abs(draws[:, N_BINS:]).sum(1)))
    return Estimate(value, max(0.0, low), min(1.0, high), len(rows), difference)


@dataclass(frozen=True)
class _Gaps:
    """Bins of one vector of scores: bin and residual p − y of each row (N,); gap of each bin, Σ residual / N, (20,).

    `gap` shares the rate among rows of equal score, `raw_gap` doesn't; they differ where such rows span two bins.
    """

    bin: np.ndarray
    residual: np.ndarray
    gap: np.ndarray
    raw_gap: np.ndarray


def _bin_gaps(scores: np.ndarray, label: np.ndarray) -> _Gaps:
    n = len(scores)
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    group = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    rate = (np.bincount(group, weights=label[order]) / np.bincount(group))[group]
    bins = np.empty(n, np.int64)
    bins[order] = np.arange(n) * N_BINS // n
    shared = np.empty(n)
    shared[order] = ordered - rate
    residual = scores - label
    gap, raw_gap = (np.bincount(bins, weights=values, minlength=N_BINS) / n for values in (shared, residual))
    return _Gaps(bins, residual, gap, raw_gap)


def _draw_gaps(values: list[_Gaps], generator: np.random.Generator) -> np.ndarray:
    """Gaps of all bins of all score vectors under resampling of rows, (resamples, 20 · len(values)).

    A gap is a mean over N rows, so resampling is drawn from its normal limit with the covariance of the rows: as good
    as drawing rows, and independent of N.
    """
    n = len(values[0].bin)
    size = N_BINS * len(values)
    second = np.zeros((size, size))
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            cell = np.bincount(a.bin * N_BINS + b.bin, weights=a.residual * b.residual, minlength=N_BINS**2)
            second[i * N_BINS:(i + 1) * N_BINS, j * N_BINS:(j + 1) * N_BINS] = cell.reshape(N_BINS, N_BINS) / n
    if len(values) == 2 and _same(values[0], values[1]):  # equal scores: the very same draws
        draws = _draw_gaps(values[:1], generator)
        return np.concatenate([draws, draws], axis=1)
    centre, raw = (np.concatenate(parts) for parts in zip(*((v.gap, v.raw_gap) for v in values), strict=True))
    covariance = (second - np.outer(raw, raw)) / n
    eigenvalues, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.clip(eigenvalues, 0, None))
    return centre + generator.standard_normal((N_RESAMPLES, size)) @ root.T


def _same(a: _Gaps, b: _Gaps) -> bool:
    return np.array_equal(a.bin, b.bin) and np.array_equal(a.residual, b.residual)


def _interval(value: float, resampled: np.ndarray) -> tuple[float, float]:
    """95 % of the resamples after their mean is moved onto the value, which takes off the bias of absolute values."""
    low, high = np.quantile(resampled - resampled.mean(), [0.025, 0.975])
    return value + float(low), value + float(high)


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
    difference = estimate.difference or (None, None, None)
    return Measurement(
        metric=key, value=estimate.value, n=estimate.n, ci_low=estimate.low, ci_high=estimate.high,
        difference=difference[0], difference_low=difference[1], difference_high=difference[2], split=split,
    )


QUALITY: dict[str, Metric] = {
    "auc": auc,
    "logloss": logloss,
    "gauc": gauc,
    "hit_rate_10": hit_rate,
    "ndcg_10": ndcg,
    "calibration_error": calibration_error,
}
