"""Nested codes: a row's codes refine one another, and frequent rows have more of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compression.layers.rows.nested_codes import refine, share_budget
from compression.layers.rows.product_rows import encode_product
from compression.layers.stored_shapes import centroids_for, nested_tensors
from compression.observe.logit_gradients import logit_gradients
from compression.testing.steps import apply, ordered_dataset
from compression.testing.tiny import tiny_model

V, D = 40_000, 8


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def table():
    """Rows whose length grows with their frequency, as trained tables have them, and their counts (Zipf)."""
    random = np.random.default_rng(0)
    counts = np.ceil(V / np.arange(1, V + 1)).astype(np.int64)
    rows = random.standard_normal((V, D)) * np.sqrt(np.log1p(counts))[:, None] * 0.1
    return rows.astype(np.float32), counts


def refined(table, n_stages=4, centroids=64):
    rows, counts = table
    shared = (rows * counts[:, None]).sum(0) / counts.sum()
    return refine(rows, shared.astype(np.float32), counts.astype(float), n_stages=n_stages, centroids=centroids,
                  random=np.random.default_rng(0))


def test_every_code_refines_what_the_codes_before_it_say(table):
    assert (refined(table).gains >= -1e-6).all()  # the centroid 0 is zero, so that a code never makes a row worse


def test_frequent_rows_have_more_codes_than_rare_ones_within_the_budget(table):
    found = refined(table)
    lengths = share_budget({"table": found}, 60_000)["table"]
    assert lengths == sorted(lengths, reverse=True) and 0 < lengths[-1] < lengths[0]
    stored = sum(t.size_bytes for t in nested_tensors(V, D, tuple((length, 64) for length in lengths), mapped=False))
    assert 0.9 * 60_000 < stored - 4 * D <= 60_000


def test_the_same_bytes_lose_less_than_product_quantisation_where_frequency_is_skewed(table):
    rows, counts = table
    whole = encode_product(torch.from_numpy(rows), counts, n_slices=2, centroids=64, random=np.random.default_rng(0))
    budget = sum(tensor.size_bytes for tensor in whole.stored_tensors())
    error = float((np.square(whole.dequantized().detach().numpy() - rows).sum(1) * counts).sum())
    found = refined(table, n_stages=8)
    shared = (rows * counts[:, None]).sum(0) / counts.sum()
    start = float((np.square(rows - shared).sum(1) * counts).sum())
    lengths = share_budget({"table": found}, budget - 4 * D)["table"]
    assert start - sum(found.gains[stage, :length].sum() for stage, length in enumerate(lengths)) < 0.8 * error


def test_a_table_that_moves_the_score_more_gets_the_bytes(table):
    rows, counts = table
    shared = rows.mean(0)
    much, little = (refine(rows, shared, counts * felt, n_stages=4, centroids=64, random=np.random.default_rng(0))
                    for felt in (1.0, 0.01))
    lengths = share_budget({"much": much, "little": little}, 80_000)
    assert sum(lengths["much"]) > 3 * sum(lengths["little"])


def test_codebooks_stay_smaller_than_the_codes_they_serve():
    assert centroids_for(1_000_000, 16) == 256 and centroids_for(100, 16) == 16
    assert all(4 * centroids_for(n_rows, 16) * 16 <= n_rows / 2 for n_rows in (2048, 10_000, 100_000))


def test_the_gradient_of_a_sum_is_one_for_what_is_added_to_the_logit(dataset):
    model = tiny_model("lr", dataset, trained=True)
    paths = list(model.table_inputs)
    single = [path for path in paths if dataset.signature.input(model.table_inputs[path]).kind == "category"]
    found = logit_gradients(model, dataset.splits["train"], paths, np.random.default_rng(0))
    assert {path: found[path] for path in single} == dict.fromkeys(single, 1.0)


def test_ids_in_another_order_get_a_map_that_is_counted(dataset):
    model = tiny_model("deepfm", dataset, trained=True)
    path, name = next((path, name) for path, name in model.table_inputs.items()
                      if model.get_submodule(path).embedding_dim > 1)
    for rows in dataset.splits.values():
        ids = rows.inputs[name]
        rows.inputs[name] = np.where(ids > 0, model.get_submodule(path).num_embeddings - ids, 0)
    given = apply("embed.nested_codes", model, dataset, min_rows=2, bits=8)
    layer = given.model.get_submodule(path)
    if hasattr(layer, "ids") and layer.ids is not None:
        assert "ids.rows" in [tensor.name for tensor in layer.stored_tensors()]
    else:
        assert any(skip.module == path and "map" in skip.reason for skip in given.skipped)
