"""The range whose 8-bit levels tell most of what the values told: least Kullback–Leibler divergence.

Source: Migacz 2017, "8-bit inference with TensorRT" (GTC S7310). Here: a range on both sides of zero is cut in
proportion, so that zero stays where it was; exact zeros (ReLU gives many) are left out, as every range meets them
exactly and their bin would outweigh all others.
"""

from __future__ import annotations

import numpy as np

N_BINS = 2048
N_LEVELS = 256
EMPTY = 1e-4  # values that a level without any counts as holding, as in ONNX Runtime's calibrator


def least_divergence(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The part of [low, high] of least divergence; all of it where there is nothing to choose. low ≤ 0 ≤ high."""
    values = values[values != 0]
    if high <= low or not len(values):
        return low, high
    counts = np.histogram(values, N_BINS, (low, high))[0].astype(np.float64)
    width = (high - low) / N_BINS
    kept = min(range(N_BINS, N_LEVELS - 1, -1), key=lambda n_bins: _divergence(counts, *_cut(low, width, n_bins)))
    first, last = _cut(low, width, kept)
    return min(0.0, low + first * width), max(0.0, low + last * width)


def _cut(low: float, width: float, n_bins: int) -> tuple[int, int]:
    """The bins that stay, cut on each side in proportion to what lies there."""
    first = round(-low / width * (1 - n_bins / N_BINS))
    return first, first + n_bins


def _divergence(counts: np.ndarray, first: int, last: int) -> float:
    """KL of the values, those outside moved to the last bin inside, from the same values seen through the levels."""
    inside = counts[first:last]
    seen = inside.copy()
    seen[0] += counts[:first].sum()
    seen[-1] += counts[last:].sum()
    filled = seen > 0
    level = np.arange(len(inside)) * N_LEVELS // len(inside)
    mass = np.bincount(level, inside, N_LEVELS) / np.maximum(np.bincount(level, filled, N_LEVELS), 1)
    told = np.maximum(mass[level], EMPTY)[filled]
    seen = seen[filled]
    return float((seen / seen.sum() * np.log(seen / seen.sum() * told.sum() / told)).sum())
