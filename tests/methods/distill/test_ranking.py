"""Ranking distillation: the loss is the probability of the teacher's order, and only the order counts."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from compression.spec.errors import RecipeError
from compression.testing.steps import apply, apply_all, logits, ordered_dataset
from compression.testing.tiny import tiny_model
from compression.train.hooks.ranking import softmax_loss, top_k_loss

ONE = torch.zeros(5, dtype=torch.int64)


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def teacher(dataset):
    return tiny_model("deepfm", dataset, trained=True)


def drawn(scores: list[float], order: tuple[int, ...]) -> float:
    """The probability of drawing `order` first, one row after another, each by the softmax over those that are left."""
    left, found = set(range(len(scores))), 1.0
    for row in order:
        found *= math.exp(scores[row]) / sum(math.exp(scores[other]) for other in left)
        left.remove(row)
    return found


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_loss_is_the_probability_of_the_teachers_first_rows(k):
    torch.manual_seed(0)
    scores, teacher = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    order = tuple(teacher.argsort(descending=True)[:k].tolist())
    wanted = -math.log(drawn(scores.tolist(), order)) / k
    assert top_k_loss(scores, teacher, ONE, k=k).item() == pytest.approx(wanted, rel=1e-9)
    everything = sum(drawn(scores.tolist(), one) for one in itertools.permutations(range(5), k))
    assert everything == pytest.approx(1)


def test_only_the_order_of_the_teacher_counts():
    torch.manual_seed(1)
    scores, teacher = torch.randn(5), torch.randn(5)
    assert torch.equal(top_k_loss(scores, teacher, ONE, k=3), top_k_loss(scores, teacher.exp() * 7, ONE, k=3))


def test_rows_below_the_top_only_have_to_stay_below():
    scores = torch.tensor([3.0, 2.0, 0.1, 0.2, 0.3], requires_grad=True)
    teacher = torch.tensor([9.0, 8.0, 3.0, 2.0, 1.0])
    swapped = torch.tensor([9.0, 8.0, 1.0, 2.0, 3.0])
    assert torch.equal(top_k_loss(scores, teacher, ONE, k=2), top_k_loss(scores, swapped, ONE, k=2))


def test_lists_are_apart_and_a_list_of_one_row_says_nothing():
    torch.manual_seed(2)
    scores, teacher = torch.randn(9), torch.randn(9)
    lists = torch.tensor([0, 1, 0, 1, 2, 0, 1, 0, 1])
    for loss in (lambda *given: top_k_loss(*given, k=2), lambda *given: softmax_loss(*given, temperature=2.0)):
        apart = [loss(scores[lists == one], teacher[lists == one], torch.zeros(4, dtype=torch.int64)) for one in (0, 1)]
        torch.testing.assert_close(loss(scores, teacher, lists), torch.stack(apart).mean())
        assert loss(scores[:1], teacher[:1], torch.zeros(1, dtype=torch.int64)) == 0


def test_the_gradient_of_the_softmax_loss_is_the_difference_of_the_softmaxes():
    torch.manual_seed(3)
    scores, teacher = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64)
    softmax_loss(scores, teacher, ONE, temperature=1.0).backward()
    torch.testing.assert_close(scores.grad, scores.detach().softmax(0) - teacher.softmax(0))


def agreement(student, teacher, dataset, *, by_user: bool) -> float:
    """Share of pairs of training rows (of one user each) that both models put in the same order."""
    ours, theirs = (logits(model, dataset, "train") for model in (student, teacher))
    user = torch.from_numpy(dataset.splits["train"].inputs["user"])
    same = torch.sign(ours[:, None] - ours) == torch.sign(theirs[:, None] - theirs)
    pairs = (user[:, None] == user) if by_user else torch.ones_like(same)
    return float(same[pairs.triu(1)].double().mean())


@pytest.mark.slow
@pytest.mark.parametrize("params", [{"form": "top_k"}, {"form": "top_k", "lists": "user"}, {"form": "softmax"},
                                    {"form": "softmax", "lists": "user"}], ids=str)
def test_a_small_student_comes_to_order_rows_as_its_teacher_does(params, teacher, dataset):
    found = []
    for weight in (0.0, 10.0):
        student = apply_all(
            teacher, dataset, ("distill.logits", {"embedding_ratio": 0.5, "alpha": 0.0}),
            ("distill.ranking", {"weight": weight, "top_k": 50} | params),
            ("train.fine_tune", {"epochs": 10, "batch_size": 256, "patience": 10}))
        found.append(agreement(student, teacher, dataset, by_user=params.get("lists") == "user"))
    assert found[1] > found[0]


def test_lists_by_user_need_a_user(dataset):
    import dataclasses

    columns = tuple(column for column in dataset.description.columns if column.name != "user")
    description = dataset.description.model_copy(update={"columns": columns})
    with pytest.raises(RecipeError, match="choose the batch as the list"):
        apply("distill.ranking", tiny_model("fm", dataset), dataclasses.replace(dataset, description=description),
              lists="user")
