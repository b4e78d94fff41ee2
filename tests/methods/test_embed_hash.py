"""Hashed rows: quotient and remainder tell every id apart, and the start errs least by how often rows are read."""

from __future__ import annotations

import pytest
import torch

from compression.layers.hashed_rows import KINDS, hash_table
from compression.methods.embed_hash import NAMES, HashParams, lengths_of
from compression.models.structure import table_inputs
from compression.recipe import check
from tests.methods.given import apply, ordered_dataset, recipe_of
from tests.tiny import tiny_model


def normal_rows(n_rows: int = 1000, dim: int = 4) -> torch.Tensor:
    return torch.randn(n_rows, dim, generator=torch.Generator().manual_seed(0))


def test_no_two_ids_read_the_same_pair_of_rows():
    """Shi et al. 2020, theorem 1: complementary partitions give every id a vector of its own."""
    for n_rows in (100, 101, 997):
        lengths = lengths_of(n_rows, HashParams(keep=0.001))
        pairs = torch.stack(KINDS["quotient-remainder"].rows(torch.arange(n_rows), lengths), 1)
        assert len(pairs.unique(dim=0)) == n_rows and sum(lengths) <= 2 * n_rows**0.5 + 2
        assert pairs.amax(0).tolist() < list(lengths)
    layer = hash_table(normal_rows(), torch.ones(1000), "quotient-remainder", lengths_of(1000, HashParams(keep=0.05)))
    assert len(layer(torch.arange(1000)).unique(dim=0)) == 1000
    layer = hash_table(normal_rows(), torch.ones(1000), "modulo", (50,))
    assert len(layer(torch.arange(1000)).unique(dim=0)) == 50


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("keep", [0.001, 0.05, 0.5, 1.0])
def test_every_id_reads_rows_that_exist(kind, keep):
    ids = torch.arange(3001)
    lengths = lengths_of(3001, HashParams(kind=kind, keep=keep))
    rows = KINDS[kind].rows(ids, lengths)
    assert len(rows) == len(lengths) == len(NAMES[kind]) and KINDS[kind].names() == NAMES[kind]
    assert all(int(row.min()) >= 0 and int(row.max()) < length for row, length in zip(rows, lengths, strict=True))


def test_the_largest_id_does_not_overflow_the_second_hash():
    first, second = KINDS["double-hash"].rows(torch.tensor([2**31 - 2]), (1000, 1000))
    exact = ((2**31 - 2) * 1_103_515_245 + 12_345) % (2**31 - 1)  # Python's integers have no end
    assert (int(first), int(second)) == ((2**31 - 2) % 1000, exact % 1000)


def test_a_table_that_is_a_product_or_a_sum_of_rows_comes_back_whole():
    left, right = normal_rows(20), normal_rows(50) + 3
    product = (left.unsqueeze(1) * right).reshape(1000, 4)
    layer = hash_table(product, torch.ones(1000), "quotient-remainder", (20, 50))
    assert torch.allclose(layer(torch.arange(1000)), product, atol=1e-4)
    first, second = KINDS["double-hash"].rows(torch.arange(1000), (60, 40))
    total = normal_rows(60)[first] + normal_rows(40)[second]
    layer = hash_table(total, torch.ones(1000), "double-hash", (60, 40))
    assert torch.allclose(layer(torch.arange(1000)), total, atol=1e-2)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_start_has_less_weighted_error_than_any_small_step_away_from_it(kind):
    weight, counts = normal_rows(200), 1000 / torch.arange(1, 201)
    layer = hash_table(weight, counts, kind, lengths_of(200, HashParams(kind=kind, keep=0.2)))

    def error() -> float:
        found = layer(torch.arange(200)).detach()
        return float((counts.double() * (found - weight).double().square().sum(1)).sum())

    best, generator = error(), torch.Generator().manual_seed(0)
    assert best < float((counts.double() * weight.double().square().sum(1)).sum())
    for table in layer.tables:
        step = 0.2 * torch.randn(table.weight.shape, generator=generator)
        table.weight.data += step
        assert error() > best
        table.weight.data -= step


def test_every_small_table_is_trained_and_is_read_by_no_input_of_its_own():
    dataset = ordered_dataset()
    model = tiny_model("deepfm", dataset, trained=True)
    given = apply("embed.hash", model, dataset, min_rows=2, keep=0.3)
    assert table_inputs(given.model) == {path: name for path, name in table_inputs(model).items()
                                         if path not in {item.module for item in given.changes}}
    layer = given.model.tables.item
    layer(torch.tensor([7])).sum().backward()
    assert all(int((table.weight.grad != 0).any(1).sum()) == 1 for table in layer.tables)


def test_training_afterwards_is_advised_and_quantised_tables_are_refused():
    assert [problem.severity for problem in check(recipe_of(("embed.hash", {})))] == ["warning"]
    assert not check(recipe_of(("embed.hash", {}), ("train.fine_tune", {}), ("embed.quantize_rows", {})))
    problems = check(recipe_of(("embed.hash", {}), ("train.fine_tune", {}), ("embed.mixed_precision", {})))
    assert [problem.severity for problem in problems] == ["warning"] and "how often" in problems[0].message
    problems = check(recipe_of(("embed.quantize_rows", {}), ("embed.hash", {}), ("train.fine_tune", {})))
    assert "error" in [problem.severity for problem in problems]
