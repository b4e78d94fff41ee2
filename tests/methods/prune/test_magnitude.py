"""Magnitude pruning: the smallest go, zeros live through fine-tuning, and the schedule is the paper's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compression.spec.method import METHODS, Context
from compression.spec.recipe import check
from compression.testing.steps import apply, apply_all, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model
from compression.train.hooks.pruning import PruningHook, cubic_sparsity, keep_masks

BRIEF = {"epochs": 2, "batch_size": 256}


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def model(dataset):
    return tiny_model("deepfm", dataset)


def zeros(weight: torch.Tensor) -> float:
    return float((weight == 0).float().mean())


@pytest.mark.parametrize("sparsity", [0.25, 0.29, 0.5, 0.99])
def test_exactly_the_asked_share_of_the_smallest_weights_goes(model, dataset, sparsity):
    pruned = apply("prune.magnitude", model, dataset, sparsity=sparsity).model
    old, new = model.mlp[0].weight, pruned.mlp[0].weight
    gone = new == 0
    assert int(gone.sum()) == int(round(sparsity * 1e6) * old.numel() // 1e6)
    assert old[gone].abs().max() < old[~gone].abs().min()
    assert torch.equal(new[~gone], old[~gone])


def test_one_threshold_over_the_model_prunes_a_layer_of_small_weights_more():
    small, large = torch.linspace(0.1, 1, 100), torch.linspace(1.1, 2, 100)
    masks = keep_masks({"small": small, "large": large}, 0.5, "model")
    assert not masks["small"].any() and masks["large"].all()
    masks = keep_masks({"small": small, "large": large}, 0.5, "layer")
    assert int(masks["small"].sum()) == int(masks["large"].sum()) == 50


@pytest.mark.parametrize(("scope", "shares"), [("model", [0.0, 1.0]), ("layer", [0.5, 0.5])])
def test_the_step_prunes_over_the_model_or_in_each_layer(scope, shares):
    large, small = nn.Linear(8, 16), nn.Linear(16, 8)
    nn.init.uniform_(large.weight, 1.1, 2)
    nn.init.uniform_(small.weight, 0.1, 1)
    params = METHODS["prune.magnitude"].params(sparsity=0.5, scope=scope)
    pruned = METHODS["prune.magnitude"](nn.Sequential(large, small), params, Context()).model
    assert [zeros(layer.weight) for layer in pruned] == shares


def test_the_schedule_is_equation_one_of_zhu_and_gupta():
    steps = np.arange(0, 101)
    expected = 0.8 + (0.2 - 0.8) * (1 - steps / 100) ** 3
    given = [cubic_sparsity(int(step), 100, final=0.8, initial=0.2) for step in steps]
    np.testing.assert_allclose(given, expected, rtol=1e-12)
    assert given[0] == pytest.approx(0.2) and given[-1] == 0.8 and cubic_sparsity(500, 100, final=0.8) == 0.8


@pytest.mark.parametrize("weights", ["dense", "tables", "both"])
def test_zeros_live_through_fine_tuning(model, dataset, weights):
    pruned = apply("prune.magnitude", model, dataset, weights=weights, sparsity=0.6)
    tuned = apply("train.fine_tune", pruned.model, dataset, hooks=pruned.hooks, **BRIEF).model
    assert {item.module for item in pruned.changes} == set(pruned.hooks[0].paths)
    for path in pruned.hooks[0].paths:
        before, after = pruned.model.get_submodule(path).weight, tuned.get_submodule(path).weight
        assert (after[before == 0] == 0).all(), path
        assert not torch.equal(before, after), path


def test_without_the_hook_zeros_would_come_back(model, dataset):
    pruned = apply("prune.magnitude", model, dataset, sparsity=0.6)
    tuned = apply("train.fine_tune", pruned.model, dataset, **BRIEF).model
    assert zeros(tuned.mlp[0].weight) < 0.1


def test_the_cubic_schedule_prunes_nothing_now_and_all_of_it_during_fine_tuning(model, dataset):
    given = apply("prune.magnitude", model, dataset, sparsity=0.7, schedule="cubic")
    assert torch.equal(given.model.mlp[0].weight, model.mlp[0].weight)
    tuned = apply("train.fine_tune", given.model, dataset, hooks=given.hooks, epochs=4, batch_size=128).model
    assert zeros(tuned.mlp[0].weight) == pytest.approx(0.7, abs=0.01)


def test_only_epochs_at_the_final_share_can_be_the_best():
    hook = PruningHook(("mlp.0",), sparsity=0.7, scope="layer", schedule="cubic")
    assert [hook.settled(step, 100) for step in (25, 74, 75, 100)] == [False, False, True, True]
    assert PruningHook(("mlp.0",), sparsity=0.7, scope="layer", schedule="one-shot").settled(1, 100)


def test_a_resumed_training_gets_its_masks_back():
    layer = nn.Sequential(nn.Linear(4, 4))
    layer[0].weight.data[0] = 0
    hook = PruningHook(("0",), sparsity=0.25, scope="layer", schedule="one-shot")
    hook.hold_zeros(layer)
    resumed = PruningHook(("0",), sparsity=0.25, scope="layer", schedule="one-shot")
    resumed.load_state_dict(hook.state_dict())
    layer[0].weight.data[:] = 1
    resumed.after_step(layer, 1, 10)
    assert layer[0].weight[0].abs().sum() == 0 and (layer[0].weight[1:] == 1).all()


def test_a_layer_that_a_later_step_replaced_is_left_alone(model, dataset):
    tuned = apply_all(model, dataset, ("prune.magnitude", {}), ("prune.channels", {}), ("train.fine_tune", BRIEF))
    assert tuned.mlp[0].weight.shape[0] < model.mlp[0].weight.shape[0]


def test_every_change_says_that_zeros_save_no_bytes(model, dataset):
    given = apply("prune.magnitude", model, dataset)
    assert given.changes
    for change in given.changes:
        assert change.bytes_before == change.bytes_after
        assert "zeros alone save none" in change.detail
    assert any(problem.severity == "warning" and "no file smaller" in problem.message
               for problem in check(recipe_of(("prune.magnitude", {}))))


def test_the_cubic_schedule_needs_a_fine_tuning_after_it():
    errors = [problem.message for problem in check(recipe_of(("prune.magnitude", {"schedule": "cubic"})))
              if problem.severity == "error"]
    assert len(errors) == 1 and "add a fine-tune step after it" in errors[0]
    later = recipe_of(("prune.magnitude", {"schedule": "cubic"}), ("train.fine_tune", {}))
    assert not [problem for problem in check(later) if problem.severity == "error"]
