"""Activation-aware low rank: nothing of the same rank answers the data more closely."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.methods.factorize.activation_svd import ActivationSvdParams, split_by_data
from compression.observe.input_moments import input_moments
from compression.spec.errors import RecipeError
from compression.spec.method import METHODS
from compression.testing.steps import apply, logits, ordered_dataset
from compression.testing.tiny import tiny_model


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


def skewed_rows(n_rows: int = 4000, n_inputs: int = 24) -> torch.Tensor:
    """Inputs of very different sizes that depend on one another and are not centred, as after a ReLU."""
    torch.manual_seed(0)
    mixed = torch.randn(n_rows, n_inputs) @ torch.randn(n_inputs, n_inputs) * torch.logspace(-1.5, 1, n_inputs)
    return mixed.relu() + 0.5


def moments_of(layer: nn.Linear, rows: torch.Tensor):
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, batch):
            return self.layer(batch["x"])

    return input_moments(Alone(), {"layer": layer}, [{"x": part} for part in rows.split(512)])["layer"]


def test_the_moments_are_those_of_all_rows():
    rows = skewed_rows()
    moments = moments_of(nn.Linear(24, 3), rows)
    assert moments.n_rows == len(rows)
    torch.testing.assert_close(moments.mean, rows.double().mean(0))
    torch.testing.assert_close(moments.covariance, torch.cov(rows.double().T, correction=0))


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_the_error_on_the_data_is_what_the_cut_singular_values_say(rank):
    """Wang et al. 2024: after whitening, the loss is the sum of the squares of the cut singular values."""
    torch.manual_seed(1)
    layer, rows = nn.Linear(24, 20), skewed_rows()
    moments = moments_of(layer, rows)
    left, right, bias, kept = split_by_data(layer, moments, ActivationSvdParams(), rank)
    error = (layer(rows) - nn.functional.linear(rows, left @ right, bias)).double().square().sum(1).mean()
    whitened = layer.weight.detach().double() @ torch.linalg.cholesky(moments.covariance)
    squares = torch.linalg.svdvals(whitened).square()
    assert error.item() == pytest.approx(squares[rank:].sum().item(), rel=1e-3)
    assert kept == pytest.approx((squares[:rank].sum() / squares.sum()).item(), rel=1e-6)


@pytest.mark.parametrize("weighting", ["covariance", "magnitude"])
def test_it_answers_the_data_more_closely_than_the_plain_decomposition(weighting):
    torch.manual_seed(1)
    layer, rows = nn.Linear(24, 20), skewed_rows()
    left, right, bias, _ = split_by_data(layer, moments_of(layer, rows), ActivationSvdParams(weighting=weighting), 6)
    u, values, v = torch.linalg.svd(layer.weight)
    plain = (u[:, :6] * values[:6]) @ v[:6]
    wanted = layer(rows)
    errors = [(nn.functional.linear(rows, weight, shift) - wanted).square().mean()
              for weight, shift in ((left @ right, bias), (plain, layer.bias))]
    assert errors[0] < 0.8 * errors[1]


def test_a_layer_without_a_bias_stays_without_one_and_still_keeps_the_mean_in_view():
    torch.manual_seed(1)
    layer, rows = nn.Linear(24, 20, bias=False), skewed_rows()
    left, right, bias, _ = split_by_data(layer, moments_of(layer, rows), ActivationSvdParams(), 6)
    assert bias is None
    u, values, v = torch.linalg.svd(layer.weight)
    plain = (u[:, :6] * values[:6]) @ v[:6]
    wanted = layer(rows)
    assert (rows @ (left @ right).T - wanted).norm() < 0.8 * (rows @ plain.T - wanted).norm()


def test_scores_move_less_than_by_the_plain_decomposition(dataset):
    model = tiny_model("dcnv2", dataset, trained=True, width=64)
    before = logits(model, dataset)
    moved = {key: (logits(apply(key, model, dataset, rank_ratio=0.1, **params).model, dataset) - before).abs().mean()
             for key, params in (("factorize.activation_svd", {}), ("factorize.svd", {"weights": "dense"}))}
    assert moved["factorize.activation_svd"] < moved["factorize.svd"]


def test_both_factors_weigh_what_factorize_svd_makes(dataset):
    model = tiny_model("dcnv2", dataset, width=64)
    ours = apply("factorize.activation_svd", model, dataset, rank_ratio=0.2)
    plain = apply("factorize.svd", model, dataset, rank_ratio=0.2, weights="dense")
    assert {item.module: item.bytes_after for item in ours.changes} == {
        item.module: item.bytes_after for item in plain.changes}


def test_without_rows_it_names_the_method_that_needs_none(dataset):
    method = METHODS["factorize.activation_svd"]
    with pytest.raises(RecipeError, match=r"or low rank \(SVD\), which needs no rows"):
        apply("factorize.activation_svd", tiny_model("deepfm", dataset), None, **method.tiny)
