"""Row quantisation as a step: what it saves, what it leaves, and that it composes."""

from __future__ import annotations

import pytest
import torch

from compression.layers.rows.quantized_rows import QuantizedRows
from compression.layers.rows.row_codes import encode_rows
from compression.models.structure import leaves
from compression.spec.recipe import check
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def model(dataset):
    return tiny_model("deepfm", dataset, trained=True, embedding_dim=16)


def table_bytes(model) -> int:
    return sum(tensor.size_bytes for _, leaf in leaves(model) if isinstance(leaf, QuantizedRows) and
               leaf.embedding_dim > 1 for tensor in leaf.stored_tensors())


@pytest.mark.parametrize(("n_bits", "granularity", "ratio"), [
    (8, "row", 64 / 18), (4, "row", 64 / 10), (2, "row", 64 / 6), (4, "field", 8), (2, "field", 16)])
def test_a_table_of_16_columns_shrinks_by_its_codes_and_scales_alone(model, dataset, n_bits, granularity, ratio):
    given = apply("embed.quantize_rows", model, dataset, n_bits=n_bits, granularity=granularity, min_rows=1)
    float_bytes = 4 * 16 * (31 + 41 + 7)
    assert float_bytes / table_bytes(given.model) == pytest.approx(ratio, rel=0.05)


def test_eight_bits_hardly_move_a_score_and_two_bits_move_it_more(model, dataset):
    exact = torch.sigmoid(logits(model, dataset))
    moved = [float((torch.sigmoid(logits(apply("embed.quantize_rows", model, dataset, n_bits=bits).model, dataset))
                    - exact).abs().max()) for bits in (8, 4, 2)]
    assert moved[0] < 0.01 and moved[0] < moved[1] < moved[2]


def test_small_tables_are_left_with_their_reason(model, dataset):
    given = apply("embed.quantize_rows", model, dataset, min_rows=35)
    assert {item.module.split(".")[-1] for item in given.changes} == {"item"}
    assert any("31 rows are fewer than min_rows (35)" in item.reason for item in given.skipped)


def test_a_table_that_would_grow_is_left_with_its_reason(dataset):
    lone = torch.nn.Sequential(torch.nn.Embedding(1, 1))
    given = apply("embed.quantize_rows", lone, None, min_rows=1)
    assert not given.changes and "would not save bytes" in given.skipped[0].reason


def test_fine_tuning_goes_on_around_frozen_rows(dataset):
    model = tiny_model("deepfm", dataset)
    tuned = apply_all(model, dataset, ("embed.quantize_rows", {"n_bits": 4}),
                      ("train.fine_tune", {"epochs": 1, "batch_size": 128}))
    once = apply("embed.quantize_rows", model, dataset, n_bits=4).model
    assert torch.equal(tuned.tables.item.codes, once.tables.item.codes)
    assert not torch.equal(tuned.mlp[0].weight, model.mlp[0].weight)


def test_quantising_twice_is_refused_and_two_bits_a_field_are_warned_of():
    twice = check(recipe_of(("embed.quantize_rows", {}), ("embed.quantize_rows", {"n_bits": 4})))
    assert [item.message for item in twice if item.severity == "error"]
    coarse = check(recipe_of(("embed.quantize_rows", {"n_bits": 2, "granularity": "field"})))
    assert [item.severity for item in coarse] == ["warning"]


@pytest.mark.parametrize("clipping", ["none", "search"])
def test_a_scale_for_the_table_is_chosen_by_the_settings_and_by_how_often_rows_occur(dataset, clipping):
    model = tiny_model("deepfm", dataset, embedding_dim=16)
    with torch.no_grad():
        model.tables.item.weight[20:] *= 30  # rare rows: ids stand in the order of their frequency
    given = apply("embed.quantize_rows", model, dataset, n_bits=4, granularity="field", clipping=clipping, min_rows=1)
    options = {"n_bits": 4, "granularity": "field"}
    weight, counts = model.tables.item.weight, dataset.frequencies("item")
    wanted = encode_rows(weight, clipping=clipping, frequencies=counts, **options)
    found = given.model.tables.item
    assert torch.equal(found.codes, wanted.codes) and torch.equal(found.scale, wanted.scale)
    others = [encode_rows(weight, clipping="none", **options), encode_rows(weight, clipping="search", **options)]
    assert clipping == "none" or all(float(found.scale) != float(other.scale) for other in others)
