"""Row pruning: frequent ids keep their rows, rare ones read the mean that errs least, and every byte is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compression.layers.rows.remapped_rows import FirstRows, RemappedRows, RowMap, rows_occurring
from compression.methods.embed.prune_rows import kept_rows, shared_row
from compression.models.structure import describe, leaves, table_inputs
from compression.spec.recipe import check, estimate
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_dataset, tiny_model

SMALL = {"min_rows": 2, "keep": 0.3}


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


def test_the_most_frequent_rows_and_row_zero_are_kept_and_ties_go_to_the_smaller_id():
    counts = np.array([0, 5, 9, 1, 5, 5])
    assert kept_rows(counts, 3).tolist() == [0, 1, 2]
    assert kept_rows(counts, 1).tolist() == [0]


def test_the_shared_row_has_the_least_frequency_weighted_error():
    generator = torch.Generator().manual_seed(0)
    rows, counts = torch.randn(20, 3, generator=generator), torch.arange(20)

    def error(shared: torch.Tensor) -> float:
        return float((counts.unsqueeze(1) * (rows - shared).square()).sum())

    best = shared_row(rows, counts)
    expected = np.average(rows.numpy(), axis=0, weights=counts.numpy())
    np.testing.assert_allclose(best.numpy(), expected, rtol=1e-5)
    for _ in range(20):
        assert error(best) < error(best + 0.01 * torch.randn(3, generator=generator))


def test_rows_that_never_occur_share_their_plain_mean():
    rows = torch.tensor([[1.0], [3.0]])
    assert shared_row(rows, torch.zeros(2, dtype=torch.int64)).item() == 2


def test_first_rows_need_no_map(dataset):
    model = tiny_model("deepfm", dataset)
    table = apply("embed.prune_rows", model, dataset, **SMALL).model.tables.item
    assert isinstance(table, RemappedRows) and isinstance(table.ids, FirstRows)
    assert table.table.weight.shape == (13, 4)  # 12 of 41 and the shared one
    assert torch.equal(table(torch.arange(12)), model.tables.item.weight[:12])
    assert torch.equal(table(torch.tensor([12, 40])), table.table.weight[[12, 12]])


def test_rows_in_another_order_need_a_map_which_is_counted():
    dataset = tiny_dataset()  # users stand in no order
    model = tiny_model("deepfm", dataset)
    given = apply("embed.prune_rows", model, dataset, **SMALL)
    table = given.model.tables.user
    assert isinstance(table.ids, RowMap) and table.ids.rows.dtype == torch.int32
    kept = kept_rows(dataset.frequencies("user"), 9)
    assert torch.equal(table(torch.from_numpy(kept)), model.tables.user.weight[kept])
    change = next(item for item in given.changes if item.module == "tables.user")
    assert change.bytes_after == 4 * 10 * 4 + 4 * 31
    described = {layer.name: layer.size_bytes
                 for layer in describe(given.model, dataset.signature, architecture="deepfm").layers}
    assert described["tables.user.ids"] + described["tables.user.table"] == change.bytes_after


def test_a_map_that_would_weigh_more_than_it_saves_leaves_the_table_whole():
    dataset = tiny_dataset()
    given = apply("embed.prune_rows", tiny_model("lr", dataset), dataset, **SMALL)
    reason = next(item.reason for item in given.skipped if item.module == "first_order.user")
    assert reason == "would not save bytes: 164 with the map of ids instead of 124"


def test_the_estimate_counts_a_map_where_ids_are_taken_as_they_are():
    dataset = tiny_dataset()
    inputs = tuple(item.model_copy(update={"ids": "as-is"}) if item.name == "user" else item
                   for item in dataset.signature.inputs)
    signature = dataset.signature.model_copy(update={"inputs": inputs})
    model = tiny_model("fm", dataset)
    expected = estimate(describe(model, signature, architecture="fm"), recipe_of(("embed.prune_rows", SMALL)))
    real = describe(apply("embed.prune_rows", model, dataset, **SMALL).model, signature, architecture="fm")

    def user_layers(description):
        return {layer.name: layer.size_bytes for layer in description.layers if ".user" in layer.name}

    assert user_layers(expected) == user_layers(real)


def test_rows_that_share_add_up_their_counts(dataset):
    model = apply("embed.prune_rows", tiny_model("deepfm", dataset), dataset, **SMALL).model
    counts = dataset.frequencies("item")
    path = next(path for path, name in table_inputs(model).items() if name == "item" and path.startswith("tables"))
    assert path == "tables.item.table"
    folded = rows_occurring(model, path, counts)
    assert folded[:12].tolist() == counts[:12].tolist()
    assert folded[12] == counts[12:].sum() and folded.sum() == counts.sum()


def test_padding_and_unknown_ids_read_what_they_read_before(dataset):
    model = tiny_model("deepfm", dataset, trained=True)
    pruned = apply("embed.prune_rows", model, dataset, min_rows=2, keep=0.01).model
    zero = torch.zeros(2, 3, dtype=torch.int64)
    assert torch.equal(pruned.tables.genres(zero), model.tables.genres(zero))


def test_ids_that_are_kept_score_as_before(dataset):
    model = tiny_model("deepfm", dataset, trained=True)
    pruned = apply("embed.prune_rows", model, dataset, min_rows=35, keep=0.5).model  # the items only
    frequent = torch.from_numpy(dataset.splits["test"].inputs["item"]) < 20
    before, after = logits(model, dataset), logits(pruned, dataset)
    assert torch.equal(before[frequent], after[frequent]) and not torch.equal(before[~frequent], after[~frequent])


def test_small_tables_and_unknown_counts_are_skipped_with_the_reason(dataset):
    model = tiny_model("fm", dataset)
    small = apply("embed.prune_rows", model, dataset)
    assert not small.changes and any("fewer than min_rows" in item.reason for item in small.skipped)
    unknown = apply("embed.prune_rows", model, None, **SMALL)
    assert not unknown.changes and any("is not known" in item.reason for item in unknown.skipped)


def test_low_rank_tables_are_pruned_in_their_factor(dataset):
    model = apply_all(tiny_model("fm", dataset), dataset, ("factorize.svd", {"rank_ratio": 0.25}),
                      ("embed.prune_rows", SMALL))
    assert model.tables.item.factor.table.weight.shape == (13, 1)
    assert "tables.item.factor.table" in dict(leaves(model))
    assert torch.isfinite(logits(model, dataset)).all()


def test_by_norm_the_longest_rows_stay_and_row_zero_and_the_map_is_counted(dataset):
    model = tiny_model("deepfm", dataset, trained=True)
    described = describe(model, dataset.signature, architecture="deepfm")
    given = apply("embed.prune_rows", model, dataset, **SMALL, by="norm")
    table, before = given.model.tables.item, model.tables.item.weight
    longest = (before[1:].norm(dim=1).topk(11).indices + 1).sort().values
    kept = torch.cat([torch.tensor([0]), longest])
    assert torch.equal(table(kept), before[kept]) and isinstance(table.ids, RowMap)
    others = [row for row in range(41) if row not in kept.tolist()]
    counts = torch.from_numpy(dataset.frequencies("item"))[others]
    assert torch.equal(table(torch.tensor(others)), shared_row(before[others], counts).expand(len(others), -1))
    expected = estimate(described, recipe_of(("embed.prune_rows", SMALL | {"by": "norm"})))
    real = describe(given.model, dataset.signature, architecture="deepfm")
    assert {layer.name: layer.size_bytes for layer in expected.layers} == {
        layer.name: layer.size_bytes for layer in real.layers}


def test_by_norm_nothing_need_be_known_of_the_ids(dataset):
    model = tiny_model("deepfm", dataset)
    given = apply("embed.prune_rows", model, None, **SMALL, by="norm")
    change = next(item for item in given.changes if item.module == "tables.item")
    assert change.detail == "12 of 41 rows kept, with a map of 164 bytes"


def test_it_stands_once_and_before_quantised_rows():
    twice = check(recipe_of(("embed.prune_rows", {}), ("embed.prune_rows", {})))
    assert "makes shared rows of rare ids already" in twice[0].message
