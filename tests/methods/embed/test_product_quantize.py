"""Product quantisation: exact on products of prototypes, nearer with more slices, nearest where rows are read most."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compression.layers.rows.product_rows import encode_product
from compression.layers.stored_shapes import slices_that_fit
from compression.spec.recipe import check
from compression.testing.steps import apply, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


def normal_rows(n_rows: int = 2000, dim: int = 8) -> torch.Tensor:
    return torch.randn(n_rows, dim, generator=torch.Generator().manual_seed(0))


def encoded(weight: torch.Tensor, counts: np.ndarray | None = None, *, n_slices: int = 2, centroids: int = 16):
    counts = np.ones(len(weight)) if counts is None else counts
    return encode_product(weight, counts, n_slices=n_slices, centroids=centroids, random=np.random.default_rng(0))


def test_k_squared_rows_are_told_apart_by_two_codebooks_of_k():
    """Jégou et al. 2011, section II: M codebooks of K centroids stand for K^M rows."""
    prototypes = torch.arange(8.0)
    weight = torch.cartesian_prod(prototypes, prototypes)
    layer = encoded(weight.repeat(4, 1), centroids=8)
    assert torch.allclose(layer.dequantized(), weight.repeat(4, 1), atol=1e-5)
    assert len(layer.dequantized().unique(dim=0)) == 64 and layer.codebooks.shape == (16, 1)


def test_more_slices_and_more_centroids_come_nearer():
    weight = normal_rows()

    def error(n_slices: int, centroids: int) -> float:
        layer = encoded(weight, n_slices=n_slices, centroids=centroids)
        return float((layer.dequantized().detach() - weight).square().mean())

    assert error(8, 16) < error(4, 16) < error(2, 16) < error(1, 16)
    assert error(2, 256) < error(2, 64) < error(2, 16)


def test_counting_rows_by_popularity_lowers_the_error_of_what_is_read():
    weight, counts = normal_rows(), 100_000 / np.arange(1, 2001)

    def error(layer) -> float:
        squared = (layer.dequantized().detach() - weight).square().sum(1).numpy()
        return float((counts * squared).sum())

    assert error(encoded(weight, counts, centroids=64)) < 0.6 * error(encoded(weight, centroids=64))


def test_centroids_of_a_large_table_come_from_a_sample_and_all_rows_are_encoded(monkeypatch):
    from compression.layers.rows import product_rows

    weight = normal_rows()
    whole = (encoded(weight).dequantized().detach() - weight).square().mean()
    monkeypatch.setattr(product_rows, "MAX_TRAINED_ROWS", 512)
    sampled = encoded(weight)
    assert sampled.codes.shape == (2000, 2)
    assert (sampled.dequantized().detach() - weight).square().mean() < 1.15 * whole


@pytest.mark.parametrize(("dim", "asked", "given"), [(16, 8, 8), (10, 8, 5), (7, 6, 1), (4, 64, 4), (1, 8, 1)])
def test_the_columns_are_cut_into_the_most_equal_slices_that_were_allowed(dim, asked, given):
    assert slices_that_fit(dim, asked) == given


def test_codebooks_learn_and_codes_stay():
    layer = encoded(normal_rows())
    layer(torch.tensor([3])).sum().backward()
    assert int((layer.codebooks.grad != 0).any(1).sum()) == 2 and not layer.codes.requires_grad


def test_tables_smaller_than_their_codebook_are_skipped_with_the_reason():
    dataset = ordered_dataset()
    given = apply("embed.product_quantize", tiny_model("deepfm", dataset), dataset, min_rows=2)
    assert not given.changes
    reasons = {item.module: item.reason for item in given.skipped}
    assert reasons["tables.item"] == "41 rows are no more than its codebook would have (256)"
    given = apply("embed.product_quantize", tiny_model("deepfm", dataset), dataset, min_rows=2, centroids=32)
    reasons = {item.module: item.reason for item in given.skipped}
    assert reasons["tables.item"].startswith("would not save bytes")


def test_another_code_of_the_tables_before_it_is_refused():
    for other in ("embed.quantize_rows", "embed.mixed_precision"):
        problems = check(recipe_of((other, {}), ("embed.product_quantize", {})))
        assert [problem.severity for problem in problems] == ["error"]
    assert not check(recipe_of(("embed.prune_rows", {}), ("embed.product_quantize", {}), ("train.fine_tune", {})))
