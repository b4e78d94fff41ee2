"""Weight sharing: the codebook is as good as k-means can be, every weight is one of it, cells are trained together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compression.layers.dense.shared_linear import SharedLinear, byte_codes, codebook_of, nearest_codes, pack_codes
from compression.spec.recipe import check
from compression.testing.steps import apply, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


def error(values: np.ndarray, codebook: np.ndarray) -> float:
    return float(np.square(values - codebook[nearest_codes(values, codebook)]).mean())


def best_error(values: np.ndarray, centroids: int) -> float:
    """The least mean squared error of K cells, by trying every cut of the sorted values (dynamic programming)."""
    ordered = np.sort(values).astype(np.float64)
    n = len(ordered)
    one, two = np.concatenate([[0], ordered.cumsum()]), np.concatenate([[0], np.square(ordered).cumsum()])
    end = np.arange(n + 1)

    def cost(start: np.ndarray, stop: int) -> np.ndarray:
        return two[stop] - two[start] - np.square(one[stop] - one[start]) / np.maximum(stop - start, 1)

    best = np.array([cost(np.array([0]), stop)[0] for stop in end])
    for _ in range(centroids - 1):
        best = np.array([min(best[:stop + 1] + cost(end[:stop + 1], stop)) for stop in end])
    return float(best[n] / n)


@pytest.mark.slow
@pytest.mark.parametrize(("centroids", "n_values", "margin"), [(2, 300, 1.01), (4, 300, 1.01), (16, 2000, 1.1)])
def test_the_codebook_is_close_to_the_best_there_is(centroids, n_values, margin):
    """Many cells over few values end in a local optimum: 16 over 300 were up to 1.21 times the least error."""
    values = np.random.default_rng(0).standard_normal(n_values).astype(np.float32)
    assert error(values, codebook_of(values, centroids)) < margin * best_error(values, centroids)


def test_on_normal_weights_it_reaches_the_known_optimum():
    """Max 1960, table I: the least error of a normal variable is 0.1175 at 4 levels and 0.009497 at 16."""
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    assert error(values, codebook_of(values, 4)) == pytest.approx(0.1175, rel=0.02)
    assert error(values, codebook_of(values, 16)) == pytest.approx(0.009497, rel=0.02)


def test_fewer_values_than_centroids_are_all_kept():
    values = np.repeat(np.array([-1.0, 0.0, 2.5], np.float32), 7)
    assert error(values, codebook_of(values, 16)) == 0
    assert error(np.full(5, 3.0, np.float32), codebook_of(np.full(5, 3.0, np.float32), 4)) == 0


@pytest.mark.parametrize("n_bits", [8, 4, 2])
def test_packed_codes_come_back(n_bits):
    codes = np.random.default_rng(0).integers(0, 2**n_bits, (5, 7)).astype(np.uint8)
    packed = pack_codes(codes, n_bits)
    assert packed.shape == (5, -(-7 * n_bits // 8))
    assert (byte_codes(n_bits)[packed].reshape(5, -1)[:, :7] == codes).all()


@pytest.mark.parametrize("n_bits", [8, 4, 2])
def test_a_layer_has_as_many_weights_as_codes_and_computes_with_them(n_bits):
    torch.manual_seed(0)
    linear = nn.Linear(37, 19)
    layer = SharedLinear(linear, n_bits=n_bits)
    weight = layer.dense_weight().detach()
    assert weight.shape == (19, 37) and len(weight.unique()) <= 2**n_bits
    original = linear.weight.detach()
    assert float((weight - original).abs().max()) < float(original.abs().max()) * 4 / 2**n_bits
    x = torch.randn(3, 37)
    assert torch.allclose(layer(x), x @ weight.T + linear.bias, atol=1e-6)


def test_a_shared_weight_gets_the_summed_gradient_of_its_cell():
    """Han et al. 2016, section 3.3."""
    torch.manual_seed(0)
    layer, x = SharedLinear(nn.Linear(8, 6), n_bits=2), torch.randn(4, 8)
    layer(x).square().sum().backward()
    weight = layer.dense_weight().detach().requires_grad_()
    nn.functional.linear(x, weight, layer.bias.detach()).square().sum().backward()
    cells = torch.from_numpy(nearest_codes(weight.detach().numpy(), layer.codebook.detach().numpy().ravel())).long()
    expected = torch.zeros(4).index_add_(0, cells.flatten(), weight.grad.flatten())
    assert torch.allclose(layer.codebook.grad.ravel(), expected, rtol=1e-4, atol=1e-4)


def test_a_codebook_larger_than_the_layer_leaves_it_in_float():
    dataset = ordered_dataset()
    given = apply("share.kmeans", tiny_model("deepfm", dataset), dataset, n_bits=8)
    reasons = [item.reason for item in given.skipped if item.module.startswith("mlp")]
    assert not given.changes and any(reason.startswith("would not save bytes") for reason in reasons)


def test_it_stands_alone_with_the_dense_layers():
    for steps in ((("quantize.dynamic", {}), ("share.kmeans", {})), (("share.kmeans", {}), ("quantize.static", {})),
                  (("share.kmeans", {}), ("factorize.svd", {}))):
        assert "error" in [problem.severity for problem in check(recipe_of(*steps))]
    assert not check(recipe_of(("factorize.svd", {}), ("share.kmeans", {}), ("train.fine_tune", {})))
