"""Self-distillation: a loss and nothing else, which brings a compressed model back to the one it came from."""

from __future__ import annotations

import pytest
import torch

from compression.spec.errors import RecipeError
from compression.spec.method import METHODS, Context
from compression.spec.recipe import check
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model
from compression.train.hooks.distillation import DistillationHook


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def teacher(dataset):
    return tiny_model("deepfm", dataset, trained=True)


def test_it_changes_no_weight_and_says_that_it_saves_nothing(teacher, dataset):
    given = apply("distill.self", teacher, dataset)
    before = teacher.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in given.model.state_dict().items())
    assert all(item.bytes_before == item.bytes_after and "saves no bytes" in item.detail for item in given.changes)


def test_the_uploaded_model_teaches_whatever_earlier_steps_made_of_it(teacher, dataset):
    pruned = apply("prune.channels", teacher, dataset).model
    method = METHODS["distill.self"]
    given = method(pruned, method.parse({}), Context(method="distill.self", teacher=teacher))
    assert isinstance(given.hooks[0], DistillationHook) and given.hooks[0].teacher is teacher


def test_a_pruned_model_comes_back_nearer_to_its_teacher(teacher, dataset):
    distance = {}
    for alpha in (0.0, 1.0):
        student = apply_all(teacher, dataset, ("factorize.svd", {"rank_ratio": 0.25}),
                            ("distill.self", {"alpha": alpha}),
                            ("train.fine_tune", {"epochs": 10, "batch_size": 128, "patience": 10}))
        distance[alpha] = float((logits(student, dataset) - logits(teacher, dataset)).square().mean())
    assert distance[1.0] < 0.5 * distance[0.0]


def test_it_needs_a_fine_tuning_after_and_something_to_teach_before():
    messages = [problem.message for problem in check(recipe_of(("distill.self", {})))]
    assert any("add a fine-tune step" in message for message in messages)
    assert any("towards itself" in message for message in messages)
    assert check(recipe_of(("prune.channels", {}), ("distill.self", {}), ("train.fine_tune", {}))) == []


def test_without_an_uploaded_model_it_says_so():
    method = METHODS["distill.self"]
    with pytest.raises(RecipeError, match="there is none here"):
        method(torch.nn.Sequential(torch.nn.Linear(2, 1)), method.parse({}), Context())
