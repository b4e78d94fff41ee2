"""Separable convolutions: the paper's cost, the nearest start, and back to quality with the whole one as teacher."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.layers.dense.split_conv import SplitConv1d, depthwise_factors, split_conv, squeezed_factors
from compression.methods.reparam.depthwise import DepthwiseParams, shapes_of
from compression.models.structure import describe
from compression.spec.method import METHODS, Context
from compression.spec.recipe import check, estimate
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


def split_alone(layer: nn.Module, **params) -> nn.Module:
    return METHODS["reparam.depthwise"](nn.Sequential(layer), DepthwiseParams(**params), Context()).model[0]


def merged(new: SplitConv1d, n_in: int, length: int) -> torch.Tensor:
    """The weight (O, I, T) that answers as the two parts do: read off their answers to unit impulses."""
    impulses = torch.eye(n_in).unsqueeze(2) * torch.nn.functional.pad(torch.ones(1), (length - 1, length - 1))
    answers = torch.nn.functional.conv1d(impulses, new[0].weight, groups=new[0].groups)
    answers = torch.nn.functional.conv1d(answers, new[1].weight)  # (I, O, T), the kernel in reverse
    return answers.flip(2).permute(1, 0, 2)


def test_a_separable_convolution_costs_one_nth_plus_one_kth_of_the_whole():
    """Howard et al. 2017: cost 1/N + 1/D_K² of a standard convolution; along one axis 1/N + 1/D_K."""
    first, second = shapes_of((64, 32, 5), DepthwiseParams())
    numbers = first[0] * first[1] * first[2] + second[0] * second[1] * second[2]
    assert numbers / (64 * 32 * 5) == pytest.approx(1 / 64 + 1 / 5)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_the_filters_of_each_channel_are_the_nearest_there_are(multiplier):
    torch.manual_seed(0)
    conv = nn.Conv1d(6, 10, 5, padding=2)
    new = split_alone(conv, multiplier=multiplier)
    error = (merged(new, 6, 5) - conv.weight).norm()
    cut = torch.linalg.svdvals(conv.weight.permute(1, 0, 2))[:, multiplier:].norm()  # Eckart & Young in each channel
    assert error.item() == pytest.approx(cut.item(), rel=1e-4)


def test_as_many_filters_as_the_kernel_is_long_are_the_convolution_itself():
    torch.manual_seed(0)
    conv, x = nn.Conv1d(6, 10, 3, padding=1, stride=2), torch.randn(4, 6, 11)
    *weights, kept = depthwise_factors(conv.weight, 3)
    torch.testing.assert_close(split_conv(conv, *weights, depthwise=True)(x), conv(x), rtol=1e-4, atol=1e-5)
    assert kept == pytest.approx(1)


def test_squeezing_to_every_channel_is_the_convolution_itself_and_fewer_are_the_nearest():
    torch.manual_seed(0)
    conv, x = nn.Conv1d(6, 10, 3, padding=1, dilation=1, bias=False), torch.randn(4, 6, 11)
    *weights, _ = squeezed_factors(conv.weight, 6)
    torch.testing.assert_close(split_conv(conv, *weights, depthwise=False)(x), conv(x), rtol=1e-4, atol=1e-5)
    new = split_alone(conv, form="squeeze", squeeze_ratio=0.5)
    matrix = conv.weight.detach().permute(0, 2, 1).reshape(30, 6)
    assert new[0].weight.shape == (3, 6, 1)
    weight = torch.einsum("ost,si->oit", new[1].weight, new[0].weight[:, :, 0])
    cut = torch.linalg.svdvals(matrix)[3:].norm()
    assert (weight - conv.weight).norm().item() == pytest.approx(cut.item(), rel=1e-4)


@pytest.mark.parametrize("params", [{"multiplier": 2}, {"form": "squeeze", "squeeze_ratio": 0.5}], ids=str)
def test_the_size_is_known_before(params, dataset):
    model = tiny_model("fieldconv", dataset, channels=16, kernel_size=5)
    described = describe(model, dataset.signature, architecture="fieldconv")
    given = apply("reparam.depthwise", model, dataset, **params).model
    expected = estimate(described, recipe_of(("reparam.depthwise", params)))
    assert expected.layers == describe(given, dataset.signature, architecture="fieldconv").layers
    again = apply("reparam.depthwise", given, dataset, **params)
    assert estimate(expected, recipe_of(("reparam.depthwise", params))).layers == describe(
        again.model, dataset.signature, architecture="fieldconv").layers


def test_the_whole_convolution_teaches_the_cheap_one(dataset):
    teacher = tiny_model("fieldconv", dataset, trained=True, channels=16)
    tune = ("train.fine_tune", {"epochs": 10, "batch_size": 128, "patience": 10})
    away = []
    for alpha in (0.0, 1.0):
        model = apply_all(teacher, dataset, ("reparam.depthwise", {}), ("distill.self", {"alpha": alpha}), tune)
        away.append(float((logits(model, dataset) - logits(teacher, dataset)).square().mean()))
    assert away[1] < 0.5 * away[0]


def test_what_is_no_convolution_or_would_not_get_smaller_is_skipped(dataset):
    given = apply("reparam.depthwise", tiny_model("fieldconv", dataset), dataset, multiplier=4)
    reasons = {item.module: item.reason for item in given.skipped}
    assert reasons["mlp.0"] == "Linear is no convolution"
    assert "would not save bytes" in reasons["convs.1"]
    assert METHODS["reparam.depthwise"].why_not(describe(
        tiny_model("fm", dataset), dataset.signature, architecture="fm"))


def test_no_fine_tuning_after_is_warned_of():
    problems = check(recipe_of(("reparam.depthwise", {})))
    assert [problem.severity for problem in problems] == ["warning"]
