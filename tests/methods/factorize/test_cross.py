"""Low-rank cross layers: DCN-Mix's mixture, started where plain low rank ends."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.layers.dense.low_rank import LowRankLinear, MixtureLinear
from compression.methods.factorize.cross import CrossParams, shared_rank, split_cross
from compression.models.structure import describe
from compression.spec.recipe import check, estimate
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def model(dataset):
    return tiny_model("dcnv2", dataset, trained=True, embedding_dim=8)


def test_the_layer_is_the_papers_mixture_of_experts():
    """Wang et al. 2021, DCN-Mix: Σ_k G_k(x) U_k V_kᵀ x + b, here with the gates summing to the number of experts."""
    torch.manual_seed(0)
    layer = MixtureLinear(nn.Linear(12, 6, bias=False), nn.Linear(6, 12), nn.Linear(12, 3, bias=False))
    x = torch.randn(5, 12)
    gates = 3 * (x @ layer.gate.weight.T).softmax(1)
    wanted = layer.expand.bias + sum(
        gates[:, k:k + 1] * (x @ layer.reduce.weight[2 * k:2 * k + 2].T @ layer.expand.weight[:, 2 * k:2 * k + 2].T)
        for k in range(3))
    torch.testing.assert_close(layer(x), wanted)


@pytest.mark.parametrize("n_experts", [1, 2, 4])
def test_it_starts_as_the_best_matrix_of_its_rank(n_experts):
    torch.manual_seed(0)
    layer, x = nn.Linear(24, 24), torch.randn(50, 24)
    new, kept = split_cross(layer, 8, n_experts)
    u, values, v = torch.linalg.svd(layer.weight)
    torch.testing.assert_close(new(x), nn.functional.linear(x, (u[:, :8] * values[:8]) @ v[:8], layer.bias),
                               rtol=1e-4, atol=1e-5)
    assert kept == pytest.approx((values[:8].square().sum() / values.square().sum()).item(), rel=1e-5)
    assert type(new) is (LowRankLinear if n_experts == 1 else MixtureLinear)


def test_the_rank_is_shared_out_evenly():
    assert shared_rank(32, CrossParams(rank_ratio=0.25, n_experts=4)) == 8
    assert shared_rank(30, CrossParams(rank_ratio=0.25, n_experts=3)) == 9 - 9 % 3
    assert shared_rank(8, CrossParams(rank_ratio=0.02, n_experts=4)) == 4


def test_fine_tuning_teaches_the_gates_to_differ(dataset):
    tuned = apply_all(tiny_model("dcnv2", dataset, embedding_dim=8), dataset, ("factorize.cross", {"n_experts": 2}),
                      ("train.fine_tune", {"epochs": 3, "batch_size": 128}))
    gate = tuned.cross[0].gate.weight
    assert gate.abs().max() > 0 and not torch.equal(gate[0], gate[1])


def test_only_cross_layers_are_split(model, dataset):
    given = apply("factorize.cross", model, dataset)
    assert {item.module for item in given.changes} == {"cross.0", "cross.1"}
    assert apply("factorize.cross", tiny_model("deepfm", dataset), dataset).changes == []


@pytest.mark.parametrize("params", [{"n_experts": 1}, {"n_experts": 3, "rank_ratio": 0.3}, {"n_experts": 8}], ids=str)
def test_the_size_is_known_before(params, model, dataset):
    described = describe(model, dataset.signature, architecture="dcnv2")
    expected = estimate(described, recipe_of(("factorize.cross", params)))
    given = apply("factorize.cross", model, dataset, **params).model
    assert expected.layers == describe(given, dataset.signature, architecture="dcnv2").layers


def test_factors_can_be_quantised_after(model, dataset):
    both = apply_all(model, dataset, ("factorize.cross", {"n_experts": 2}), ("quantize.dynamic", {"min_features": 2}))
    assert (logits(both, dataset) - logits(model, dataset)).abs().mean() < 0.5


def test_experts_without_a_training_after_are_warned_of():
    messages = [problem.message for problem in check(recipe_of(("factorize.cross", {})))]
    assert len(messages) == 1 and "a single expert is then the same function" in messages[0]
    assert check(recipe_of(("factorize.cross", {"n_experts": 1}))) == []
