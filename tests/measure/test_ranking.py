"""HR@10 and NDCG@10 are held against scikit-learn and against all orders of equal scores."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from compression.data.dataset import Rows
from compression.measure.quality import measure_quality
from compression.measure.ranking import user_hits, user_ndcg
from compression.spec.records import Measurement


def candidates(seed: int, *, users: int = 60, each: int = 25, positives: int = 3, digits: int = 8):
    """Scores of a model and of a noisier one, and shuffled rows of users with `each` candidates."""
    random = np.random.default_rng(seed)
    user = np.repeat(np.arange(users) * 7, each)
    label = (np.tile(np.arange(each), users) < positives).astype(np.float32)
    scores = 1 / (1 + np.exp(-(label + random.normal(0, 1, len(user)))))
    other = 1 / (1 + np.exp(-(label + random.normal(0, 2, len(user)))))
    order = random.permutation(len(user))
    rows = Rows({"x": np.zeros(len(user), np.float32)}, label[order], user[order])
    return scores[order].round(digits), other[order].round(digits), rows


def measured(scores, baseline, rows) -> dict[str, Measurement]:
    return {item.metric: item for item in measure_quality(scores, baseline, rows, task="ctr", split="test")}


@pytest.mark.parametrize("digits", [8, 1])
def test_ndcg_is_the_mean_of_scikit_learn_over_users_also_with_ties(digits):
    scores, _, rows = candidates(0, digits=digits)
    expected = [ndcg_score([rows.label[rows.user == user]], [scores[rows.user == user]], k=10)
                for user in np.unique(rows.user)]
    found = measured(scores, None, rows)["ndcg_10"]
    assert found.value == pytest.approx(np.mean(expected), abs=1e-12) and found.n == 60


@pytest.mark.parametrize("digits", [8, 1])
def test_a_hit_is_a_positive_among_the_ten_best_and_ties_count_by_their_chance(digits):
    scores, _, rows = candidates(1, digits=digits, positives=2)
    random = np.random.default_rng(0)
    hits = []
    for user in np.unique(rows.user):
        mine = np.flatnonzero(rows.user == user)
        drawn = [rows.label[mine][np.lexsort((random.random(len(mine)), -scores[mine]))[:10]].any() for _ in range(400)]
        hits.append(np.mean(drawn))
    found = user_hits(scores, rows.label, rows.user)
    np.testing.assert_allclose(found, hits, atol=0 if digits == 8 else 0.12)
    assert measured(scores, None, rows)["hit_rate_10"].value == pytest.approx(np.mean(hits), abs=0.01)


def test_a_constant_score_hits_as_often_as_chance_whatever_the_order_of_the_rows():
    _, _, rows = candidates(2, each=100, positives=1)
    found = measured(np.full(len(rows), 0.5), None, rows)
    assert found["hit_rate_10"].value == pytest.approx(0.1, abs=1e-12)
    assert found["ndcg_10"].value == pytest.approx((1 / np.log2(np.arange(2, 12))).sum() / 100, abs=1e-12)


def test_users_of_one_class_are_left_out_and_the_others_counted():
    scores, _, rows = candidates(3)
    first, second = rows.user == 0, rows.user == 7
    label = np.where(first, 0, np.where(second, 1, rows.label)).astype(np.float32)
    found = measured(scores, None, Rows(rows.inputs, label, rows.user))
    assert found["ndcg_10"].n == found["hit_rate_10"].n == found["gauc"].n == 58
    rest = ~(first | second)
    assert found["ndcg_10"].value == measured(scores[rest], None, rows.take(rest))["ndcg_10"].value


def test_rows_without_users_have_no_ranking_rather_than_a_zero():
    scores, _, rows = candidates(4)
    found = measured(scores, None, Rows(rows.inputs, rows.label, None))
    assert "auc" in found and not {"hit_rate_10", "ndcg_10"} & set(found)


def test_a_hit_rate_that_any_order_would_reach_is_absent():
    scores, _, rows = candidates(5, each=10)
    assert "hit_rate_10" not in measured(scores, None, rows) and "ndcg_10" in measured(scores, None, rows)


@pytest.mark.slow
def test_the_paired_interval_holds_the_difference_of_many_users_about_95_times_in_100():
    def difference(seed, users):
        scores, other, rows = candidates(seed, users=users)
        return measured(scores, other, rows)

    truth = difference(999, 20_000)
    for key in ("hit_rate_10", "ndcg_10"):
        inside = sum(found[key].difference_low <= truth[key].difference <= found[key].difference_high
                     for found in (difference(seed, 60) for seed in range(100)))
        assert 88 <= inside <= 100, key
        assert truth[key].difference > 0


def test_when_every_user_is_hit_the_interval_is_wilson_s_and_not_a_point():
    _, _, rows = candidates(8, users=200)
    found = measured(0.1 + 0.8 * rows.label, None, rows)
    for key in ("hit_rate_10", "ndcg_10", "gauc"):
        assert found[key].value == found[key].ci_high == 1.0, key
        assert found[key].ci_low == pytest.approx(200 / (200 + 1.959964**2), abs=1e-9), key


def test_when_no_user_is_hit_the_interval_starts_at_0_and_ends_where_wilson_s_does():
    _, _, rows = candidates(9, users=200)
    found = measured(0.9 - 0.8 * rows.label, None, rows)["hit_rate_10"]
    assert found.value == found.ci_low == 0.0
    assert found.ci_high == pytest.approx(1.959964**2 / (200 + 1.959964**2), abs=1e-9)


def test_the_best_order_is_one_and_the_worst_is_zero():
    _, _, rows = candidates(6)
    assert user_ndcg(rows.label * 0.9, rows.label, rows.user).tolist() == [1.0] * 60
    assert user_ndcg(1 - rows.label, rows.label, rows.user).tolist() == [0.0] * 60
    assert user_hits(1 - rows.label, rows.label, rows.user).tolist() == [0.0] * 60


@pytest.mark.slow
def test_a_million_rows_take_seconds():
    scores, _, rows = candidates(7, users=10_000, each=100)
    started = time.process_time()
    user_hits(scores, rows.label, rows.user)
    user_ndcg(scores, rows.label, rows.user)
    assert time.process_time() - started < 5
