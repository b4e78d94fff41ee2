"""Fine-tuning as a step: it recovers what pruning cost, runs the hooks it is lent, and leaves its input alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from compression.spec.errors import RecipeError
from compression.spec.hook import Hook
from compression.spec.method import METHODS
from compression.testing.steps import apply, context, logits, ordered_dataset
from compression.testing.tiny import tiny_model


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


def loss(model, dataset) -> float:
    return float(binary_cross_entropy_with_logits(logits(model, dataset),
                                                  torch.from_numpy(dataset.splits["test"].label)))


def test_it_wins_back_what_pruning_cost(dataset):
    """Han et al. 2015: retraining what is left recovers most of the loss."""
    model = tiny_model("deepfm", dataset, trained=True)
    pruned = apply("prune.channels", model, dataset, ratio=0.9, round_to=1)
    tuned = apply("train.fine_tune", pruned.model, dataset, epochs=5, batch_size=128, patience=5)
    assert loss(model, dataset) < loss(pruned.model, dataset)
    assert loss(tuned.model, dataset) < loss(pruned.model, dataset)
    assert all("validation AUC" in change.detail for change in tuned.changes)


def test_hooks_of_earlier_steps_are_run(dataset):
    class Counting(Hook):
        steps, ended = 0, False

        def after_step(self, model, step, total_steps):
            self.steps = step

        def on_end(self, model):
            self.ended = True

    hook = Counting()
    apply("train.fine_tune", tiny_model("fm", dataset), dataset, hooks=[hook], epochs=2, batch_size=700)
    assert hook.steps == 4 and hook.ended


def test_a_killed_run_goes_on_from_the_steps_folder(dataset, tmp_path):
    model = tiny_model("fm", dataset)
    method = METHODS["train.fine_tune"]
    params = method.parse({"epochs": 2, "batch_size": 256})
    first = method(model, params, context(model, dataset, folder=tmp_path)).model
    assert (tmp_path / "fine-tune.ckpt").exists()
    again = method(model, params, context(model, dataset, folder=tmp_path)).model
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))


def test_without_rows_it_says_what_is_missing(dataset):
    with pytest.raises(RecipeError, match="needs rows to train on"):
        apply("train.fine_tune", tiny_model("fm", dataset), None)


def test_the_training_is_given_all_that_the_step_was_lent(dataset, tmp_path, monkeypatch):
    from compression.train import loop

    given, real = [], loop.train

    def noted(model, rows, params, **options):
        given.append((rows, params, options))
        return real(model, rows, params, **options | {"task": "ctr"})

    monkeypatch.setattr(loop, "train", noted)
    other = replace(dataset, description=dataset.description.model_construct(
        **dict(dataset.description) | {"task": "another"}))
    method, hooks, model = METHODS["train.fine_tune"], [Hook()], tiny_model("fm", dataset)
    params = method.parse({"epochs": 1, "batch_size": 700})
    lent = context(model, dataset, folder=tmp_path, seed=5, hooks=hooks, report=print,
                   events=tmp_path / "events")
    method(model, params, replace(lent, dataset=other))
    ((rows, asked, options),) = given
    assert rows is other and asked is params
    assert options == {"hooks": hooks, "device": "cpu", "seed": 5, "report": print, "task": "another",
                       "checkpoint": tmp_path / "fine-tune.ckpt", "stage": "fine-tune",
                       "events": tmp_path / "events" / "step-0"}
