"""Quality metrics are held against scikit-learn, their intervals against brute force and against simulated truth."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, roc_auc_score

from compression.data.dataset import Rows
from compression.data.scores import midranks
from compression.measure.delong import auc_components
from compression.measure.estimates import paired_interval
from compression.measure.quality import measure_quality, user_auc
from compression.spec.errors import MeasureError
from compression.spec.metrics import METRICS
from compression.spec.records import Measurement


def clicks(seed: int, n: int, *, n_users: int = 0, noise: float = 1.0, rounded: bool = False):
    """Calibrated scores, a noisier second file's scores, and rows whose labels follow the first."""
    random = np.random.default_rng(seed)
    logit = random.normal(-1, 1.2, n)
    label = (random.random(n) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    scores = 1 / (1 + np.exp(-logit))
    other = 1 / (1 + np.exp(-(logit + random.normal(0, noise, n))))
    if rounded:
        scores, other = scores.round(1), other.round(1)
    user = random.integers(0, n_users, n) if n_users else None
    return scores, other, Rows({"x": np.zeros(n, np.float32)}, label, user)


def measured(scores, baseline, rows) -> dict[str, Measurement]:
    found = measure_quality(scores, baseline, rows, task="ctr", split="test")
    return {item.metric: item for item in found}


@pytest.mark.parametrize("rounded", [False, True])
def test_auc_and_logloss_agree_with_scikit_learn_also_with_ties(rounded):
    scores, _, rows = clicks(0, 3000, rounded=rounded)
    found = measured(scores, None, rows)
    assert found["auc"].value == pytest.approx(roc_auc_score(rows.label, scores), abs=1e-12)
    expected = log_loss(rows.label, np.clip(scores, 2.0**-23, 1 - 2.0**-23))
    assert found["logloss"].value == pytest.approx(expected, rel=1e-9)


def test_gauc_is_the_row_weighted_mean_of_scikit_learn_over_users_with_both_classes():
    scores, _, rows = clicks(1, 2000, n_users=300, rounded=True)
    weights, values = [], []
    for user in np.unique(rows.user):
        mine = rows.user == user
        if 0 < rows.label[mine].sum() < mine.sum():
            weights.append(mine.sum())
            values.append(roc_auc_score(rows.label[mine], scores[mine]))
    found = measured(scores, None, rows)["gauc"]
    assert found.value == pytest.approx(np.average(values, weights=weights), abs=1e-12)
    assert found.n == len(values) < 300


def test_calibration_error_agrees_with_scikit_learn_where_no_scores_tie():
    _, other, rows = clicks(2, 4000)
    observed, predicted = calibration_curve(rows.label, other, n_bins=20, strategy="quantile")
    assert measured(other, None, rows)["calibration_error"].value == pytest.approx(
        np.abs(observed - predicted).mean(), abs=1e-6)


def test_a_constant_score_is_off_by_its_distance_to_the_rate_whatever_the_order_of_rows():
    _, _, rows = clicks(3, 1000)
    found = measured(np.full(1000, 0.9), None, rows)["calibration_error"]
    assert found.value == pytest.approx(0.9 - rows.label.mean(), abs=1e-6)


def test_delong_agrees_with_the_double_sum_of_its_definition():
    scores, other, rows = clicks(4, 120, rounded=True)
    positive = rows.label > 0.5
    for values in (scores, other):
        wins = (values[positive][:, None] > values[~positive]) + 0.5 * (values[positive][:, None] == values[~positive])
        components = auc_components(values, positive)
        np.testing.assert_allclose(components.positive, wins.mean(1), atol=1e-12)
        np.testing.assert_allclose(components.negative, wins.mean(0), atol=1e-12)


@pytest.mark.slow
def test_delong_intervals_agree_with_a_brute_force_bootstrap():
    scores, other, rows = clicks(5, 1500)
    found = measured(other, scores, rows)["auc"]
    random = np.random.default_rng(0)
    values, differences = [], []
    for _ in range(600):
        drawn = random.integers(0, 1500, 1500)
        first = roc_auc_score(rows.label[drawn], other[drawn])
        values.append(first)
        differences.append(first - roc_auc_score(rows.label[drawn], scores[drawn]))
    width = np.quantile(values, 0.975) - np.quantile(values, 0.025)
    assert found.ci_high - found.ci_low == pytest.approx(width, rel=0.15)
    width = np.quantile(differences, 0.975) - np.quantile(differences, 0.025)
    assert found.difference_high - found.difference_low == pytest.approx(width, rel=0.15)
    assert found.difference == pytest.approx(np.mean(differences), abs=0.003)


def test_calibration_error_has_no_interval_because_noise_moves_its_value():
    scores, other, rows = clicks(6, 3000, noise=2.0)
    found = measured(other, scores, rows)["calibration_error"]
    assert found.difference == pytest.approx(found.value - measured(scores, None, rows)["calibration_error"].value)
    assert (found.ci_low, found.ci_high, found.difference_low, found.difference_high) == (None,) * 4


def test_equal_scores_differ_by_exactly_nothing():
    scores, _, rows = clicks(7, 800, n_users=60)
    for item in measured(scores, scores.copy(), rows).values():
        assert (item.difference, item.difference_low, item.difference_high) == (0.0, 0.0, 0.0), item.metric


def test_another_order_that_changes_no_hit_leaves_an_interval_of_the_difference():
    scores, _, rows = clicks(7, 4000, n_users=200)
    nudged = scores * (1 + 1e-3 * np.sin(np.arange(4000)))
    found = measured(nudged.clip(0, 1), scores, rows)["hit_rate_10"]
    assert found.difference == 0 and found.difference_low < 0 < found.difference_high


def test_an_equal_order_differs_by_exactly_nothing_in_metrics_of_the_order():
    scores, _, rows = clicks(7, 4000, n_users=200)
    found = measured(scores**2, scores, rows)
    for key in ("auc", "gauc", "hit_rate_10", "ndcg_10"):
        assert (found[key].difference, found[key].difference_low, found[key].difference_high) == (0, 0, 0), key
    assert found["logloss"].difference_low > 0


def test_the_paired_difference_is_tighter_than_two_intervals():
    scores, other, rows = clicks(8, 2000, noise=0.1)
    found = measured(other, scores, rows)["auc"]
    assert found.difference_high - found.difference_low < 0.3 * (found.ci_high - found.ci_low)


def test_100_000_rows_take_seconds():
    scores, other, rows = clicks(9, 100_000, n_users=15_000)
    started = time.process_time()
    measured(other, scores, rows)
    assert time.process_time() - started < 8


def test_rows_without_users_have_no_gauc_rather_than_a_made_up_one():
    scores, _, rows = clicks(11, 300)
    assert "gauc" not in measured(scores, None, rows)


def test_a_user_with_one_class_is_left_out():
    weight, values = user_auc(np.array([.1, .9, .3, .4]), np.array([0, 1, 1, 1]), np.array([5, 5, 8, 8]))
    assert weight.tolist() == [2.0] and values.tolist() == [1.0]


def test_fewer_than_ten_rows_of_a_class_give_an_auc_without_interval():
    scores, other, rows = clicks(11, 400)
    for positives in (1, 9):
        label = (np.cumsum(rows.label) <= positives) * rows.label
        found = measured(scores, other, Rows(rows.inputs, label.astype(np.float32), None))["auc"]
        assert (found.ci_low, found.ci_high, found.difference_low, found.difference_high) == (None,) * 4
    found = measured(scores, other, rows)["auc"]
    assert found.ci_low < found.value < found.ci_high


def test_a_perfect_order_on_few_rows_is_not_called_perfect_for_all_others():
    label = (np.arange(100) < 25).astype(np.float32)
    found = measured(0.1 + 0.8 * label + 1e-4 * np.arange(100), None, Rows({}, label, None))["auc"]
    assert found.value == 1.0 and 0.8 < found.ci_low < 0.9 and found.ci_high == 1.0


def test_equal_scores_for_all_rows_have_no_interval_rather_than_one_of_no_width():
    label = (np.arange(400) % 4 == 0).astype(np.float32)
    found = measured(np.full(400, 0.5), None, Rows({}, label, np.arange(400) // 20))
    for key in ("auc", "logloss", "gauc", "ndcg_10"):
        assert found[key].ci_low is None, key


def test_fewer_than_thirty_users_give_no_interval():
    scores, other, rows = clicks(13, 1160, n_users=29)
    few = measured(scores, other, rows)
    many = measured(*clicks(13, 1600, n_users=40))
    for key in ("gauc", "hit_rate_10", "ndcg_10"):
        assert few[key].n == 29 and few[key].ci_low is None and few[key].difference_low is None, key
        assert many[key].n == 40 and many[key].ci_low < many[key].ci_high, key


def test_one_class_only_is_refused_with_a_sentence():
    rows = Rows({"x": np.zeros(3)}, np.zeros(3, np.float32), None)
    with pytest.raises(MeasureError, match="All 3 rows of the test split have the label 0; AUC needs both classes"):
        measured(np.full(3, 0.5), None, rows)


def test_logits_are_refused_with_a_sentence():
    scores, _, rows = clicks(12, 50)
    with pytest.raises(MeasureError, match="are not probabilities"):
        measured(scores * 40 - 20, None, rows)
    with pytest.raises(MeasureError, match="1 of 50 scores of the baseline are not probabilities"):
        measured(scores, np.where(np.arange(50) == 7, np.nan, scores), rows)


def test_midranks_share_the_middle_of_ties():
    assert midranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_users_count_by_their_rows_in_the_difference_of_gauc_and_in_its_interval():
    scores, other, rows = clicks(14, 4000, n_users=80)
    rows = Rows(rows.inputs, rows.label, np.minimum(rows.user, 75))  # the last has five times the rows of others
    found = measured(other, scores, rows)["gauc"]
    weight, own = user_auc(other, rows.label, rows.user)
    paired = own - user_auc(scores, rows.label, rows.user)[1]
    assert weight.max() > 3 * np.median(weight)
    assert found.difference == pytest.approx(np.average(paired, weights=weight)) != pytest.approx(paired.mean())
    assert (found.difference_low, found.difference_high) == pytest.approx(paired_interval(paired, weight))
    assert found.difference < 0  # the noisier file is worse


def test_a_worse_file_has_a_worse_difference_in_every_metric():
    scores, other, rows = clicks(15, 4000, n_users=200, noise=2.0)
    few = rows.label * (np.arange(4000) % 6 == 0)  # a positive or none a user: not every order hits
    found = measured(other, scores, Rows(rows.inputs, few.astype(np.float32), rows.user))
    found["calibration_error"] = measured(other, scores, rows)["calibration_error"]
    found["logloss"] = measured(other, scores, rows)["logloss"]
    better = {key for key, item in found.items() if (item.difference > 0) is METRICS[key].higher_is_better}
    assert len(found) == 6 and better == set()
