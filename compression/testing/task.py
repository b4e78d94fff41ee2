"""The contract of a task: what it names exists, and a model can be trained for it and measured by it.

    class TestMine(TaskContract):
        key = "mine"
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from compression.data.batches import score_rows, to_device
from compression.data.dataset import Dataset, Rows
from compression.data.encode import fit
from compression.measure.quality import QUALITY, measure_quality
from compression.measure.ratings import as_chances
from compression.models import zoo
from compression.spec.data_description import DataDescription
from compression.spec.metrics import METRICS
from compression.spec.task import TASKS, Task
from compression.spec.values import Value
from compression.tasks.verdict import sentence
from compression.train.loop import train
from compression.train.losses import task_loss
from compression.train.params import TrainParams
from compression.train.validation import validation_scores

USERS = 40  # more than an interval over users needs
ROWS_A_USER = 15  # more than the ten best


def described(key: str) -> DataDescription:
    """A dataset of the task that leaves to it what can be left to it."""
    return DataDescription.model_validate({
        "name": "made", "files": {"all": "rows.csv"}, "task": key, "label": {"column": "label"}, "columns": [
            {"name": "label", "role": "label"}, {"name": "user", "role": "user"}, {"name": "age", "role": "number"},
            {"name": "time", "role": "time"}]})


def made(key: str) -> Dataset:
    """Rows in which a high age makes a positive likely, for every user alike."""
    import polars as pl

    random = np.random.default_rng(0)
    user = np.repeat(np.arange(USERS), ROWS_A_USER)
    age = random.normal(size=len(user)).astype(np.float32)
    label = (random.random(len(user)) < 1 / (1 + np.exp(-2 * age))).astype(np.float32)
    description = described(key)
    signature, vocabularies = fit(pl.DataFrame({"user": [f"u{one}" for one in user], "age": age}), description)
    rows = Rows({"user": user + 1, "age": age}, label, user)
    return Dataset(description, signature, vocabularies, {"train": rows, "valid": rows, "test": rows})


class TaskContract:
    """What holds for every task."""

    key: str

    @pytest.fixture
    def task(self) -> Task:
        return TASKS[self.key]

    def test_it_has_words(self, task):
        assert task.key == self.key and task.title.strip() and task.label_help.strip().endswith(".")

    def test_its_metrics_are_of_quality_and_can_be_measured(self, task):
        assert task.metrics and len(set(task.metrics)) == len(task.metrics)
        assert all(METRICS[key].group == "quality" and key in QUALITY for key in task.metrics)

    def test_a_loss_of_the_first_metric_can_be_negligible(self, task):
        assert 0 < task.tolerance < math.inf and math.isfinite(task.positive_from)

    def test_its_loss_falls_where_scores_move_towards_the_label(self, task):
        logits = torch.zeros(6, requires_grad=True)
        label = torch.tensor([0.0, 1.0] * 3)
        loss = task_loss(task.key)(logits, label)
        loss.backward()
        assert loss.shape == () and torch.isfinite(loss)
        assert ((logits.grad > 0) == (label == 0)).all()

    def test_some_epoch_is_the_best_whatever_the_rows(self, task):
        logits = np.linspace(-1, 1, 8).astype(np.float32)
        for label in (np.zeros(8), np.ones(8), np.arange(8) % 2):
            scores = validation_scores(task.stopping, logits, label.astype(np.float32))
            assert any(value is not None and math.isfinite(value) for value in scores.values())
        assert all(key in METRICS for key in task.stopping)

    def test_its_scores_can_be_measured(self, task):
        assert task.output_form in ("probability", "logit", "rating")

    def test_a_description_takes_from_it_what_it_does_not_say(self, task):
        description = described(task.key)
        assert description.task == task.key
        assert description.split.kind == task.split and description.label.at_least == task.positive_from

    def test_a_model_is_trained_for_it_and_measured_by_it(self, task):
        dataset = made(task.key)
        assert dataset.signature.task == task.key and dataset.signature.output_form == task.output_form
        model = zoo.build("lr", dataset.signature, {}, seed=0)
        outcome = train(model, dataset, TrainParams(epochs=2, batch_size=64), task=task.key)
        assert outcome.best_epoch > 0 and outcome.start.metric in task.stopping
        rows = dataset.splits["test"]
        scores = score_rows(model, to_device(rows))
        if task.output_form == "probability":
            scores = 1 / (1 + np.exp(-scores))
        scores = as_chances(scores, dataset.signature, dataset.description)
        found = measure_quality(scores, np.full(len(rows), 0.5), rows, task=task.key, split="test")
        first = found[0]
        assert first.metric == task.primary_metric and first.difference is not None
        assert METRICS[first.metric].better(first.value, first.value - first.difference)
        assert first.n == len(rows) if task.unit == "row" else first.n <= USERS

    def test_its_verdict_can_be_said(self, task):
        said = sentence("A run", {"size_bytes": Value(5e6, baseline=10e6)}, task=task.key)
        assert f"{METRICS[task.primary_metric].title} not measured" in said
