"""Weights of rows count wherever a loss is asked: by single weights, heads, permutations, teachers and hints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compression.data.batches import DeviceRows
from compression.data.dataset import Dataset, Rows
from compression.data.scores import log_loss
from compression.models.structure import attentions
from compression.observe.importance import loss_of, permutation_importance
from compression.observe.saliency import gradient_scores, head_scores
from compression.spec.hook import Hook
from compression.testing.steps import apply, ordered_dataset
from compression.testing.tiny import TINY_FOREIGN, tiny_model
from compression.train.hooks.distillation import DistillationHook, soft_loss
from compression.train.hooks.hint import HintHook, hidden_layers, hint_loss
from compression.train.loop import train
from compression.train.losses import binary_cross_entropy
from compression.train.params import TrainParams


class Line(nn.Module):
    """The logit is a weight times x."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.layer.weight, -1.5)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.layer(batch["x"][:, None]).squeeze(-1)


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


def rows_of(n: int = 200) -> DeviceRows:
    """Rows whose label follows x, and whose weights are 0 to 3, higher on one side."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(n, generator=random)
    weight = torch.randint(3, (n,), generator=random) + (x > 0).float()
    label = (torch.rand(n, generator=random) < torch.sigmoid(2 * x)).float()
    return DeviceRows({"x": x}, label, weight / weight.mean())


def copies(rows: DeviceRows) -> DeviceRows:
    """Each row as often as it counts."""
    times = (rows.weight / rows.weight[rows.weight > 0].min()).round().long()
    return DeviceRows({"x": rows.inputs["x"].repeat_interleave(times)}, rows.label.repeat_interleave(times))


def test_a_loss_counts_a_row_as_often_as_its_weight_says():
    model, rows = Line(), rows_of()
    assert loss_of(model, rows) == pytest.approx(loss_of(model, copies(rows)), rel=1e-6)
    assert loss_of(model, rows) != pytest.approx(loss_of(model, DeviceRows(rows.inputs, rows.label)), rel=1e-3)


def test_an_input_dealt_out_anew_is_judged_by_the_weights_of_the_rows():
    model, rows = Line(), rows_of()
    found = permutation_importance(model, rows, "x", generator=torch.Generator().manual_seed(3), n_repeats=1)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        before, after = (model({"x": x}).numpy() for x in (rows.inputs["x"], rows.inputs["x"][order]))
    label, weight = rows.label.numpy(), rows.weight.numpy()
    assert found == pytest.approx(log_loss(after, label, weight) - log_loss(before, label, weight), rel=1e-6)


@pytest.mark.parametrize(("criterion", "times"), [("taylor", 9), ("snip", 3)])
def test_rows_that_count_three_times_move_the_loss_three_times_as_much(criterion, times):
    model, rows = Line(), rows_of()

    def scores(weight: torch.Tensor | None) -> float:
        return float(gradient_scores(model, {"w": model.layer.weight}, DeviceRows(rows.inputs, rows.label, weight),
                                     criterion=criterion, loss=binary_cross_entropy, batch_size=64, n_batches=2,
                                     generator=torch.Generator().manual_seed(0))["w"])

    assert scores(torch.full((200,), 3.0)) == pytest.approx(times * scores(None), rel=1e-5)


def test_heads_are_worth_what_the_rows_that_count_say(dataset):
    model = tiny_model(next(iter(TINY_FOREIGN)), dataset)
    split = dataset.splits["train"]
    inputs = {name: torch.from_numpy(values[:64]) for name, values in split.inputs.items()}
    label, half = torch.from_numpy(split.label[:64]), torch.arange(64) % 2 == 0

    def scores(chosen: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        rows = DeviceRows({name: values[chosen] for name, values in inputs.items()}, label[chosen], weight)
        return next(iter(head_scores(model, dict(attentions(model)), rows, loss=binary_cross_entropy, batch_size=64,
                                     n_batches=1, generator=torch.Generator().manual_seed(0)).values()))

    torch.testing.assert_close(scores(torch.ones_like(half), 2.0 * half), scores(half, None), rtol=1e-4, atol=1e-8)


def test_teachers_and_hints_say_more_of_rows_that_count_more(dataset):
    teacher = tiny_model("deepfm", dataset)
    batch = {name: torch.from_numpy(values[:8]) for name, values in dataset.splits["train"].inputs.items()}
    scores, label, weight = torch.randn(8), torch.ones(8), torch.arange(8.0)
    hook = DistillationHook(teacher, alpha=1.0, temperature=2.0)
    hook.on_start(teacher, 1)
    with torch.no_grad():
        each = [soft_loss(scores[row:row + 1], teacher(batch)[row:row + 1], 2.0) for row in range(8)]
    torch.testing.assert_close(hook.loss(batch, scores, label, torch.tensor(0.0), weight),
                               (torch.stack(each) * weight).mean())
    said, hint = torch.randn(8, 3), torch.randn(8, 3)
    torch.testing.assert_close(hint_loss(said, hint, torch.ones(8)), hint_loss(said, hint))
    only_first = hint_loss(said, hint, torch.tensor([8.0, *[0.0] * 7])) / hint_loss(said, hint)
    torch.testing.assert_close(only_first, (said[0] - hint[0]).square().mean() / (said - hint).square().mean())


def test_hints_take_the_weights_they_are_given(dataset):
    teacher, student = (tiny_model("deepfm", dataset, seed=seed) for seed in (0, 1))
    batch = {name: torch.from_numpy(values[:8]) for name, values in dataset.splits["train"].inputs.items()}
    layer = hidden_layers(teacher)[-1]
    found = []
    for weight in (None, torch.zeros(8)):
        hook = HintHook(teacher, ((layer, layer),), weight=1.0, seed=0)
        hook.on_start(student, 1)
        student.train()(batch)
        found.append(hook.loss(batch, torch.zeros(8), torch.zeros(8), torch.tensor(0.0), weight).item())
        hook.on_end(student)
    assert found[0] > 0 and found[1] == 0


class Kept(Hook):
    """What a training hands on."""

    def __init__(self) -> None:
        self.weights: list[float] = []

    def loss(self, batch, logits, label, loss, weight=None):
        self.weights += weight.tolist()
        return loss


def test_a_training_hands_the_weights_of_its_rows_to_hooks(dataset):
    split = dataset.splits["train"]
    weight = np.arange(len(split)).astype(np.float32)
    splits = dataset.splits | {"train": Rows(split.inputs, split.label, split.user, weight)}
    hook = Kept()
    weighted = Dataset(dataset.description, dataset.signature, dataset.vocabularies, splits)
    train(tiny_model("lr", dataset), weighted, TrainParams(epochs=1, batch_size=64), seed=0, hooks=[hook])
    assert sorted(hook.weights) == pytest.approx((weight / weight.mean()).tolist(), rel=1e-5)


def test_mixed_precision_judged_by_the_loss_counts_rows_by_weight(dataset):
    model = tiny_model("deepfm", dataset, trained=True)

    def told(weight: np.ndarray | None) -> list[str]:
        split = dataset.splits["valid"]
        splits = dataset.splits | {"valid": Rows(split.inputs, split.label, split.user, weight)}
        weighted = Dataset(dataset.description, dataset.signature, dataset.vocabularies, splits)
        given = apply("quantize.mixed", model, weighted, bits=4.5, judged_by="loss")
        return [change.detail for change in given.changes]

    ones = np.ones(len(dataset.splits["valid"]), np.float32)
    assert told(None) == told(ones) != told(np.arange(len(ones)).astype(np.float32))
