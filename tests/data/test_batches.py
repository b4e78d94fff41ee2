"""Scores of a split and the numbers early stopping reads, against scikit-learn."""

import numpy as np
import pytest
import torch

from compression.data.batches import auc, log_loss, score_rows, to_device
from compression.train.losses import binary_cross_entropy
from tests.tiny import tiny_dataset, tiny_model

sklearn_metrics = pytest.importorskip("sklearn.metrics")


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_auc_and_log_loss_agree_with_scikit_learn_ties_included(decimals):
    random = np.random.default_rng(decimals)
    logits = np.round(random.normal(size=500), decimals).astype(np.float32)
    label = (random.random(500) < 0.4).astype(np.float32)
    assert auc(logits, label) == pytest.approx(sklearn_metrics.roc_auc_score(label, logits), abs=1e-12)
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert log_loss(logits, label) == pytest.approx(sklearn_metrics.log_loss(label, chance), abs=1e-9)
    loss = binary_cross_entropy(torch.from_numpy(logits), torch.from_numpy(label))
    assert float(loss) == pytest.approx(log_loss(logits, label), abs=1e-5)


def test_auc_of_one_class_is_absent():
    assert auc(np.array([0.1, 0.2]), np.array([1.0, 1.0])) is None


def test_log_loss_of_a_confident_mistake_is_finite():
    assert log_loss(np.array([1000.0]), np.array([0.0])) == pytest.approx(1000.0)


def test_scores_do_not_depend_on_the_batch_size_and_leave_the_mode_alone():
    dataset = tiny_dataset(rows=400)
    model = tiny_model("deepfm", dataset).train()
    rows = to_device(dataset.splits["train"])
    whole = score_rows(model, rows)
    assert np.allclose(whole, score_rows(model, rows, batch_size=7), atol=1e-6)
    assert model.training


def test_rows_are_sliced_in_the_order_asked_for():
    rows = to_device(tiny_dataset(rows=100).splits["train"])
    batch, label = rows.take(torch.tensor([5, 2]))
    assert batch["genres"].shape == (2, 3)
    assert torch.equal(batch["user"], rows.inputs["user"][[5, 2]])
    assert torch.equal(label, rows.label[[5, 2]])
