"""Student's t, Wilson's interval and that of paired differences, against tables and published examples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from compression.measure.estimates import (
    MIN_UNITS,
    mean_interval,
    paired_interval,
    share_interval,
    student_t,
    wilson,
)


@pytest.mark.parametrize(("degrees", "expected"), [(4, 2.7764), (5, 2.5706), (9, 2.2622), (29, 2.0452), (1e9, 1.95996)])
def test_student_s_t_is_that_of_the_tables(degrees, expected):
    assert student_t(degrees) == pytest.approx(expected, abs=2e-3)


def test_hits_and_misses_give_wilson_s_interval_over_their_number():
    # Newcombe 1998, table I: 81 of 263 and 15 of 148
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
        found = share_interval(np.repeat([1.0, 0.0], [hits, n - hits]))
        assert found == pytest.approx((low, high), abs=1e-4)
        assert found == pytest.approx(wilson(hits / n, n), abs=1e-9)


def test_a_single_miss_leaves_room_for_a_rate_of_misses_near_nothing():
    assert wilson(199 / 200, 200)[1] == pytest.approx(1 - 0.0513 / 200, abs=1e-6)
    assert wilson(1 / 200, 200)[0] == pytest.approx(0.0513 / 200, abs=1e-6)


def test_any_rate_is_held_at_least_93_times_in_100():
    n = 200
    log_of_choose = np.concatenate([[0.0], np.cumsum(np.log(np.arange(n, 0, -1) / np.arange(1, n + 1)))])
    ends = np.array([wilson(hits / n, n) for hits in range(n + 1)])
    for rate in np.linspace(0.0005, 0.5, 1000):
        chance = np.exp(log_of_choose + np.arange(n + 1) * np.log(rate) + np.arange(n, -1, -1) * np.log1p(-rate))
        assert chance[(ends[:, 0] <= rate) & (rate <= ends[:, 1])].sum() > 0.93, rate


def test_values_that_spread_less_than_hits_give_a_narrower_interval():
    values = np.random.default_rng(0).uniform(0.4, 0.6, 400)
    low, high = share_interval(values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.02)


def test_one_heavy_user_among_many_light_ones_gives_no_interval():
    values, weight = np.linspace(0, 1, 200), np.ones(200)
    assert share_interval(values, weight) is not None and paired_interval(values, weight) is not None
    weight[0] = 100.0  # as good as 9 users
    assert share_interval(values, weight) is None and paired_interval(values, weight) is None


def test_few_units_or_no_spread_give_no_interval():
    assert mean_interval(np.arange(MIN_UNITS - 1.0)) is None and mean_interval(np.arange(float(MIN_UNITS))) is not None
    assert mean_interval(np.full(100, 0.3)) is None
    assert share_interval(np.full(100, 0.3)) is None


def test_pairs_of_which_none_differs_leave_room_for_some_that_do():
    low, high = paired_interval(np.zeros(200))
    assert low == -high and 0.01 < high < 0.02
    # Bonett & Price 2012, formula 6 at 10 gained and 4 lost of 100
    p, q = 11 / 102, 5 / 102
    half = np.sqrt((p + q - (p - q) ** 2) / 102)
    found = paired_interval(np.repeat([1.0, -1.0, 0.0], [10, 4, 86]))
    assert found == pytest.approx((p - q - student_t(101) * half, p - q + student_t(101) * half), abs=1e-9)


def test_pairs_that_all_differ_a_little_give_nearly_student_s_interval():
    differences = np.random.default_rng(1).normal(1e-4, 1e-3, 1000)
    assert paired_interval(differences) == pytest.approx(mean_interval(differences), abs=1e-6)


@pytest.mark.parametrize("n", [30, 60, 1000])
def test_the_interval_of_a_mean_is_student_s_as_scipy_has_it(n):
    values = np.random.default_rng(n).gamma(2.0, size=n)
    expected = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected, rel=1e-5)
