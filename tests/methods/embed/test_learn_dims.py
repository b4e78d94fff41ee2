"""Learned dimensions: gates begin open, close where a column is worth less than its price, and then weigh nothing."""

from __future__ import annotations

import pytest
import torch

from compression.layers.dense.low_rank import LowRankEmbedding
from compression.layers.rows.gated_columns import GAIN, GatedColumns
from compression.models.structure import describe
from compression.spec.recipe import check
from compression.testing.steps import apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model

TRAINED = ("train.fine_tune", {"epochs": 12, "batch_size": 64, "learning_rate": 0.002})


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


def gated() -> tuple[torch.Tensor, GatedColumns]:
    weight = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    return weight, GatedColumns(weight, torch.linalg.qr(weight.T @ weight)[0])


def test_open_gates_change_nothing():
    weight, layer = gated()
    torch.testing.assert_close(layer(torch.arange(60)), weight, atol=1e-5, rtol=0)
    torch.testing.assert_close(layer.narrowed().weight, weight, atol=1e-5, rtol=0)


def test_a_closed_column_is_gone_from_what_is_stored_and_gets_no_gradient():
    """Liu et al. 2021, equation 5: a threshold beyond a value leaves it at 0, and its gradient with it."""
    _, layer = gated()
    layer.threshold.data[[1, 4, 5]] = 1.5 / GAIN
    wanted = layer(torch.arange(60))
    wanted.sum().backward()
    assert layer.threshold.grad[[1, 4, 5]].tolist() == [0, 0, 0] and layer.threshold.grad[0] != 0
    left = layer.narrowed()
    assert isinstance(left, LowRankEmbedding) and left.factor.weight.shape == (60, 3)
    torch.testing.assert_close(left(torch.arange(60)), wanted, atol=1e-5, rtol=1e-5)


def test_a_higher_price_leaves_fewer_bytes(dataset):
    model = tiny_model("deepfm", dataset, trained=True)
    sizes = []
    for price in (0.001, 1.0):
        tuned = apply_all(model, dataset, ("embed.learn_dims", {"price": price, "min_rows": 10}), TRAINED)
        assert torch.isfinite(logits(tuned, dataset)).all()
        sizes.append(describe(tuned, dataset.signature, architecture="deepfm").size_bytes)
    assert sizes[1] < sizes[0] <= describe(model, dataset.signature, architecture="deepfm").size_bytes


def test_it_asks_for_a_fine_tune_step():
    assert any("fine-tune" in item.message for item in check(recipe_of(("embed.learn_dims", {}))))
