"""Every 95 % interval of a measurement is computed here, once: Student's t, Wilson's, and that of paired differences.

Units (rows, users, sessions) count as drawn independently. Where the sample can't say how far the value would move on
another one, there is no interval (None) rather than a false one: fewer than MIN_UNITS units, or no spread at all.
Legend: N units, values (N,), weight (N,) or None for equal weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Z = 1.959963984540054  # 97.5 % point of the normal distribution
MIN_UNITS = 30  # fewer give no interval; with unequal weights their effective number counts
_ROUNDING = 1e-12  # differences this small are none
_POISSON_LOW = (0.0, 0.0513, 0.355, 0.818)  # 5 % points of the mean of a Poisson count of 0, 1, 2, 3

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A value over n units with its interval, and the paired difference to the baseline with its own."""

    value: float
    n: int
    interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None


def student_t(degrees: float) -> float:
    """97.5 % point of Student's t; to a thousandth from 4 degrees of freedom on.

    Source: Abramowitz & Stegun 26.7.5.
    """
    z = Z
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
             (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160)
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))


def around(value: float, error: float, degrees: float) -> Interval | None:
    """Student's interval of a value with this standard error; None where the error is 0 or unknown."""
    if not np.isfinite(error) or error <= 0:
        return None
    half = student_t(degrees) * error
    return float(value - half), float(value + half)


def mean_interval(values: np.ndarray, weight: np.ndarray | None = None) -> Interval | None:
    """Of the (weighted) mean of values without bounds."""
    if len(values) < MIN_UNITS or np.ptp(values) <= _ROUNDING:
        return None
    if weight is not None:
        shares = _shares(values, weight)
        units, mean = 1 / (shares @ shares), shares @ values
        error = np.sqrt(((shares * (values - mean)) ** 2).sum() * units / (units - 1)) if units >= MIN_UNITS else 0.0
        return around(mean, error, units - 1)
    return around(values.mean(), values.std(ddof=1) / np.sqrt(len(values)), len(values) - 1)


def share_interval(values: np.ndarray, weight: np.ndarray | None = None) -> Interval | None:
    """Of the (weighted) mean of values in [0, 1]: Wilson's at the effective number of units.

    For hits and misses of equal weight that is N. Otherwise it is the number of hits and misses whose share would
    spread as much as this mean does; where all values are 0, or all are 1, the effective number of the weights.
    """
    weight = _shares(values, weight)
    units = 1 / (weight @ weight)
    mean = float(np.clip(weight @ values, 0.0, 1.0))
    if units < MIN_UNITS:
        return None
    variance = float(((weight * (values - mean)) ** 2).sum())
    if np.ptp(values) <= _ROUNDING:
        mean = float(np.round(values[0], 12))
        if mean not in (0.0, 1.0):
            return None
    else:
        units = mean * (1 - mean) / variance
    return wilson(mean, units)


def wilson(share: float, n: float) -> Interval:
    """Interval of a share of n units, which need not be whole; with up to 3 hits or misses its near end is Poisson's.

    Source: Wilson 1927; the few hits as in Brown, Cai & DasGupta 2001, Statistical Science 16, section 4.1.1.
    """
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    hits, misses = n * share, n * (1 - share)
    if hits <= 3:
        low = min(low, float(np.interp(hits, range(4), _POISSON_LOW)) / n)
    if misses <= 3:
        high = max(high, 1 - float(np.interp(misses, range(4), _POISSON_LOW)) / n)
    return float(low), float(high)


def paired_interval(differences: np.ndarray, weight: np.ndarray | None = None) -> Interval | None:
    """Of the (weighted) mean of differences within pairs, each in [−1, 1] or as large as seen.

    Two pairs are added, one of +s and one of −s, s being the root mean square of the differences that are not 0 (1 if
    all are): otherwise a handful of pairs that differ, or none, would pass for certainty. Where every pair differs the
    two weigh nothing. Source: Bonett & Price 2012, for hits and misses; here also for differences between.
    """
    differing = differences[np.abs(differences) > _ROUNDING]
    size = float(np.sqrt((differing**2).mean())) if len(differing) else 1.0
    shares = _shares(differences, weight)
    if 1 / (shares @ shares) < MIN_UNITS:
        return None
    n = len(differences)
    values = np.concatenate([differences, [size, -size]])
    shares = np.concatenate([shares, [1 / n, 1 / n]]) / (1 + 2 / n)
    mean = shares @ values
    return around(mean, np.sqrt(((shares * (values - mean)) ** 2).sum()), 1 / (shares @ shares) - 1)


def _shares(values: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """The weights, summing to 1."""
    return np.full(len(values), 1 / len(values)) if weight is None else weight / weight.sum(dtype=np.float64)
