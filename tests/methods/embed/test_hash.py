"""Hashed rows: quotient and remainder tell every id apart, and the start errs least by how often rows are read."""

from __future__ import annotations

import pytest
import torch

from compression.export.onnx import export_onnx
from compression.layers.rows.hashed_blocks import block_places, hash_blocks
from compression.layers.rows.hashed_rows import KINDS, hash_table
from compression.methods.embed.hash import NAMES, HashParams, n_numbers, shapes_of
from compression.models.structure import describe, table_inputs
from compression.spec.recipe import check, estimate
from compression.testing.method import largest_difference
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model

ALL_KINDS = sorted(NAMES)


def lengths_of(n_rows: int, params: HashParams) -> tuple[int, ...]:
    return tuple(length for length, _ in shapes_of(n_rows, 4, params))


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


@pytest.mark.parametrize(("kind", "shift"), [("memcom", 0.0), ("memcom-bias", 2.5)])
def test_rows_that_are_multiples_of_a_shared_one_come_back_whole(kind, shift):
    """Pansare et al. 2022: ids that share a row differ by numbers of their own."""
    ids, shared = torch.arange(600), normal_rows(20)
    own = 1 + 0.5 * torch.randn(600, 2, generator=torch.Generator().manual_seed(1))
    table = shared[ids % 20] * own[:, :1] + shift * own[:, 1:]
    layer = hash_table(table, torch.ones(600), kind, (20, 600, 600)[:len(NAMES[kind])])
    assert torch.allclose(layer(ids), table, atol=1e-3)
    assert len(layer(ids).unique(dim=0)) == 600


def test_blocks_are_read_side_by_side_and_two_ids_rarely_share_more_than_one():
    layer = hash_blocks(normal_rows(1000, 6), torch.ones(1000), 300, 4)  # the second block of a row is cut to 2
    places = block_places(torch.arange(1000), 2, 300)
    expected = torch.cat([layer.table.weight[places[:, 0]], layer.table.weight[places[:, 1], :2]], 1)
    assert torch.equal(layer(torch.arange(1000)), expected)
    places = block_places(torch.arange(1000), 8, 500)
    assert len(places.unique(dim=0)) == 1000  # no two ids read the same row
    for piece in range(8):
        spread = torch.bincount(places[:, piece], minlength=500)
        assert int(spread.max()) < 12 and int((spread == 0).sum()) < 200
    shared = (places.unsqueeze(0) == places.unsqueeze(1)).sum(-1).fill_diagonal_(0)
    assert int(shared.max()) <= 2 and float((shared == 2).double().mean()) < 1e-3


def test_each_block_is_the_weighted_mean_of_what_shares_it():
    weight, counts = normal_rows(200), 1 + torch.arange(200.0)
    layer = hash_blocks(weight, counts, 40, 2)
    places = block_places(torch.arange(200), 2, 40)
    pieces = weight.view(200, 2, 2)
    for block in (0, 17, 39):
        rows, piece = (places == block).nonzero(as_tuple=True)
        mean = (counts[rows, None] * pieces[rows, piece]).sum(0) / counts[rows].sum()
        assert torch.allclose(layer.table.weight[block], mean, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 6, 16])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_share_of_one_changes_nothing_and_smaller_shares_weigh_less(kind, dim):
    whole = [n_numbers(shapes_of(997, dim, HashParams(kind=kind, keep=keep))) for keep in (1.0, 0.5, 0.05)]
    assert whole[0] >= 997 * dim and whole == sorted(whole, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_weighs_what_was_estimated_trains_and_answers_alike_in_onnx(kind, tmp_path):
    dataset = ordered_dataset()
    model = tiny_model("deepfm", dataset, trained=True)
    described = describe(model, dataset.signature, architecture="deepfm")
    steps = [("embed.hash", {"kind": kind, "keep": 0.3, "min_rows": 2, "block_size": 3}),
             ("train.fine_tune", {"epochs": 1, "batch_size": 256, "learning_rate": 0.01})]
    hashed = apply_all(model, dataset, *steps[:1])
    assert hashed.tables.item is not model.tables.item
    tuned = apply_all(model, dataset, *steps)
    for given, recipe in ((hashed, recipe_of(*steps[:1])), (tuned, recipe_of(*steps))):
        real = describe(given, dataset.signature, architecture="deepfm")
        assert {layer.name: layer.size_bytes for layer in real.layers} == {
            layer.name: layer.size_bytes for layer in estimate(described, recipe).layers}
    tuned.tables.item(torch.tensor([7, 30])).square().sum().backward()
    assert all((table.weight.grad != 0).any() for table in tuned.tables.item.tables)
    exported = export_onnx(tuned, dataset.signature, tmp_path / "model.onnx")
    assert largest_difference(tuned, exported.path, dataset) < 2e-6
    assert torch.isfinite(logits(tuned, dataset)).all()


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
