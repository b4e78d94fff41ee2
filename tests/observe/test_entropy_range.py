"""The entropy calibrator against a plain reading of its paper, and against ONNX Runtime's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from compression.observe.entropy_range import EMPTY, N_BINS, N_LEVELS, least_divergence


def plain_threshold(values: np.ndarray, high: float) -> float:
    """Migacz 2017, slide 38, for values above zero: loops in place of arrays; levels may hold bins unevenly."""
    counts, edges = np.histogram(values, N_BINS, (0, high))
    best, threshold = np.inf, high
    for n_bins in range(N_LEVELS, N_BINS + 1):
        reference = counts[:n_bins].astype(float)
        reference[-1] += counts[n_bins:].sum()
        candidate = np.zeros(n_bins)
        for level in range(N_LEVELS):
            of_level = [place for place in range(n_bins) if place * N_LEVELS // n_bins == level]
            filled = [place for place in of_level if reference[place]]
            for place in filled:
                candidate[place] = max(counts[of_level].sum() / len(filled), EMPTY)
        found = entropy(reference, candidate)
        if found <= best:
            best, threshold = found, edges[n_bins]
    return float(threshold)


def test_it_finds_the_threshold_of_the_paper(monkeypatch):
    monkeypatch.setattr("compression.observe.entropy_range.N_BINS", 160)
    monkeypatch.setattr("compression.observe.entropy_range.N_LEVELS", 16)
    monkeypatch.setitem(globals(), "N_BINS", 160)
    monkeypatch.setitem(globals(), "N_LEVELS", 16)
    for seed in range(5):
        values = np.random.default_rng(seed).exponential(size=3000).astype(np.float32)
        low, high = least_divergence(values, 0.0, float(values.max()))
        assert low == 0 and high == pytest.approx(plain_threshold(values, float(values.max())))
        assert high < values.max()


@pytest.mark.parametrize("draw", ["laplace", "normal", "standard_t"])
def test_it_cuts_about_where_the_calibrator_of_onnxruntime_cuts(draw, tmp_path):
    from onnxruntime.quantization.calibrate import HistogramCollector

    random = np.random.default_rng(0)
    values = (random.standard_t(4, 100_000) if draw == "standard_t" else getattr(random, draw)(size=100_000))
    top = float(np.abs(values).max())
    histogram = (*np.histogram(values, N_BINS + 1, (-top, top)), -top, top, top)
    collector = HistogramCollector(method="entropy", symmetric=True, num_bins=N_BINS + 1,
                                   num_quantized_bins=N_LEVELS, percentile=99.9, scenario="same")
    expected = float(collector.get_entropy_threshold(histogram, N_LEVELS)[1])
    low, high = least_divergence(values.astype(np.float32), -top, top)
    assert high == pytest.approx(-low, rel=0.01) and high == pytest.approx(expected, rel=0.25)


def test_a_long_tail_is_cut_and_an_even_spread_is_kept():
    random = np.random.default_rng(1)
    even = random.uniform(-1, 1, 100_000).astype(np.float32)
    assert least_divergence(even, -1, 1) == pytest.approx((-1, 1), abs=0.01)
    tailed = np.concatenate([np.abs(even), [4.0]]).astype(np.float32)
    low, high = least_divergence(tailed, 0, 4)
    assert low == 0 and 0.9 < high < 1.1


def test_exact_zeros_change_nothing():
    values = np.random.default_rng(2).exponential(size=20_000).astype(np.float32)
    with_zeros = np.concatenate([values, np.zeros(80_000, np.float32)])
    assert least_divergence(with_zeros, 0.0, 12.0) == least_divergence(values, 0.0, 12.0)
    assert least_divergence(np.zeros(10, np.float32), 0.0, 1.0) == (0.0, 1.0)
