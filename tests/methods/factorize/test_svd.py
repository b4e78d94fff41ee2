"""Low rank: the error is what Eckart and Young say it is, and only what saves is split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compression.layers.dense.low_rank import LowRankEmbedding, LowRankLinear
from compression.methods.factorize.svd import SvdParams, basis_of, gram_matrix, rank_for_energy
from compression.models.structure import table_inputs
from compression.spec.method import METHODS, Context
from compression.spec.recipe import check
from compression.testing.steps import apply, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


def split_alone(layer: nn.Module, **params) -> nn.Module:
    return METHODS["factorize.svd"](nn.Sequential(layer), SvdParams(**params), Context()).model[0]


@pytest.mark.parametrize(("n_out", "n_in"), [(40, 24), (24, 40), (32, 32)])
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5])
def test_the_error_of_a_dense_layer_is_the_tail_of_its_singular_values(n_out, n_in, ratio):
    torch.manual_seed(0)
    layer = nn.Linear(n_in, n_out)
    given = split_alone(layer, rank_ratio=ratio)
    if not isinstance(given, LowRankLinear):
        assert given is not None and round(ratio * min(n_out, n_in)) * (n_out + n_in) >= n_out * n_in
        return
    rank = given[0].out_features
    error = (layer.weight - given[1].weight @ given[0].weight).norm()
    tail = torch.linalg.svdvals(layer.weight.double())[rank:].norm()
    assert error.item() == pytest.approx(tail.item(), rel=1e-4)  # Eckart & Young 1936
    x = torch.randn(5, n_in)
    torch.testing.assert_close(given(x), x @ (given[1].weight @ given[0].weight).T + layer.bias, rtol=1e-4, atol=1e-5)


def test_the_error_of_a_table_is_the_tail_of_its_singular_values():
    torch.manual_seed(0)
    table = nn.Embedding(500, 16)
    given = split_alone(table, rank_ratio=0.25)
    assert isinstance(given, LowRankEmbedding) and given.factor.weight.shape == (500, 4)
    error = (table.weight - given(torch.arange(500))).norm()
    tail = torch.linalg.svdvals(table.weight.double())[4:].norm()
    assert error.item() == pytest.approx(tail.item(), rel=1e-5)


def test_a_table_of_low_rank_is_met_exactly():
    torch.manual_seed(0)
    table = nn.Embedding.from_pretrained(torch.randn(200, 3) @ torch.randn(3, 16))
    given = split_alone(table, rank_by="energy", energy=1.0)
    assert given.factor.embedding_dim == 3
    torch.testing.assert_close(given(torch.arange(200)), table.weight, rtol=1e-4, atol=1e-5)


def test_frequent_rows_are_met_more_closely_when_they_count_more():
    torch.manual_seed(0)
    matrix = torch.randn(300, 8)
    counts = torch.ones(300)
    counts[:20] = 1000

    def weighted_error(basis: torch.Tensor) -> float:
        rest = matrix.double() - matrix.double() @ basis[:, :2] @ basis[:, :2].T
        return float((counts * rest.square().sum(1)).sum())

    plain, weighted = basis_of(gram_matrix(matrix))[1], basis_of(gram_matrix(matrix, counts))[1]
    assert weighted_error(weighted) < weighted_error(plain)


def test_the_step_takes_the_frequencies_of_a_table_where_it_is_told_to():
    torch.manual_seed(0)
    table, counts = nn.Embedding(300, 8), np.ones(300, np.int64)
    counts[:20] = 1000
    errors = []
    for by_frequency in (False, True):
        params = SvdParams(rank_ratio=0.25, by_frequency=by_frequency)
        given = METHODS["factorize.svd"](nn.Sequential(table), params, Context(frequencies={"0": counts})).model[0]
        errors.append((given(torch.arange(20)) - table.weight[:20]).detach().norm().item())
    assert errors[1] < 0.9 * errors[0]


def test_the_rank_for_an_energy_is_the_smallest_that_reaches_it():
    values = torch.tensor([3.0, 2.0, 1.0, 0.0])  # squares 9, 4, 1: shares 9/14, 13/14, 1
    assert [rank_for_energy(values, energy) for energy in (0.5, 9 / 14 + 0.01, 0.93, 1.0)] == [1, 2, 3, 3]
    assert rank_for_energy(torch.zeros(3), 0.9) == 1


def test_what_would_not_get_smaller_is_skipped_with_its_numbers(dataset):
    given = apply("factorize.svd", tiny_model("deepfm", dataset), dataset, rank_ratio=0.75)
    reasons = {item.module: item.reason for item in given.skipped}
    assert reasons["first_order.user"] == "would not save bytes: rank 1 needs 32 numbers, the matrix has 31"
    assert "would not save bytes" in reasons["mlp.8"]


def test_the_factor_of_a_table_is_a_table_for_the_steps_after(dataset):
    model = apply("factorize.svd", tiny_model("deepfm", dataset), dataset, rank_ratio=0.25).model
    assert table_inputs(model)["tables.item.factor"] == "item"
    assert type(model.tables.item.factor) is nn.Embedding
    tuned = apply("train.fine_tune", model, dataset, epochs=1).model
    assert not torch.equal(tuned.tables.item.factor.weight, model.tables.item.factor.weight)
    assert not torch.equal(tuned.tables.item.expand.weight, model.tables.item.expand.weight)


def test_a_high_rank_hardly_moves_the_scores(dataset):
    model = tiny_model("dcnv2", dataset, trained=True, width=64)
    near = apply("factorize.svd", model, dataset, rank_by="energy", energy=0.99).model
    far = apply("factorize.svd", model, dataset, rank_ratio=0.05).model
    before = logits(model, dataset)
    assert (logits(near, dataset) - before).abs().mean() < (logits(far, dataset) - before).abs().mean()


def test_an_energy_warns_that_the_size_is_not_known_before():
    problems = check(recipe_of(("factorize.svd", {"rank_by": "energy"})))
    assert [problem.severity for problem in problems] == ["warning"] and "known only once" in problems[0].message
