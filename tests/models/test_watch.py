"""Layers are watched as the model answers, and the model is left as it was."""

import pytest
import torch
from torch import nn

from compression.models.watch import evaluating, hooked, watch_inputs


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(3, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.second(self.drop(torch.relu(self.first(batch["x"]))))


@pytest.fixture
def model():
    made = Net().train()
    made.second.eval()  # one that training keeps frozen
    return made


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_what_enters_each_layer_is_seen_without_dropout_and_gradients(model):
    batches, seen = [{"x": torch.randn(5, 3)}, {"x": torch.randn(2, 3)}, {"x": torch.empty(0, 3)}], {}
    before = modes(model)
    layers = {path: model.get_submodule(path) for path in ("first", "second", "unused")}
    watch_inputs(model, layers, batches, lambda path, layer, rows: seen.setdefault(path, []).append((layer, rows)))
    assert [len(rows) for _, rows in seen["first"]] == [5, 2] and "unused" not in seen
    layer, rows = seen["second"][0]
    assert layer is model.second and not rows.requires_grad
    assert torch.equal(rows, torch.relu(model.first(batches[0]["x"])))
    assert modes(model) == before and not model.first._forward_pre_hooks


def test_modes_and_hooks_are_put_back_after_an_error(model):
    before = modes(model)
    with pytest.raises(ZeroDivisionError), evaluating(model), hooked({"first": model.first}, lambda *given: 1 / 0):
        model({"x": torch.randn(2, 3)})
    assert modes(model) == before and not model.first._forward_hooks


def test_what_a_hook_returns_takes_the_place_of_the_output_or_the_input(model):
    batch = {"x": torch.randn(2, 3)}
    with evaluating(model), hooked({"second": model.second}, lambda path, layer, inputs, output: output * 0 + 7):
        assert torch.equal(model(batch), torch.full((2, 1), 7.0))
    with evaluating(model), hooked({"second": model.second}, lambda path, layer, inputs: (inputs[0] * 0,), before=True):
        assert torch.equal(model(batch), model.second.bias.expand(2, 1))
