"""Several teachers: their mean speaks, each from its own seed, and a killed run finds them again."""

from __future__ import annotations

import pytest
import torch

from compression.spec.errors import RecipeError
from compression.spec.method import METHODS
from compression.testing.steps import apply, apply_all, context, logits, ordered_dataset
from compression.testing.tiny import tiny_model
from compression.train.hooks.distillation import MeanOfTeachers

QUICK = {"epochs": 2, "batch_size": 256}


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def model(dataset):
    return tiny_model("deepfm", dataset, trained=True)


def teachers_of(given) -> list:
    return list(given.hooks[0].teacher.teachers)


def test_the_mean_of_teachers_is_nearer_to_the_truth_than_they_are_on_average():
    """The squared error of a mean is never above the mean of the squared errors: why an ensemble teaches well."""
    torch.manual_seed(0)

    class Fixed(torch.nn.Module):
        def __init__(self, scores):
            super().__init__()
            self.scores = scores

        def forward(self, batch):
            return self.scores

    truth = torch.randn(100)
    single = [Fixed(truth + torch.randn(100)) for _ in range(4)]
    mean = (MeanOfTeachers(single)({}) - truth).square().mean()
    assert mean < 0.5 * torch.stack([(one.scores - truth).square().mean() for one in single]).mean()


def test_teachers_differ_by_seed_or_by_architecture_and_the_uploaded_one_may_join(model, dataset):
    same = teachers_of(apply("distill.ensemble", model, dataset, n_teachers=2, **QUICK))
    assert [one.architecture for one in same] == ["deepfm"] * 3 and same[2] is not same[0]
    assert [one.config for one in same[:2]] == [model.config] * 2
    assert not torch.equal(same[0].tables.item.weight, same[1].tables.item.weight)
    mixed = teachers_of(apply("distill.ensemble", model, dataset, n_teachers=4, architecture="mixed",
                              with_uploaded=False, **QUICK))
    assert [one.architecture for one in mixed] == ["dcnv2", "deepfm", "dlrm", "widedeep"]
    assert {one.config["width"] for one in mixed} == {model.config["width"]}


def test_what_the_teachers_reached_is_told_with_the_change(model, dataset):
    given = apply("distill.ensemble", model, dataset, n_teachers=2, **QUICK)
    assert "mean of 3 teachers" in given.changes[0].detail
    assert "validation AUC of those trained here 0." in given.changes[0].detail


def test_a_killed_run_takes_up_its_teachers_where_they_were(model, dataset, tmp_path):
    method = METHODS["distill.ensemble"]
    params = method.parse({"n_teachers": 2, "with_uploaded": False} | QUICK)
    lent = context(model, dataset, method="distill.ensemble", folder=tmp_path)
    first = method(model, params, lent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["teacher-0.ckpt", "teacher-1.ckpt"]
    again = method(model, params, lent)
    assert torch.equal(logits(first.hooks[0].teacher, dataset), logits(again.hooks[0].teacher, dataset))


def test_a_compressed_model_learns_from_them(model, dataset):
    student = apply_all(model, dataset, ("prune.channels", {}), ("distill.ensemble", {"alpha": 0.5} | QUICK),
                        ("train.fine_tune", QUICK))
    assert torch.isfinite(logits(student, dataset)).all()


def test_a_plain_graph_needs_an_architecture_for_its_teachers(model, dataset):
    plain = tiny_model("deepfm", dataset)
    del plain.architecture
    with pytest.raises(RecipeError, match=r"this one is a plain graph\. Choose an architecture"):
        apply("distill.ensemble", plain, dataset, **QUICK)
