"""Rows of a batch by what one row makes of itself: counted exactly, and what is asked in parts gives what it gave."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compression.data import rows_that_fit as fitting
from compression.data.batches import score_rows, to_device
from compression.data.rows_that_fit import RowBytes, row_bytes, rows_that_fit
from compression.observe.calibration import calibration_batches
from compression.observe.logit_gradients import logit_gradients
from compression.observe.saliency import gradient_scores
from compression.spec.hook import Hook
from compression.spec.method import Context
from compression.spec.session import BATCH, rows_of_a_call
from compression.testing.steps import ordered_dataset
from compression.testing.tiny import tiny_model
from compression.train.loop import train
from compression.train.losses import binary_cross_entropy
from compression.train.params import TrainParams


class Squares(nn.Module):
    """(B, 6) → (B,): a view, a product with a matrix made anew at every call, a table of all pairs, sums."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6, 4))

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        x = batch["x"].view(-1, 6) @ (self.weight + 1)  # (B, 4)
        pairs = x.unsqueeze(1) * x.unsqueeze(2)  # (B, 4, 4)
        return pairs.sum((1, 2))


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture
def narrow(monkeypatch):
    """Three rows of this dataset's models fit at a time, or few more."""
    def allow(n_bytes: int) -> None:
        monkeypatch.setattr(fitting, "BATCH_BYTES", n_bytes)
    return allow


def sizes_of(model: nn.Module, seen: list[int]):
    return model.register_forward_pre_hook(lambda module, given: seen.append(len(next(iter(given[0].values())))))


def test_bytes_of_a_row_are_those_of_its_values_without_views_and_what_the_model_makes_for_itself():
    found = row_bytes(Squares(), {"x": torch.randn(9, 6)})
    assert found == RowBytes(total=4 * (4 + 16 + 1), largest=4 * 16)
    assert row_bytes(Squares(), {"x": torch.randn(1, 6)}) == (0, 0)


def test_as_many_rows_fit_as_their_bytes_allow(narrow):
    narrow(84 * 10)
    inputs = {"x": torch.randn(50, 6)}
    assert rows_that_fit(Squares(), inputs, 50, gradient=True) == 10
    assert rows_that_fit(Squares(), inputs, 7, gradient=True) == 7
    assert rows_that_fit(Squares(), inputs, 50) == 84 * 10 // (fitting.HELD * 64)
    narrow(1)
    assert rows_that_fit(Squares(), inputs, 50) == 1
    assert RowBytes(100, 10).within(1000, most=50) == 10 and RowBytes(100, 10).within(10, most=50) == 1


@pytest.mark.parametrize(("shapes", "expected"), [
    ([(9,), (9,)], BATCH), ([(9, 4), (9, 4)], BATCH), ([(9, 48)] * 4, 170), ([(9, 512)] * 4, 16), ([(9, 10**6)], 1)])
def test_a_call_of_an_open_file_has_the_fewer_rows_the_more_places_they_have(shapes, expected):
    assert rows_of_a_call({str(place): np.zeros(shape) for place, shape in enumerate(shapes)}) == expected


def test_scores_in_parts_are_the_scores(dataset, narrow):
    model, rows, seen = tiny_model("deepfm", dataset), to_device(dataset.splits["train"]), []
    whole = score_rows(model, rows)
    narrow(20_000)
    with_sizes = sizes_of(model, seen)
    assert np.allclose(score_rows(model, rows), whole, atol=1e-6)
    with_sizes.remove()
    assert seen[:2] == [2, 4] and max(seen) < 100 and sum(seen[2:]) == len(rows)


@pytest.mark.parametrize("criterion", ["taylor", "snip"])
def test_gradients_of_parts_add_up_to_those_of_the_batch(dataset, narrow, criterion):
    model, rows, seen = tiny_model("deepfm", dataset), to_device(dataset.splits["train"]), []
    weights = {"mlp.0": model.mlp[0].weight, "tables.item": model.tables["item"].weight}

    def scores() -> dict[str, torch.Tensor]:
        return gradient_scores(model, weights, rows, criterion=criterion, loss=binary_cross_entropy, batch_size=200,
                               n_batches=3, generator=torch.Generator().manual_seed(1))

    whole = scores()
    narrow(20_000)
    with_sizes = sizes_of(model, seen)
    parts = scores()
    with_sizes.remove()
    assert max(seen) < 100 and sum(seen[2:]) == 3 * 200
    for path in weights:
        torch.testing.assert_close(parts[path], whole[path], rtol=1e-3, atol=1e-9)


def test_gradients_of_a_logit_and_calibration_are_asked_in_parts(dataset, narrow):
    model, seen = tiny_model("deepfm", dataset), []

    def gradients() -> dict[str, float]:
        return logit_gradients(model, dataset.splits["train"], ["tables.item"], np.random.default_rng(0))

    whole = gradients()
    narrow(20_000)
    with_sizes = sizes_of(model, seen)
    assert gradients() == pytest.approx(whole, rel=1e-5) and max(seen) < 100
    with_sizes.remove()
    batches = calibration_batches(model, 1, Context(dataset=dataset), title="It", instead="another")
    assert max(len(one["user"]) for one in batches) < 100
    assert sum(len(one["user"]) for one in batches) == min(512, len(dataset.splits["train"]))


class Spanning(Hook):
    spans_rows = True


@pytest.mark.parametrize(("hooks", "batch_norm", "in_parts"), [
    ((), False, True), ((Spanning(),), False, False), ((), True, False)])
def test_a_step_in_parts_moves_weights_as_the_whole_batch_does(dataset, narrow, hooks, batch_norm, in_parts):
    def trained(seen: list[int]) -> nn.Module:
        model = tiny_model("deepfm", dataset, dropout=0.0, batch_norm=batch_norm)
        with_sizes = sizes_of(model, seen)
        train(model, dataset, TrainParams(epochs=1, batch_size=256), hooks=hooks)
        with_sizes.remove()
        return model

    sizes: list[int] = []
    whole = trained([])
    narrow(20_000)
    parts = trained(sizes)
    assert (max(sizes) < 100) == in_parts
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], weight, rtol=1e-3, atol=1e-5)
