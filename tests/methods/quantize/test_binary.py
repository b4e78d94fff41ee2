"""Binary dense layers: the best scale of the paper, eight weights a byte, and training through the sign."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from compression.export.onnx import export_onnx
from compression.layers.dense.binary_linear import BinaryLinear, binary_weight, pack_signs
from compression.layers.dense.learned_linear import LearnedSigns
from compression.spec.recipe import check
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def model(dataset):
    return tiny_model("dcnv2", dataset, trained=True, embedding_dim=8, width=32)


def test_no_other_scale_or_signs_are_nearer_to_the_weights():
    """Rastegari et al. 2016, equation 6: B = sign(W) and α = ‖W‖₁ / n have the least ‖W − αB‖²."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 10, generator=random)
    best = float((binary_weight(weight) - weight).square().sum())
    for signs in torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 10):
        scales = torch.linspace(0, 3, 301)
        errors = (scales.unsqueeze(1) * signs - weight).square().sum(1)
        assert best <= float(errors.min()) + 1e-6


@pytest.mark.parametrize("n_inputs", [8, 13])
def test_eight_weights_are_stored_in_a_byte_and_come_back(n_inputs):
    linear = nn.Linear(n_inputs, 5)
    layer = BinaryLinear(linear)
    assert layer.codes.shape == (5, -(-n_inputs // 8)) and layer.codes.dtype == torch.uint8
    assert torch.equal(layer.dense_weight(), binary_weight(linear.weight))
    assert pack_signs(torch.tensor([[1.0, -1, 0, -1, -1, -1, -1, -1, 1]])).tolist() == [[0b101, 0b1]]


def test_the_gradient_passes_the_sign_up_to_one_and_reaches_the_scale():
    weight = torch.tensor([[0.5, -3.0]], requires_grad=True)
    binary_weight(weight)[0, 1].backward()  # −α, with α = (|w₀| + |w₁|) / 2 = 1.75
    assert weight.grad.tolist() == [[-0.5, 0.5]]  # of the scale alone: the second weight lies beyond one
    weight.grad = None
    binary_weight(weight)[0, 0].backward()
    assert weight.grad.tolist() == [[0.5 + 1.75, -0.5]]


def test_training_through_the_signs_beats_signs_of_what_was_trained():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, generator=random) @ torch.randn(4, 32, generator=random) / 2  # inputs go together
    torch.manual_seed(0)
    linear = nn.Linear(32, 8)
    wanted, layer = linear(x).detach(), LearnedSigns(linear, BinaryLinear(linear))
    before = float((BinaryLinear(linear)(x) - wanted).square().mean())
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.003)
    for _ in range(300):
        optimiser.zero_grad()
        (layer(x) - wanted).square().mean().backward()
        optimiser.step()
    torch.testing.assert_close(layer(x), layer.as_stored()(x))
    assert float((layer.as_stored()(x) - wanted).square().mean()) < 0.6 * before


def test_fine_tuning_moves_signs(model, dataset):
    once = apply("quantize.binary", model, dataset).model
    tuned = apply_all(model, dataset, ("quantize.binary", {}), ("train.fine_tune", {"epochs": 2, "batch_size": 128}))
    assert isinstance(tuned.mlp[0], BinaryLinear) and not torch.equal(tuned.mlp[0].codes, once.mlp[0].codes)
    assert torch.isfinite(logits(tuned, dataset)).all()


@pytest.mark.slow
def test_the_file_shrinks_and_the_loaded_model_does_not(model, dataset, tmp_path):
    """What the card says of memory: ONNX Runtime unpacks the weights when it loads the file."""
    given = apply("quantize.binary", model, dataset, min_features=32)
    exported = export_onnx(given.model, dataset.signature, tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(exported.path, options, providers=["CPUExecutionProvider"])
    held = [tensor for tensor in onnx.load(tmp_path / "loaded.onnx").graph.initializer if tensor.dims]
    floats = [list(tensor.dims) for tensor in held if tensor.data_type == onnx.TensorProto.FLOAT]
    assert [32, 32] in floats and not any(tensor.data_type == onnx.TensorProto.UINT8 for tensor in held)
    stored = onnx.load(exported.path).graph.initializer
    tables = [tensor for tensor in stored if list(tensor.dims) == [256, 8]]
    assert len(tables) == 1 and len(given.changes) > 1  # one table of bytes serves all layers


def test_a_recipe_without_training_is_warned_and_one_with_it_is_not():
    alone, = check(recipe_of(("quantize.binary", {})))
    assert alone.severity == "warning" and "add a fine-tune step" in alone.message
    assert check(recipe_of(("quantize.binary", {}), ("train.fine_tune", {}))) == []
    again = check(recipe_of(("quantize.binary", {}), ("train.fine_tune", {}), ("quantize.dynamic", {})))
    assert any(problem.severity == "error" for problem in again)
