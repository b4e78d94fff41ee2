"""A value with its 95 % interval: means over rows, and weighted means over users.

Intervals treat rows (or users) as drawn independently.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_RESAMPLES = 1000
Z = 1.959963984540054  # 97.5 % point of the normal distribution
MAX_BOOTSTRAP_USERS = 20_000


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, and the paired difference to the baseline with its own."""

    value: float
    low: float
    high: float
    n: int
    difference: tuple[float, float, float] | None = None  # difference, low, high


def weighted_mean(values: np.ndarray, weight: np.ndarray, generator: np.random.Generator
                  ) -> tuple[float, float, float]:
    """Weighted mean over users with its 95 % interval from resampled users; above 20,000 users the normal one."""
    n = len(weight)
    mean = float(values @ weight / weight.sum())
    if not (values != values[0]).any():
        return mean, mean, mean
    if n > MAX_BOOTSTRAP_USERS:
        influence = weight * (values - mean) / weight.sum()
        return around(mean, float(np.sqrt((influence**2).sum())))
    sums = values * weight
    means = np.empty(N_RESAMPLES)
    step = max(1, 2_000_000 // n)
    for start in range(0, N_RESAMPLES, step):
        drawn = generator.integers(0, n, (min(step, N_RESAMPLES - start), n))
        means[start:start + len(drawn)] = sums[drawn].sum(1) / weight[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return mean, float(low), float(high)


def plain_mean(values: np.ndarray) -> tuple[float, float, float]:
    """Mean over rows with its normal interval."""
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return around(float(values.mean()), error)


def around(value: float, error: float) -> tuple[float, float, float]:
    """A value with its normal interval."""
    return value, value - Z * error, value + Z * error
