"""AUC with the variance of DeLong, and its paired difference, in O(N log N).

The structural component of a positive row is the share of negatives below it (ties count one half); of a negative row,
the share of positives above it. Their spread gives the variance; the components of two score vectors over the same
rows, subtracted row by row, give the variance of the difference, covariance included.
Source: DeLong et al. 1988, Biometrics 44; midranks as in Sun & Xu 2014, IEEE Signal Processing Letters 21.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compression.data.scores import midranks, share_below
from compression.measure.estimates import Interval, around, wilson

MIN_OF_A_CLASS = 10  # rows; fewer show too little of how far the class spreads


@dataclass(frozen=True)
class AucComponents:
    """Structural components of positives (P,) and negatives (Q,), and the weights of the rows where they have some;
    the (weighted) mean of either is the AUC."""

    positive: np.ndarray
    negative: np.ndarray
    positive_weight: np.ndarray | None = None
    negative_weight: np.ndarray | None = None

    @property
    def auc(self) -> float:
        return float(np.average(self.positive, weights=self.positive_weight))

    @property
    def interval(self) -> Interval | None:
        """Of the AUC, or of a difference of two; None where a class has too few rows, or nothing spreads."""
        return self._around(self.auc, scale=1.0)

    @property
    def logit_interval(self) -> Interval | None:
        """Of the AUC on the scale of its logit, which keeps it in [0, 1]; at 0 and 1 Wilson's over the smaller class.
        """
        auc, fewer = self.auc, min(count for _, count in self._spread())
        if fewer < MIN_OF_A_CLASS:
            return None
        if auc in (0.0, 1.0):
            return wilson(auc, fewer)
        ends = self._around(np.log(auc / (1 - auc)), scale=auc * (1 - auc))
        return None if ends is None else tuple(float(1 / (1 + np.exp(-end))) for end in ends)

    def _around(self, value: float, *, scale: float) -> Interval | None:
        spread = self._spread()
        if min(count for _, count in spread) < MIN_OF_A_CLASS:
            return None
        total = sum(variance for variance, _ in spread)
        if total == 0:
            return None
        degrees = total**2 / sum(variance**2 / (count - 1) for variance, count in spread)
        return around(value, float(np.sqrt(total)) / scale, degrees)  # Welch's degrees of freedom

    def _spread(self) -> list[tuple[float, float]]:
        """(variance of the mean, rows) of either class; with weights the rows that count, (Σw)² / Σw²."""
        found = []
        for part, weight in ((self.positive, self.positive_weight), (self.negative, self.negative_weight)):
            if weight is None:
                found.append((part.var(ddof=1) / len(part) if len(part) > 1 else 0.0, len(part)))
                continue
            shares = weight / weight.sum(dtype=np.float64)
            count = 1 / (shares @ shares)
            variance = float(((shares * (part - shares @ part)) ** 2).sum())
            found.append((variance * count / (count - 1) if count > 1 else 0.0, count))
        return found

    def minus(self, other: AucComponents) -> AucComponents:
        """Components of the difference of two AUCs over the same rows."""
        return AucComponents(self.positive - other.positive, self.negative - other.negative, self.positive_weight,
                             self.negative_weight)


def auc_components(scores: np.ndarray, positive: np.ndarray, weight: np.ndarray | None = None) -> AucComponents:
    """Components of scores (N,) with positives marked by a mask (N,) bool; both classes must occur, and count."""
    if weight is not None:
        above, below, own, others = scores[positive], scores[~positive], weight[positive], weight[~positive]
        return AucComponents(share_below(above, below, others), 1.0 - share_below(below, above, own), own, others)
    above, below = scores[positive], scores[~positive]
    n_positive, n_negative = len(above), len(below)
    ranks = midranks(scores)
    won = (ranks[positive] - midranks(above)) / n_negative
    lost = 1.0 - (ranks[~positive] - midranks(below)) / n_positive
    return AucComponents(won, lost)
