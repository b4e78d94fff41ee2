"""int8 dense layers: their arithmetic, their error, and gradients that pass through."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.layers.dense.quantized_linear import DynamicLinear, StaticLinear, dynamic_range, quantize_columns
from compression.observe.calibration import levels_of, observe


@pytest.fixture
def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(64, 32)


def test_weights_keep_one_scale_an_output_and_lie_within_half_a_step():
    weight = torch.randn(64, 32) * torch.logspace(-3, 1, 32)
    levels, scale = quantize_columns(weight)
    assert levels.dtype == torch.int8 and scale.shape == (32,)
    assert float(((levels * scale - weight).abs() / scale).max()) <= 0.5001
    assert int(quantize_columns(weight, n_bits=7)[0].abs().max()) == 63


def test_a_column_of_zeros_stays_zeros():
    levels, scale = quantize_columns(torch.zeros(8, 3))
    assert not levels.any() and torch.isfinite(scale).all() and (scale > 0).all()


def test_the_dynamic_range_holds_zero_and_both_extremes():
    scale, zero = dynamic_range(torch.tensor([[2.0, 5.0]]))
    assert float(zero) == 0 and float(scale) == pytest.approx(5 / 255)
    scale, zero = dynamic_range(torch.tensor([[-1.0, 1.0]]))
    assert float(scale) == pytest.approx(2 / 255) and float(zero) in (127, 128)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@torch.no_grad()
def test_int8_comes_within_a_percent_of_float(linear, kind):
    x = torch.randn(500, 64)
    layer = DynamicLinear(linear) if kind == "dynamic" else StaticLinear(linear, x_scale=8 / 255, zero_point=128)
    exact = linear(x)
    assert float((layer(x) - exact).norm() / exact.norm()) < 0.015


def test_the_product_is_the_exact_integer_product(linear):
    layer = StaticLinear(linear, x_scale=0.03, zero_point=100)
    x = torch.randn(20, 64)
    levels = ((x / torch.tensor(0.03)).round() + 100).clamp(0, 255).long() - 100
    total = levels @ layer.weight.long() + layer.bias.long()
    torch.testing.assert_close(layer(x), total.float() * (torch.tensor(0.03) * layer.scale), rtol=0, atol=0)


def test_leading_axes_are_kept(linear):
    x = torch.randn(4, 5, 64)
    layer = DynamicLinear(linear)
    assert torch.equal(layer(x), layer(x.reshape(20, 64)).reshape(4, 5, 32))


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_gradients_pass_through_to_what_lies_below(linear, kind):
    layer = DynamicLinear(linear) if kind == "dynamic" else StaticLinear(linear, x_scale=0.03, zero_point=128)
    x = torch.randn(10, 64, requires_grad=True)
    layer(x).sum().backward()
    expected = linear.weight.detach().sum(0).expand(10, 64)
    assert float((x.grad - expected).norm() / expected.norm()) < 0.02
    assert not list(layer.parameters())


def test_calibrators_agree_on_clean_data_and_cut_a_lone_outlier():
    torch.manual_seed(0)
    model, clean = nn.Sequential(nn.Linear(8, 4)), torch.rand(4000, 8)
    spoiled = clean.clone()
    spoiled[0, 0] = 1000.0
    for rows, low, high in ((clean, 0.9, 1.05), (spoiled, 0.9, 300)):
        seen = observe(model, {"0": model[0]}, [{"x": rows}["x"]], torch.Generator().manual_seed(0))["0"]
        widths = {name: 255 * levels_of(seen, name)[0] for name in ("minmax", "percentile", "mse")}
        assert widths["minmax"] == pytest.approx(float(rows.max()), rel=1e-4)
        assert low < widths["percentile"] < high


def test_the_squared_error_search_cuts_what_costs_more_than_it_keeps():
    """Of n values in [0, 1) and one at 3, the range c has the error n (c / 255)² / 12 + (3 − c)²: least near 2.7."""
    batches = [torch.rand(1, 8000) for _ in range(10)]
    batches[0][0, 0] = 3.0
    model = nn.Sequential(nn.Linear(8000, 1))
    seen = observe(model, {"0": model[0]}, batches, torch.Generator())["0"]
    scale, zero_point = levels_of(seen, "mse")
    assert zero_point == 0 and 2.6 < 255 * scale < 2.8


def test_observing_leaves_no_hook_and_no_mode_behind():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    observe(model, {"0": model[0]}, [torch.rand(3, 4)], torch.Generator())
    assert not model[0]._forward_pre_hooks and model[1].training


def test_a_layer_that_no_row_reaches_is_absent():
    model = nn.Sequential(nn.Linear(4, 4))
    unused = nn.Linear(4, 4)
    assert set(observe(model, {"used": model[0], "unused": unused}, [torch.rand(2, 4)], torch.Generator())) == {"used"}
