"""TensorBoard gets every epoch while the training runs, where it is installed and a folder was named."""

from __future__ import annotations

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from compression.cli import run as run_command
from compression.cli import train as train_command
from compression.cli.given import events_folder
from compression.data.encode import load_dataset
from compression.models import zoo
from compression.running.run import apply_recipe
from compression.spec.errors import ModelError
from compression.spec.recipe import fine_tune_step
from compression.spec.records import Progress, Recipe
from compression.testing.tiny import write_tiny_data
from compression.train import events
from compression.train.loop import train
from compression.train.params import TrainParams


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(write_tiny_data(tmp_path_factory.mktemp("data"), rows=400))


def scalars(folder):
    """{name: {epoch: value}} of what TensorBoard reads there."""
    found = EventAccumulator(str(folder)).Reload()
    return {name: {event.step: event.value for event in found.Scalars(name)} for name in found.Tags()["scalars"]}


def test_each_epoch_is_there_before_the_next_ends(dataset, tmp_path):
    seen = []

    def watch(progress: Progress) -> None:
        if tmp_path.exists() and list(tmp_path.glob("events*")):
            seen.append(max(scalars(tmp_path).get("train/auc", {0: 0})))

    model = zoo.build("lr", dataset.signature, {}, seed=0)
    outcome = train(model, dataset, TrainParams(epochs=3, batch_size=64), events=tmp_path, report=watch)
    written = scalars(tmp_path)
    assert written["train/auc"] == pytest.approx({one.epoch: one.valid["auc"] for one in (outcome.start,
                                                                                          *outcome.history)})
    assert written["train/train_loss"] == pytest.approx({one.epoch: one.train_loss for one in outcome.history})
    assert 1 in seen, "nothing was readable before the training had ended"


def test_a_fine_tuning_in_a_recipe_writes_below_its_step(dataset, tmp_path):
    from compression.models.folder import LoadedModel

    model = zoo.build("lr", dataset.signature, {}, seed=0)
    loaded = LoadedModel(model, dataset.signature, dataset.vocabularies, "lr", model.config)
    recipe = Recipe(steps=(fine_tune_step(epochs=1, batch_size=64),))
    apply_recipe(loaded, recipe, dataset, folder=tmp_path, report=lambda progress: None, events=tmp_path / "events")
    assert set(scalars(tmp_path / "events" / "step-0")) == {f"fine-tune/{name}" for name in ("train_loss", "auc",
                                                                                            "logloss")}


def test_without_a_folder_or_without_the_package_nothing_is_written(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(events, "is_installed", lambda: False)
    with events.epoch_events(tmp_path / "none", "train") as write:
        write(None)
    with events.epoch_events(None, "train") as write:
        write(None)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [run_command, train_command])
def test_a_command_says_what_is_missing_and_takes_the_folder(command, monkeypatch, tmp_path):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    needed = {"run": ["--model", "m", "--recipe", "r"], "train": []}[command.__name__.split(".")[-1]]
    options = parser.parse_args([*needed, "--data", "d", "--out", "o", "--tensorboard", str(tmp_path)])
    assert events_folder(options) == tmp_path
    monkeypatch.setattr(events, "is_installed", lambda: False)
    with pytest.raises(ModelError, match="pip install tensorboard"):
        events_folder(options)


def test_the_weights_are_the_same_with_and_without_events(dataset, tmp_path):
    models = []
    for folder in (None, tmp_path):
        models.append(zoo.build("lr", dataset.signature, {}, seed=0))
        train(models[-1], dataset, TrainParams(epochs=1, batch_size=64), events=folder)
    assert all(map(torch.equal, models[0].state_dict().values(), models[1].state_dict().values()))
