"""Weight-only quantisation by blocks: what it stores, that smaller blocks are more exact, and that rows are apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.layers.dense.block_linear import BlockLinear, block_levels
from compression.testing.steps import apply, logits, ordered_dataset
from compression.testing.tiny import tiny_model


def layer_of(weight: torch.Tensor, **options) -> BlockLinear:
    return BlockLinear(weight, None, **options)


@pytest.mark.parametrize("n_bits", [8, 4])
def test_an_outlier_spoils_its_own_block_alone(n_bits):
    """Dettmers & Zettlemoyer 2023, section 2: blocks keep an outlier's scale from the weights of other blocks."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 256, generator=generator)
    weight[:, 3] = 50.0
    errors = []
    for block_size in (256, 128, 64, 32, 16):
        kept = layer_of(weight, n_bits=n_bits, block_size=block_size).dense_weight()
        errors.append(float((kept - weight)[:, 4:].square().mean()))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.25 * errors[0]


@pytest.mark.parametrize(("n_bits", "top"), [(8, 127), (4, 7)])
def test_levels_use_their_whole_range_and_zero_stays_zero(n_bits, top):
    weight = torch.cat([torch.linspace(-1, 1, 31), torch.zeros(33)]).repeat(3, 1)
    layer = layer_of(weight, n_bits=n_bits, block_size=32)
    levels = block_levels(layer.codes, n_bits)
    assert levels.abs().amax() == top and float(layer.dense_weight()[:, 32:].abs().max()) == 0


def test_inputs_that_fill_no_block_are_filled_up_and_change_nothing():
    weight, x = torch.randn(5, 7), torch.randn(4, 7)
    layer = layer_of(weight, n_bits=8, block_size=16)
    assert layer.codes.shape == (5, 1, 16)
    assert torch.allclose(layer(x), nn.functional.linear(x, weight), atol=0.1)


def test_a_row_is_scored_alike_in_any_company():
    layer, x = layer_of(torch.randn(6, 40), n_bits=4, block_size=16), torch.randn(8, 40)
    with_giant = torch.cat([x[:1], 1000 * torch.ones(1, 40)])
    for company in (x, with_giant):
        assert torch.allclose(layer(company)[:1], layer(x[:1]), atol=1e-5)


def test_half_the_bytes_of_int8_and_scores_that_hardly_move():
    dataset = ordered_dataset()
    model = tiny_model("dcnv2", dataset, trained=True, embedding_dim=8, width=32)
    before = torch.sigmoid(logits(model, dataset))
    sizes = {}
    for n_bits, most in ((8, 0.02), (4, 0.15)):
        given = apply("quantize.weights", model, dataset, n_bits=n_bits, block_size=32)
        sizes[n_bits] = sum(change.bytes_after for change in given.changes)
        assert given.changes
        assert float((torch.sigmoid(logits(given.model, dataset)) - before).abs().max()) < most
    assert sizes[4] < 0.7 * sizes[8]


def test_a_layer_that_would_grow_is_left_with_its_reason():
    dataset = ordered_dataset()
    given = apply("quantize.weights", tiny_model("deepfm", dataset), dataset, min_features=1, skip_output=False,
                  block_size=128, n_bits=8)
    assert any("would not save bytes" in item.reason for item in given.skipped)
