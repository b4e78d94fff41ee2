"""Codes of rows: how near they come, what they weigh, and how they are packed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compression.layers.rows import row_codes
from compression.layers.rows.quantized_rows import QuantizedRows
from compression.layers.rows.row_codes import LEVELS, byte_levels, encode_rows, pack, unpack
from compression.layers.stored_shapes import bits_that_fit, packed_width


def normal_rows(n_rows: int = 400, dim: int = 16, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(n_rows, dim, generator=torch.Generator().manual_seed(seed)) * 0.1


def relative_error(weight: torch.Tensor, **options) -> float:
    kept = QuantizedRows(encode_rows(weight, **options)).dequantized()
    return float((weight - kept).square().mean() / weight.square().mean())


@pytest.mark.parametrize("n_bits", [4, 2, 1])
@pytest.mark.parametrize("dim", [2, 7, 8, 9])
def test_packing_and_unpacking_give_the_levels_back_for_every_width(n_bits, dim):
    choice = torch.randint(2**n_bits, (50, dim), generator=torch.Generator().manual_seed(0))
    levels = torch.tensor(LEVELS[n_bits], dtype=torch.int8)[choice]
    codes = pack(levels, n_bits)
    assert codes.dtype == torch.uint8 and codes.shape == (50, packed_width(dim, n_bits))
    assert torch.equal(unpack(codes, n_bits, dim), levels)


def test_codes_of_a_row_are_packed_low_bits_first():
    levels = torch.tensor([[LEVELS[4][3], LEVELS[4][10]]], dtype=torch.int8)
    assert pack(levels, 4).tolist() == [[3 + 16 * 10]]
    assert byte_levels(2)[0b00_01_10_11].tolist() == [LEVELS[2][3], LEVELS[2][2], LEVELS[2][1], LEVELS[2][0]]


def test_eight_bit_rows_lie_within_half_a_step_of_their_own_scale():
    weight = normal_rows() * torch.logspace(-3, 2, 400).unsqueeze(1)
    kept = QuantizedRows(encode_rows(weight, n_bits=8)).dequantized()
    step = weight.abs().amax(1, keepdim=True) / 127
    assert float(((weight - kept).abs() / step).max()) < 0.53  # a half, and what fp16 rounds up


@pytest.mark.parametrize("n_bits", [4, 2])
def test_each_value_takes_the_nearest_level_but_for_ties_within_one_step_in_127(n_bits):
    weight = normal_rows()
    rows = encode_rows(weight, n_bits=n_bits)
    kept = unpack(rows.codes, n_bits, 16).float()
    scale = rows.scale.float().unsqueeze(1)
    levels = torch.tensor(LEVELS[n_bits]).float()
    best = (weight.unsqueeze(2) / scale.unsqueeze(2) - levels).abs().amin(2)
    assert float(((weight / scale - kept).abs() - best).max()) <= 1.0


@pytest.mark.parametrize("granularity", ["row", "field"])
@pytest.mark.parametrize("clipping", ["none", "search"])
def test_one_bit_keeps_the_sign_and_the_mean_magnitude_and_loses_1_minus_2_over_pi(granularity, clipping):
    """Rastegari et al. 2016, equation 6: α = mean |w|, and E of a normal w is √(2/π)."""
    weight = normal_rows(2000, 64)
    kept = QuantizedRows(encode_rows(weight, n_bits=1, granularity=granularity, clipping=clipping)).dequantized()
    assert torch.equal(kept > 0, weight > 0)
    mean = weight.abs().mean(1, keepdim=True) if granularity == "row" else weight.abs().mean()
    torch.testing.assert_close(kept.abs(), mean.expand(kept.shape), rtol=0.03, atol=0)
    assert float((weight - kept).square().mean() / weight.square().mean()) == pytest.approx(1 - 2 / np.pi, abs=0.02)


@pytest.mark.parametrize("n_bits", [8, 4, 2])
@pytest.mark.parametrize("granularity", ["row", "field"])
def test_a_searched_scale_never_loses_more_than_the_largest_value(n_bits, granularity):
    weight = torch.distributions.StudentT(3.0).sample((300, 16))
    plain = relative_error(weight, n_bits=n_bits, granularity=granularity, clipping="none")
    searched = relative_error(weight, n_bits=n_bits, granularity=granularity, clipping="search")
    assert searched <= plain * 1.0001
    if n_bits < 8:
        assert searched < 0.95 * plain


def test_more_bits_and_finer_scales_come_nearer():
    weight = normal_rows() * torch.rand(400, 1)
    by_bits = [relative_error(weight, n_bits=n_bits, clipping="search") for n_bits in (8, 4, 2)]
    assert by_bits[0] < 1e-4 < by_bits[1] < 0.01 < by_bits[2] < 0.15
    assert relative_error(weight, n_bits=4, granularity="field", clipping="search") > by_bits[1]


def test_one_scale_for_a_table_serves_the_frequent_rows():
    weight = torch.cat([normal_rows(200) * 0.1, normal_rows(200, seed=1) * 10])
    small, large = np.zeros(400), np.zeros(400)
    small[:200], large[200:] = 1e6, 1e6
    first = encode_rows(weight, n_bits=4, granularity="field", clipping="search", frequencies=small)
    second = encode_rows(weight, n_bits=4, granularity="field", clipping="search", frequencies=large)
    assert float(first.scale) < 0.2 * float(second.scale)


def test_rows_of_zeros_stay_zeros():
    weight = normal_rows()
    weight[7] = 0
    for n_bits in (8, 4, 2):
        assert not QuantizedRows(encode_rows(weight, n_bits=n_bits, clipping="search")).dequantized()[7].any()
    assert not QuantizedRows(encode_rows(torch.zeros(20, 4), n_bits=4, granularity="field")).dequantized().any()


def test_columns_that_fill_no_byte_get_wider_codes_for_the_same_bytes():
    assert bits_that_fit(1, 2) == 8 and bits_that_fit(2, 2) == 4 and bits_that_fit(3, 2) == 2
    rows = encode_rows(normal_rows(dim=1), n_bits=2)
    assert rows.n_bits == 8 and rows.scale.ndim == 0  # one column shares a scale


@pytest.mark.parametrize(("n_bits", "granularity"), [(8, "row"), (4, "row"), (2, "field")])
def test_what_is_stored_is_what_the_layer_says(n_bits, granularity):
    layer = QuantizedRows(encode_rows(normal_rows(dim=7), n_bits=n_bits, granularity=granularity))
    stored = {tensor.name: (tensor.dtype, tensor.shape) for tensor in layer.stored_tensors()}
    held = {name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
            for name, tensor in layer.state_dict().items()}
    assert stored == held


def test_ids_of_any_shape_are_looked_up():
    weight = normal_rows(30, 6)
    layer = QuantizedRows(encode_rows(weight, n_bits=8))
    ids = torch.tensor([[1, 0, 29], [4, 4, 2]])
    assert layer(ids).shape == (2, 3, 6)
    torch.testing.assert_close(layer(ids), weight[ids], atol=2e-3, rtol=0)


def test_chunks_do_not_change_the_codes(monkeypatch):
    from compression.layers.rows import row_codes

    whole = encode_rows(normal_rows(), n_bits=4, clipping="search")
    monkeypatch.setattr(row_codes, "CHUNK_VALUES", 100)
    parts = encode_rows(normal_rows(), n_bits=4, clipping="search")
    assert torch.equal(whole.codes, parts.codes) and torch.equal(whole.scale, parts.scale)


@pytest.mark.parametrize("dim", [1, 2, 7, 12, 16, 31, 32])
def test_the_largest_value_of_a_row_has_the_largest_level_whatever_the_width(dim):
    weight = normal_rows(dim=dim)
    if dim == 1:
        assert encode_rows(weight, n_bits=8).scale.ndim == 0
        return
    scale = encode_rows(weight, n_bits=8).scale.float()
    largest = weight.abs().amax(1)
    assert bool((scale * 127 >= largest * (1 - 1e-6)).all())
    assert bool((scale * 127 <= largest * 1.002).all())


@pytest.mark.parametrize("n_bits", [8, 4, 2, 1])
@pytest.mark.parametrize("dim", [6, 16])
def test_chunks_of_a_long_table_give_what_the_whole_gives(n_bits, dim, monkeypatch):
    weight = normal_rows(1000, dim)
    whole = encode_rows(weight, n_bits=n_bits)
    monkeypatch.setattr(row_codes, "PACKED_ROWS", 30)
    parts = encode_rows(weight, n_bits=n_bits)
    assert torch.equal(parts.codes, whole.codes) and torch.equal(parts.scale, whole.scale)


@pytest.mark.parametrize("dim", [16, 64])
def test_a_scale_is_the_next_half_that_is_not_smaller_from_the_smallest_to_the_largest(dim):
    weight = normal_rows(4000, dim) * torch.logspace(-8, 9, 4000).unsqueeze(1)
    scale = encode_rows(weight, n_bits=8).scale
    wanted = (weight.abs().amax(1) / 127).clamp(max=65504.0)
    below = (scale.view(torch.int16) - 1).view(torch.float16).float()
    assert bool((scale.float() >= wanted).all()) and bool((below < wanted).all())


def test_what_is_too_large_for_a_scale_keeps_the_largest_level():
    weight = torch.tensor([[1e9, -1e9, 1.0, 0.0]])
    rows = encode_rows(weight, n_bits=8)
    assert rows.scale.tolist() == [65504.0] and rows.codes.tolist() == [[127, -127, 0, 0]]
