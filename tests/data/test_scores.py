"""AUC and log loss against scikit-learn."""

import numpy as np
import pytest
import torch

from compression.data.scores import auc, log_loss, row_loss
from compression.train.losses import binary_cross_entropy

sklearn_metrics = pytest.importorskip("sklearn.metrics")


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_auc_and_log_loss_agree_with_scikit_learn_ties_included(decimals):
    random = np.random.default_rng(decimals)
    logits = np.round(random.normal(size=500), decimals).astype(np.float32)
    label = (random.random(500) < 0.4).astype(np.float32)
    assert auc(logits, label) == pytest.approx(sklearn_metrics.roc_auc_score(label, logits), abs=1e-12)
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert log_loss(logits, label) == pytest.approx(sklearn_metrics.log_loss(label, chance), abs=1e-9)
    assert row_loss(chance, label, margin=1e-9).mean() == pytest.approx(log_loss(logits, label), abs=1e-9)
    loss = binary_cross_entropy(torch.from_numpy(logits), torch.from_numpy(label))
    assert float(loss) == pytest.approx(log_loss(logits, label), abs=1e-5)


def test_auc_of_one_class_is_absent():
    assert auc(np.array([0.1, 0.2]), np.array([1.0, 1.0])) is None


def test_log_loss_of_a_confident_mistake_is_finite():
    assert log_loss(np.array([1000.0]), np.array([0.0])) == pytest.approx(1000.0)


def test_a_certain_mistake_costs_no_more_than_its_margin():
    assert row_loss(np.array([0.0, 1.0, 1.0]), np.array([1.0, 0.0, 1.0]), margin=1e-3) == pytest.approx(
        [-np.log(1e-3), -np.log(1e-3), -np.log(1 - 1e-3)])
