"""Hints: the regressor of FitNets is learned, and gone when the training ends."""

from __future__ import annotations

import pytest
import torch

from compression.testing.steps import apply, apply_all, logits, ordered_dataset
from compression.testing.tiny import tiny_model
from compression.train.hooks.hint import HintHook, hidden_layers, hint_loss, pairs_of

TUNE = ("train.fine_tune", {"epochs": 8, "batch_size": 128, "patience": 8})


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def teacher(dataset):
    return tiny_model("deepfm", dataset, trained=True)


def unexplained(student, teacher, dataset) -> float:
    """Share of the variance of the teacher's last hidden layer that no linear map of the student's explains."""
    said = {}
    for name, model in (("student", student), ("teacher", teacher)):
        layer = model.get_submodule(hidden_layers(model)[-1])
        handle = layer.register_forward_hook(lambda module, given, out, name=name: said.update({name: out.detach()}))
        logits(model, dataset, "train")
        handle.remove()
    found, wanted = said["student"].double(), said["teacher"].double()
    found = torch.cat([found, torch.ones(len(found), 1)], 1)
    rest = wanted - found @ torch.linalg.lstsq(found, wanted).solution
    return float(rest.square().sum() / (wanted - wanted.mean(0)).square().sum())


def test_the_loss_is_zero_where_a_projection_meets_the_hint_and_one_where_it_knows_the_mean_alone():
    torch.manual_seed(0)
    hint = torch.randn(64, 5) * 3
    assert hint_loss(hint, hint) == 0
    assert hint_loss(hint.mean(0).expand_as(hint), hint).item() == pytest.approx(1, rel=1e-4)
    assert hint_loss(10 * hint.mean(0).expand_as(hint), 10 * hint).item() == pytest.approx(1, rel=1e-4)


def test_hidden_layers_are_the_dense_ones_before_the_output(dataset):
    assert hidden_layers(tiny_model("deepfm", dataset)) == ["mlp.0", "mlp.3"] or hidden_layers(
        tiny_model("deepfm", dataset)) == ["mlp.0", "mlp.4"]
    assert hidden_layers(tiny_model("fm", dataset)) == []
    split = apply("factorize.svd", tiny_model("deepfm", dataset, width=64), dataset, rank_ratio=0.25).model
    assert hidden_layers(split) == hidden_layers(tiny_model("deepfm", dataset))  # a split layer counts once


def test_layers_are_paired_by_name_or_by_depth():
    assert pairs_of(["a", "b"], ["a", "b"], "all") == (("a", "a"), ("b", "b"))
    assert pairs_of(["a"], ["x", "y", "z"], "all") == (("a", "z"),)
    assert pairs_of(["a", "b", "c"], ["x"], "all") == (("a", "x"), ("b", "x"), ("c", "x"))
    assert pairs_of(["a", "b"], ["x", "y", "z"], "last") == (("b", "z"),)
    assert pairs_of([], ["x"], "all") == ()


def test_a_thinner_student_learns_what_its_teachers_hidden_layer_says(teacher, dataset):
    """Romero et al. 2015: the student's layer predicts the hint through a learned regressor."""
    student = ("distill.logits", {"width_ratio": 0.5, "alpha": 0.0})
    plain = apply_all(teacher, dataset, student, TUNE)
    hinted = apply_all(teacher, dataset, student, ("distill.features", {"weight": 2.0}), TUNE)
    assert unexplained(hinted, teacher, dataset) < unexplained(plain, teacher, dataset)


def test_nothing_of_the_projections_is_left_after_training(teacher, dataset):
    pruned = apply("prune.channels", teacher, dataset)
    tuned = apply_all(teacher, dataset, ("prune.channels", {}), ("distill.features", {"layers": "all"}), TUNE)
    assert list(tuned.state_dict()) == list(pruned.model.state_dict())
    assert not any(module._forward_hooks for module in tuned.modules())


def test_a_pair_whose_layer_a_later_step_removed_is_left_out(teacher, dataset):
    hook = HintHook(teacher, (("gone", "mlp.0"),), weight=1.0, seed=0)
    model = tiny_model("deepfm", dataset)
    hook.on_start(model, 1)
    loss = torch.tensor(0.5)
    assert hook.loss({}, torch.zeros(2), torch.zeros(2), loss) is loss
    hook.on_end(model)


def test_a_model_without_hidden_layers_is_skipped_with_that_reason(dataset):
    given = apply("distill.features", tiny_model("lr", dataset), dataset)
    assert not given.hooks and "no hidden layer" in given.skipped[0].reason
