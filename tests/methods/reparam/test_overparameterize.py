"""Over-parameterised layers: they train differently, and what is left is one layer that says the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.models.structure import describe
from compression.spec.recipe import check
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model
from compression.train.hooks.expansion import ExpandedLayer, ExpansionHook, ProductWeight

FORMS = [("product", 2), ("product", 4), ("branches", 2), ("branches", 4)]


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def model(dataset):
    return tiny_model("deepfm", dataset, trained=True)


def power(matrix: torch.Tensor, exponent: float) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp(min=0).pow(exponent)) @ vectors.T


@pytest.mark.parametrize("n_parts", [2, 3])
def test_a_step_moves_the_product_as_arora_cohen_and_hazan_say(n_parts):
    """W moves by −η Σ_j [W Wᵀ]^((N−j)/N) · G · [Wᵀ W]^((j−1)/N) when the factors are balanced."""
    torch.manual_seed(0)
    weight, gradient = torch.randn(6, 9, dtype=torch.float64), torch.randn(6, 9, dtype=torch.float64)
    parts = ProductWeight(weight, n_parts, torch.Generator()).double()
    rate = 1e-6
    (parts() * gradient).sum().backward()
    with torch.no_grad():
        for factor in parts.factors:
            factor -= rate * factor.grad
    moved = (parts() - weight).detach() / -rate
    wanted = sum(power(weight @ weight.T, (n_parts - j) / n_parts) @ gradient
                 @ power(weight.T @ weight, (j - 1) / n_parts) for j in range(1, n_parts + 1))
    torch.testing.assert_close(moved, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("layer", [nn.Linear(7, 5), nn.Linear(6, 6), nn.Linear(4, 1, bias=False),
                                   nn.Conv1d(4, 6, 3, padding=1), nn.Conv1d(4, 4, 5, padding=2, stride=2)], ids=str)
@pytest.mark.parametrize(("form", "n_parts"), FORMS)
def test_the_merged_layer_says_what_the_parts_said(form, n_parts, layer):
    torch.manual_seed(0)
    x = torch.randn(3, layer.in_features) if isinstance(layer, nn.Linear) else torch.randn(3, 4, 9)
    expanded = ExpandedLayer(layer, form, n_parts, torch.Generator().manual_seed(1))
    torch.testing.assert_close(expanded(x), layer(x), rtol=1e-4, atol=1e-5)  # as it starts
    with torch.no_grad():
        for tensor in expanded.parameters():
            tensor += 0.1 * torch.randn_like(tensor)
    said = expanded(x)
    merged = expanded.merged()
    assert type(merged) in (nn.Linear, nn.Conv1d)
    torch.testing.assert_close(merged(x), said, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("form", "n_parts"), FORMS)
def test_the_parts_train_and_leave_nothing_behind(form, n_parts, dataset):
    model = tiny_model("fieldconv", dataset)
    tuned = apply_all(model, dataset, ("reparam.overparameterize", {"form": form, "n_parts": n_parts}),
                      ("train.fine_tune", {"epochs": 2, "batch_size": 256}))
    described = [describe(one, dataset.signature, architecture="fieldconv") for one in (model, tuned)]
    assert described[0] == described[1]
    assert not torch.equal(tuned.mlp[0].weight, model.mlp[0].weight)
    assert not torch.equal(tuned.convs[0].weight, model.convs[0].weight)


def test_training_ends_where_the_expanded_model_stood(dataset):
    model = tiny_model("deepfm", dataset)
    hook = ExpansionHook(("mlp.0", "mlp.4"), form="branches", n_parts=3, seed=0)
    hook.on_start(model, 1)
    assert isinstance(model.mlp[0], ExpandedLayer)
    with torch.no_grad():
        for tensor in model.mlp.parameters():
            tensor += 0.1 * torch.randn_like(tensor)
    before = logits(model, dataset)
    hook.on_end(model)
    assert type(model.mlp[0]) is nn.Linear
    torch.testing.assert_close(logits(model, dataset), before, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_killed_training_goes_on_with_the_same_parts(dataset, tmp_path):
    from compression.train.loop import train
    from compression.train.params import TrainParams

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.done >= 1.5:
            raise Killed

    def tune(report, folder):
        model = tiny_model("deepfm", dataset)
        hook = ExpansionHook(("mlp.0", "mlp.4"), form="branches", n_parts=2, seed=0)
        train(model, dataset, TrainParams(epochs=3, batch_size=128), hooks=[hook], checkpoint=folder / "one.ckpt",
              checkpoint_seconds=0, report=report)
        return model.mlp[0].weight

    whole = tune(lambda progress: None, tmp_path / "whole")
    with pytest.raises(Killed):
        tune(kill, tmp_path / "killed")
    assert torch.equal(tune(lambda progress: None, tmp_path / "killed"), whole)


def test_hints_hear_layers_that_are_expanded_after_them(model, dataset):
    tuned = apply_all(model, dataset, ("prune.channels", {}), ("distill.features", {"layers": "all"}),
                      ("reparam.overparameterize", {}), ("train.fine_tune", {"epochs": 1, "batch_size": 256}))
    assert torch.isfinite(logits(tuned, dataset)).all()


def test_masks_and_parts_are_kept_apart():
    broken = recipe_of(("prune.magnitude", {}), ("reparam.overparameterize", {}), ("train.fine_tune", {}))
    assert any("can't be done at once" in problem.message for problem in check(broken))
    between = recipe_of(("prune.magnitude", {}), ("train.fine_tune", {}), ("reparam.overparameterize", {}),
                        ("train.fine_tune", {}))
    assert not [problem for problem in check(between) if problem.severity == "error"]


def test_each_change_says_that_no_bytes_are_saved(model, dataset):
    given = apply("reparam.overparameterize", model, dataset)
    assert given.changes and all("saves no bytes" in item.detail for item in given.changes)
