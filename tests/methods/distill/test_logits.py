"""Distillation: the loss is Hinton's, the student starts near its teacher and ends nearer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from compression.methods.distill.logits import DistillParams, student_of
from compression.models.structure import describe
from compression.models.zoo import build
from compression.spec.errors import RecipeError
from compression.spec.method import METHODS, Context
from compression.spec.recipe import check, estimate
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import TINY_CONFIG, tiny_model
from compression.train.hooks.distillation import DistillationHook, soft_loss


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def teacher(dataset):
    return tiny_model("deepfm", dataset, trained=True)


def gradient(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    student = student.clone().requires_grad_()
    soft_loss(student, teacher, temperature).backward()
    return student.grad * len(student)


def test_the_gradient_of_the_soft_loss_keeps_its_size_when_the_temperature_rises():
    student, teacher = torch.tensor([0.5, -1.0, 2.0]).double(), torch.tensor([1.5, -0.5, -1.0]).double()
    expected = 4.0 * (torch.sigmoid(student / 4) - torch.sigmoid(teacher / 4))
    torch.testing.assert_close(gradient(student, teacher, 4.0), expected)
    # Hinton et al. 2015, section 2.1: for a high T it tends to the difference of logits; for a sigmoid over 4
    torch.testing.assert_close(gradient(student, teacher, 1e3), (student - teacher) / 4, rtol=1e-4, atol=1e-5)


def test_the_soft_loss_is_least_where_the_student_agrees():
    teacher = torch.tensor([1.5, -0.5])
    assert gradient(teacher, teacher, 3.0).abs().max() < 1e-6


def test_alpha_mixes_the_two_losses(teacher, dataset):
    hook = DistillationHook(teacher, alpha=0.25, temperature=2.0)
    hook.on_start(teacher, 1)
    batch = {name: torch.from_numpy(values[:8]) for name, values in dataset.splits["train"].inputs.items()}
    label = torch.from_numpy(dataset.splits["train"].label[:8])
    scores = torch.randn(8)
    hard = binary_cross_entropy_with_logits(scores, label)
    with torch.no_grad():
        soft = soft_loss(scores, teacher(batch), 2.0)
    torch.testing.assert_close(hook.loss(batch, scores, label, hard), 0.75 * hard + 0.25 * soft)


def test_the_teacher_is_neither_trained_nor_moved(teacher, dataset):
    before = copy.deepcopy(teacher.state_dict())
    apply_all(teacher, dataset, ("distill.logits", {}), ("train.fine_tune", {"epochs": 2, "batch_size": 256}))
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(weight.requires_grad for weight in teacher.parameters())


def test_vectors_of_low_rank_keep_all_their_dot_products(dataset):
    teacher = tiny_model("fm", dataset)
    torch.manual_seed(0)
    directions = torch.randn(2, 4)
    for vectors in teacher.tables.values():
        vectors.weight.data = torch.randn(*vectors.weight.shape[:-1], 2) @ directions
    student = apply("distill.logits", teacher, dataset, embedding_ratio=0.5).model
    assert student.tables.item.weight.shape == (41, 2)
    torch.testing.assert_close(logits(student, dataset), logits(teacher, dataset), rtol=1e-4, atol=1e-4)


def test_listening_to_the_teacher_brings_the_student_nearer_to_it(teacher, dataset):
    distance = {}
    for alpha in (0.0, 0.5):
        student = apply_all(teacher, dataset, ("distill.logits", {"alpha": alpha, "width_ratio": 0.5}),
                            ("train.fine_tune", {"epochs": 20, "batch_size": 128, "patience": 20}))
        distance[alpha] = float((logits(student, dataset) - logits(teacher, dataset)).square().mean())
    assert distance[0.5] < 0.5 * distance[0.0]


@pytest.mark.parametrize(("architecture", "config"), [
    ("dcnv2", {"structure": "stacked"}), ("dlrm", {"n_bottom_layers": 1}),
    ("dlrm", {"n_bottom_layers": 4, "width": 64}), ("widedeep", {"batch_norm": False, "dropout": 0.0}),
    ("deepfm", {"n_layers": 1, "width": 8}), ("deepfm", {"embedding_dim": 1}),
    ("dcnv2", {"embedding_dim": 7, "n_layers": 4, "width": 40})])
@pytest.mark.parametrize("ratios", [(0.05, 0.05), (0.45, 0.7), (1.0, 0.5), (0.5, 1.0)])
def test_the_students_size_is_known_before_it_is_built(architecture, config, ratios, dataset):
    params = {"width_ratio": ratios[0], "embedding_ratio": ratios[1]}
    teacher = tiny_model(architecture, dataset, **config)
    expected = estimate(describe(teacher, dataset.signature, architecture=architecture),
                        recipe_of(("distill.logits", params)))
    student = apply("distill.logits", teacher, dataset, **params).model
    assert expected.layers == describe(student, dataset.signature, architecture=architecture).layers


def test_the_students_size_is_known_for_a_dlrm_without_numbers(dataset):
    inputs = tuple(item for item in dataset.signature.inputs if item.kind != "number")
    signature = dataset.signature.model_copy(update={"inputs": inputs})
    teacher = build("dlrm", signature, TINY_CONFIG["dlrm"])
    method = METHODS["distill.logits"]
    params = method.parse({"width_ratio": 0.5, "embedding_ratio": 0.5})
    student = method(teacher, params, Context(signature=signature, teacher=teacher)).model
    expected = method.estimated(describe(teacher, signature, architecture="dlrm").layers, params)
    assert expected == describe(student, signature, architecture="dlrm").layers


def test_a_model_outside_the_zoo_is_refused_with_what_to_do_instead(dataset):
    with pytest.raises(RecipeError, match=r"a plain graph.*channel pruning and low rank"):
        apply("distill.logits", torch.nn.Sequential(torch.nn.Linear(2, 1)), dataset)


def test_it_is_the_first_step_and_needs_a_fine_tuning():
    messages = [problem.message for problem in check(recipe_of(("prune.channels", {}), ("distill.logits", {})))]
    assert any("make it the first step" in message for message in messages)
    assert any("add a fine-tune step" in message for message in messages)
    assert check(recipe_of(("distill.logits", {}), ("train.fine_tune", {}))) == []


@pytest.mark.parametrize("teacher_of", ["deepfm", "dcnv2", "dlrm", "fm", "lr", "fieldconv"])
@pytest.mark.parametrize("student_of", ["deepfm", "dcnv2", "dlrm", "widedeep", "fieldconv", "fm", "lr"])
def test_a_student_of_another_architecture_weighs_what_was_estimated(teacher_of, student_of, dataset):
    params = {"architecture": student_of, "width_ratio": 0.5, "embedding_ratio": 0.5, "n_layers": 3}
    teacher = tiny_model(teacher_of, dataset)
    described = describe(teacher, dataset.signature, architecture=teacher_of)
    expected = estimate(described, recipe_of(("distill.logits", params)))
    given = apply("distill.logits", teacher, dataset, **params)
    real = describe(given.model, dataset.signature, architecture=student_of)
    assert expected.size_bytes == real.size_bytes
    assert sum(item.bytes_after - item.bytes_before for item in given.changes) == real.size_bytes - described.size_bytes
    reported = [item.module for item in [*given.changes, *given.skipped]]
    assert sorted(reported) == sorted({layer.name for layer in (*described.layers, *real.layers)})


def test_a_student_of_another_architecture_starts_from_the_teachers_tables(teacher, dataset):
    given = apply("distill.logits", teacher, dataset, architecture="fm", embedding_ratio=1.0)
    assert torch.equal(given.model.tables.item.weight, teacher.tables.item.weight)
    assert torch.equal(given.model.first_order.item.weight, teacher.first_order.item.weight)
    gone = {item.module for item in given.changes if item.detail == "gone: the student is fm"}
    assert gone and all(path.startswith("mlp.") for path in gone)
    tuned = apply_all(teacher, dataset, ("distill.logits", {"architecture": "fm"}), ("train.fine_tune", {"epochs": 2}))
    assert tuned.architecture == "fm" and torch.isfinite(logits(tuned, dataset)).all()


def test_the_depth_of_the_student_can_be_chosen(teacher, dataset):
    student = apply("distill.logits", teacher, dataset, n_layers=1).model
    assert student.config["n_layers"] == 1 and teacher.config["n_layers"] == 2


def test_the_settings_reach_the_loss(teacher, dataset):
    (hook,) = apply("distill.logits", teacher, dataset, alpha=0.3, temperature=5.0, schedule="fading").hooks
    assert (hook.alpha, hook.temperature, hook.schedule) == (0.3, 5.0, "fading")
    (hook,) = apply("distill.self", teacher, dataset, schedule="cooling").hooks
    assert hook.schedule == "cooling"


@pytest.mark.parametrize(("dropout", "ratio", "expected"), [(0.2, 0.5, 0.1), (0.15, 1.0, 0.15), (0.2, 0.0, 0.0),
                                                            (0.8, 2.0, 0.9)])
def test_the_student_s_dropout_is_a_share_of_the_teacher_s(dropout, ratio, expected):
    _, settings = student_of("dnn", {"dropout": dropout}, DistillParams(dropout_ratio=ratio))
    assert settings["dropout"] == expected


@pytest.mark.parametrize("architecture", ["dnn", "finalmlp"])
def test_a_student_may_be_a_plain_network_or_a_pair_of_them(teacher, dataset, architecture):
    student = apply("distill.logits", teacher, dataset, architecture=architecture).model
    assert student.architecture == architecture
    assert torch.equal(student.tables["item"].weight, teacher.tables["item"].weight)


@pytest.mark.parametrize(("schedule", "alpha", "temperature"), [("constant", 0.4, 3.0), ("fading", 0.1, 3.0),
                                                                ("cooling", 0.4, 1.5)])
def test_over_the_training_the_teacher_fades_or_cools(teacher, dataset, schedule, alpha, temperature):
    hook = DistillationHook(teacher, alpha=0.4, temperature=3.0, schedule=schedule)
    hook.on_start(teacher, 8)
    for step in range(1, 7):
        hook.after_step(teacher, step, 8)
    resumed = DistillationHook(teacher, alpha=0.4, temperature=3.0, schedule=schedule)
    resumed.on_start(teacher, 8)
    resumed.load_state_dict(hook.state_dict())
    batch = {name: torch.from_numpy(values[:8]) for name, values in dataset.splits["train"].inputs.items()}
    scores, hard = torch.randn(8), torch.tensor(0.7)
    with torch.no_grad():
        soft = soft_loss(scores, teacher(batch), temperature)
    for one in (hook, resumed):
        torch.testing.assert_close(one.loss(batch, scores, torch.zeros(8), hard), (1 - alpha) * hard + alpha * soft)


def test_the_teacher_is_at_rest_while_it_teaches(dataset):
    hook = DistillationHook(tiny_model("deepfm", dataset, dropout=0.5).train(), alpha=0.5, temperature=1.0)
    hook.on_start(tiny_model("deepfm", dataset), 1)
    assert not any(module.training for module in hook.teacher.modules())
