"""Quantised training of dense layers: gradients as in the paper, and what is scored is what is stored."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.layers.dense.block_linear import BlockLinear
from compression.layers.dense.learned_linear import (
    LearnedBlocks,
    LearnedStatic,
    block_scales,
    least_error_scales,
    round_to_steps,
    static_scales,
)
from compression.layers.dense.quantized_linear import StaticLinear
from compression.spec.errors import RecipeError
from compression.spec.recipe import check
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


def learned(linear: nn.Linear, n_bits: int, block_size: int = 32) -> LearnedBlocks | LearnedStatic:
    if n_bits < 7:
        scale = block_scales(linear.weight, n_bits, block_size)
        return LearnedBlocks(linear, BlockLinear(linear.weight, linear.bias, n_bits=n_bits, block_size=block_size,
                                                 scale=scale))
    return LearnedStatic(linear, StaticLinear(linear, x_scale=6 / 255, zero_point=120, n_bits=n_bits,
                                              scale=static_scales(linear.weight, n_bits)))


def errors_of(*steps: tuple[str, dict]) -> list[str]:
    return [problem.message for problem in check(recipe_of(*steps)) if problem.severity == "error"]


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.mark.parametrize("n_bits", [8, 7, 4, 2])
def test_what_is_computed_while_training_is_what_is_stored(n_bits):
    torch.manual_seed(0)
    layer, x = learned(nn.Linear(40, 12), n_bits), torch.randn(30, 40)
    layer.growth.data.normal_(0, 0.1)
    if n_bits >= 7:
        layer.x_growth.data.fill_(0.07)
    torch.testing.assert_close(layer(x), layer.as_stored()(x), rtol=1e-4, atol=1e-5)
    assert layer.as_stored().stored_tensors() == layer.stored_tensors()


def test_a_step_feels_the_rounding_error_inside_and_the_last_level_outside():
    """Esser et al. 2020, equation 3: round(v/s) − v/s inside, ±Q outside; equation 5: values outside feel nothing."""
    values = torch.tensor([2.3, 9.0, -9.0, 0.6], requires_grad=True)
    for place, of_step, of_value in ((0, 2 - 2.3, 1.0), (1, 7.0, 0.0), (2, -7.0, 0.0), (3, 1 - 0.6, 1.0)):
        step = torch.tensor(1.0, requires_grad=True)
        values.grad = None
        round_to_steps(values, step, -7, 7)[place].backward()
        assert float(step.grad) == pytest.approx(of_step, abs=1e-6)
        assert float(values.grad[place]) == of_value


@pytest.mark.parametrize("n_bits", [4, 2])
def test_scales_start_nearer_to_the_weights_than_where_the_largest_fits(n_bits):
    groups, top = torch.randn(50, 32, generator=torch.Generator().manual_seed(0)), 2 ** (n_bits - 1) - 1

    def error(scale: torch.Tensor) -> torch.Tensor:
        rounded = (groups / scale.unsqueeze(1)).round().clamp(-top, top) * scale.unsqueeze(1)
        return (rounded - groups).square().sum(1)

    largest = groups.abs().amax(1) / top
    assert (error(least_error_scales(groups, n_bits)) <= error(largest) + 1e-6).all()
    assert float(error(least_error_scales(groups, n_bits)).sum()) < 0.9 * float(error(largest).sum())


def test_a_block_of_zeros_has_a_scale_to_grow_from():
    groups = torch.stack([torch.zeros(32), torch.ones(32)])
    assert (least_error_scales(groups, 4) > 0).all() and (least_error_scales(groups[:1], 4) > 0).all()


def test_training_through_the_rounding_beats_rounding_what_was_trained():
    """Few levels leave an error that the weights of an output can make up for each other."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, generator=random) @ torch.randn(4, 32, generator=random) / 2  # inputs go together
    torch.manual_seed(0)
    linear = nn.Linear(32, 8)
    wanted = linear(x).detach()
    layer = learned(linear, 2)
    before = float((layer.as_stored()(x) - wanted).square().mean())
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.003)
    for _ in range(300):
        optimiser.zero_grad()
        (layer(x) - wanted).square().mean().backward()
        optimiser.step()
    assert float((layer.as_stored()(x) - wanted).square().mean()) < 0.5 * before


@pytest.mark.parametrize(("n_bits", "kind"), [(7, StaticLinear), (4, BlockLinear), (2, BlockLinear)])
def test_after_fine_tuning_layers_are_codes_that_learned(n_bits, kind, dataset):
    model = tiny_model("deepfm", dataset, trained=True, width=32)
    step = ("quantize.train_dense", {"n_bits": n_bits})
    once = apply_all(model, dataset, step)
    tuned = apply_all(model, dataset, step, ("train.fine_tune", {"epochs": 2, "batch_size": 128}))
    for path in ("mlp.0", "mlp.4"):
        if not isinstance(once.get_submodule(path), kind):
            assert path == "mlp.0"  # its inputs are fewer than min_features
            continue
        assert isinstance(tuned.get_submodule(path), kind)
        assert not torch.equal(tuned.get_submodule(path).scale, once.get_submodule(path).scale)
    assert not list(tuned.mlp[4].parameters()) and torch.isfinite(logits(tuned, dataset)).all()


def test_a_layer_that_a_later_step_replaced_is_left_alone(dataset):
    model = tiny_model("deepfm", dataset, width=32)
    given = apply("quantize.train_dense", model, dataset)
    hook, = given.hooks
    given.model.mlp[4] = nn.Linear(32, 32)
    hook.on_start(given.model, 1)
    assert type(given.model.mlp[4]) is nn.Linear


def test_eight_bits_without_training_rows_say_what_to_do(dataset):
    with pytest.raises(RecipeError, match=r"calibrates on training rows.*or 4 bits"):
        apply("quantize.train_dense", tiny_model("deepfm", dataset), None, n_bits=8, min_features=4)


def test_it_asks_for_one_fine_tune_step_and_shares_it_with_what_trains_other_things():
    step, tune = ("quantize.train_dense", {}), ("train.fine_tune", {})
    assert any("add a fine-tune step" in message for message in errors_of(step))
    assert not errors_of(step, tune, ("embed.quantize_rows", {}))
    assert not errors_of(("embed.train_quantized", {}), step, tune) and not errors_of(step, ("distill.self", {}), tune)
    assert not errors_of(("prune.channels", {}), tune, step, tune)


@pytest.mark.parametrize("steps", [
    ("quantize.train_dense", "train.fine_tune", "train.fine_tune"),
    ("quantize.train_dense", "train.fine_tune", "quantize.dynamic"),
    ("quantize.train_dense", "quantize.dynamic", "train.fine_tune"),
    ("quantize.dynamic", "quantize.train_dense", "train.fine_tune"),
    ("quantize.train_dense", "prune.channels", "train.fine_tune"),
    ("prune.magnitude", "quantize.train_dense", "train.fine_tune"),
    ("reparam.overparameterize", "quantize.train_dense", "train.fine_tune"),
    ("quantize.train_dense", "reparam.overparameterize", "train.fine_tune"),
])
def test_an_order_that_would_lose_something_is_refused(steps):
    assert errors_of(*((method, {}) for method in steps))
