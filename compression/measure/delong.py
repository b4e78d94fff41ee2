"""AUC with the variance of DeLong, and its paired difference, in O(N log N).

The structural component of a positive row is the share of negatives below it (ties count one half); of a negative row,
the share of positives above it. Their spread gives the variance; the components of two score vectors over the same
rows, subtracted row by row, give the variance of the difference, covariance included.
Source: DeLong et al. 1988, Biometrics 44; midranks as in Sun & Xu 2014, IEEE Signal Processing Letters 21.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compression.data.scores import midranks
from compression.measure.estimates import Interval, around, wilson

MIN_OF_A_CLASS = 10  # rows; fewer show too little of how far the class spreads


@dataclass(frozen=True)
class AucComponents:
    """Structural components of positives (P,) and negatives (Q,); their mean is the AUC."""

    positive: np.ndarray
    negative: np.ndarray

    @property
    def auc(self) -> float:
        return float(self.positive.mean())

    @property
    def interval(self) -> Interval | None:
        """Of the AUC, or of a difference of two; None where a class has too few rows, or nothing spreads."""
        return self._around(self.auc, scale=1.0)

    @property
    def logit_interval(self) -> Interval | None:
        """Of the AUC on the scale of its logit, which keeps it in [0, 1]; at 0 and 1 Wilson's over the smaller class.
        """
        auc, fewer = self.auc, min(len(self.positive), len(self.negative))
        if fewer < MIN_OF_A_CLASS:
            return None
        if auc in (0.0, 1.0):
            return wilson(auc, fewer)
        ends = self._around(np.log(auc / (1 - auc)), scale=auc * (1 - auc))
        return None if ends is None else tuple(float(1 / (1 + np.exp(-end))) for end in ends)

    def _around(self, value: float, *, scale: float) -> Interval | None:
        parts = (self.positive, self.negative)
        if min(map(len, parts)) < MIN_OF_A_CLASS:
            return None
        variances = np.array([part.var(ddof=1) / len(part) for part in parts])
        total = variances.sum()
        if total == 0:
            return None
        degrees = total**2 / sum(own**2 / (len(part) - 1) for own, part in zip(variances, parts, strict=True))
        return around(value, float(np.sqrt(total)) / scale, degrees)  # Welch's degrees of freedom

    def minus(self, other: AucComponents) -> AucComponents:
        """Components of the difference of two AUCs over the same rows."""
        return AucComponents(self.positive - other.positive, self.negative - other.negative)


def auc_components(scores: np.ndarray, positive: np.ndarray) -> AucComponents:
    """Components of scores (N,) with positives marked by a mask (N,) bool; both classes must occur."""
    above, below = scores[positive], scores[~positive]
    n_positive, n_negative = len(above), len(below)
    ranks = midranks(scores)
    won = (ranks[positive] - midranks(above)) / n_negative
    lost = 1.0 - (ranks[~positive] - midranks(below)) / n_positive
    return AucComponents(won, lost)
