"""Quantised training of tables: gradients as in the paper, and what is scored is what is stored."""

from __future__ import annotations

import pytest
import torch

from compression.layers.rows.learned_rows import LearnedRows
from compression.layers.rows.quantized_rows import QuantizedRows
from compression.layers.rows.row_codes import encode_rows
from compression.spec.recipe import check
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


def learned(weight: torch.Tensor, n_bits: int, granularity: str = "row") -> LearnedRows:
    rows = encode_rows(weight, n_bits=n_bits, granularity=granularity)
    return LearnedRows(weight.clone(), rows.scale, rows.n_bits)


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.mark.parametrize("granularity", ["row", "field"])
@pytest.mark.parametrize("n_bits", [8, 4, 2, 1])
def test_what_is_looked_up_while_training_is_what_is_stored(n_bits, granularity):
    weight = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    layer = learned(weight, n_bits, granularity)
    layer.growth.data.copy_(torch.randn(layer.growth.data.shape) * 0.1) if granularity == "field" else \
        layer.growth.weight.data.normal_(0, 0.1)
    assert torch.equal(layer(torch.arange(50)), layer.as_codes().dequantized())


def test_the_scale_feels_the_rounding_error_inside_and_the_last_level_outside():
    """Esser et al. 2020, equation 3: round(v/s) − v/s inside, ±Q outside; equation 5: rows outside feel nothing."""
    layer = LearnedRows(torch.tensor([[10.3, 300.0, -300.0, 5.0]]), torch.tensor(1.0), 8)
    layer(torch.tensor([0])).backward(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    assert float(layer.growth.grad) == pytest.approx(10 - 10.3, abs=1e-5)  # scale 1: d scale / d growth = 1
    layer.growth.grad = None
    layer(torch.tensor([0])).backward(torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    assert float(layer.growth.grad) == pytest.approx(127)
    layer.table.weight.grad = None
    layer(torch.tensor([0])).backward(torch.ones(1, 4))
    assert layer.table.weight.grad.to_dense().tolist() == [[1.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("n_bits", [2, 1])
def test_training_through_the_rounding_beats_rounding_what_was_trained(n_bits):
    """Few levels leave an error that the rows of a dot product can make up for each other."""
    random = torch.Generator().manual_seed(0)
    weight, reader = torch.randn(40, 8, generator=random), torch.randn(8, 3, generator=random)
    wanted, ids = weight @ reader, torch.arange(40)
    layer = learned(weight, n_bits)
    before = float((layer(ids) @ reader - wanted).detach().square().mean())
    optimiser = torch.optim.Adagrad([layer.table.weight, layer.growth.weight], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        (layer(ids) @ reader - wanted).square().mean().backward()
        optimiser.step()
    assert float((layer.as_codes().dequantized() @ reader - wanted).square().mean()) < 0.5 * before


def test_after_fine_tuning_tables_are_codes_that_learned(dataset):
    model = tiny_model("deepfm", dataset, trained=True)
    once = apply("embed.quantize_rows", model, dataset, n_bits=2).model
    tuned = apply_all(model, dataset, ("embed.train_quantized", {"n_bits": 2}),
                      ("train.fine_tune", {"epochs": 2, "batch_size": 128}))
    assert isinstance(tuned.tables.item, QuantizedRows)
    assert tuned.tables.item.codes.shape == once.tables.item.codes.shape
    assert torch.isfinite(logits(tuned, dataset)).all()


def test_it_asks_for_a_fine_tune_step_and_float_tables():
    assert any("fine-tune" in item.message for item in check(recipe_of(("embed.train_quantized", {}))))
    twice = check(recipe_of(("embed.quantize_rows", {}), ("embed.train_quantized", {}), ("train.fine_tune", {})))
    assert [item for item in twice if item.severity == "error"]
