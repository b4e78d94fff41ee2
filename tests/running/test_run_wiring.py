"""What a run knows reaches those who need it: methods, training, the cache of steps, the measurements, the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compression.data.encode import load_dataset
from compression.export.parity import Parity
from compression.measure.ratings import as_chances
from compression.models import zoo
from compression.models.files import load_model, save_model
from compression.models.folder import LoadedModel
from compression.running import first_look as looking
from compression.running import reference
from compression.running import run as running
from compression.running.first_look import first_look
from compression.running.machine import cache_origin
from compression.running.reference import train_reference
from compression.running.run import apply_recipe, run
from compression.running.step_cache import StepCache
from compression.spec.errors import ExportError
from compression.spec.hook import Hook
from compression.spec.method import Applied, Context, copy_structure
from compression.spec.records import WARNING, Progress, Recipe, RunSpec, Step, Target, TrainSpec
from compression.testing.tiny import write_tiny_data
from tests.data.write import click_rows, write_data

TARGET = Target(batch_sizes=(8,), threads=2, graph_optimization="basic")
STEPS = (Step(method="prune.magnitude"), Step(method="train.fine_tune", params={"epochs": 1}),
         Step(method="embed.quantize_rows"))


def made(folder: Path, *, output_form: str = "probability") -> tuple[Path, Path]:
    """Folders of an untrained tiny DeepFM and of its dataset."""
    data, model = write_tiny_data(folder / "data", rows=600), folder / "model"
    dataset = load_dataset(data)
    module = zoo.build("deepfm", dataset.signature, {}, seed=0)
    signature = dataset.signature.model_copy(update={"output_form": output_form})
    save_model(model, LoadedModel(module, signature, dataset.vocabularies, "deepfm", module.config))
    return model, data


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    return made(tmp_path_factory.mktemp("made"))


@pytest.fixture
def untimed(monkeypatch) -> list[int]:
    """Latency is not measured; gives the seeds it was asked with."""
    seeds: list[int] = []

    def measured(path, baseline_path, rows, target, *, seed, report):
        seeds.append(seed)
        return [], []

    monkeypatch.setattr(running, "measure_latency", measured)
    return seeds


@pytest.fixture
def lent(monkeypatch) -> list[Context]:
    """What each step was lent; a step gives back its model in new modules, and a hook."""
    contexts: list[Context] = []

    def applied(chosen, model, params, context):
        contexts.append(context)
        return Applied(copy_structure(model), skipped=[context.skip("tables.user", f"left alone {context.step}")],
                       hooks=[] if chosen.trains else [Hook()])

    monkeypatch.setattr(running, "apply_gated", applied)
    return contexts


def ran(folders: tuple[Path, Path], folder: Path, **options):
    recipe = options.pop("recipe", Recipe(steps=STEPS, seed=7))
    spec = RunSpec(model="m", data="d", recipe=recipe, target=TARGET)
    return run(spec, model_folder=folders[0], data_folder=folders[1], folder=folder, **options)


@pytest.mark.slow
def test_a_step_is_lent_all_that_the_run_knows(folders, tmp_path, untimed, lent):
    def timer(*given):
        return {}

    seen: list[Progress] = []
    result, _ = ran(folders, tmp_path, report=seen.append, time_layers=timer)
    assert [context.step for context in lent] == [0, 1, 2] and {context.seed for context in lent} == {7}
    assert {context.target for context in lent} == {TARGET}
    assert all(context.time_layers is timer for context in lent)
    assert len({context.folder for context in lent}) == 3
    assert [context.method for context in lent] == [step.method for step in STEPS]
    counts = load_dataset(folders[1]).frequencies("item")
    assert all(context.frequencies["tables.item"].tolist() == counts.tolist() for context in lent)
    lent[0].report(Progress(stage="a step"))
    assert seen[-1].stage == "a step"
    assert [skip.reason for skip in result.skipped] == ["left alone 0", "left alone 1", "left alone 2"]


def test_the_teacher_is_the_uploaded_model_whatever_earlier_steps_made(folders, tmp_path, untimed, lent):
    loaded = load_model(folders[0])
    dataset = load_dataset(folders[1], signature=loaded.signature, vocabularies=loaded.vocabularies)
    apply_recipe(loaded, Recipe(steps=STEPS), dataset, folder=tmp_path, report=lambda progress: None)
    assert all(context.teacher is loaded.module for context in lent)


@pytest.mark.slow
def test_hooks_reach_the_next_training_and_none_after_it(folders, tmp_path, untimed, lent):
    ran(folders, tmp_path, report=lambda progress: None)
    assert [len(context.hooks) for context in lent] == [0, 1, 0]


@pytest.mark.slow
def test_requests_for_the_latency_are_drawn_with_the_recipes_seed(folders, tmp_path, untimed):
    ran(folders, tmp_path, report=lambda progress: None, recipe=Recipe(seed=7))
    assert untimed == [7]


@pytest.mark.slow
def test_a_run_takes_its_steps_from_the_cache_that_it_is_given(folders, tmp_path, untimed, monkeypatch):
    monkeypatch.setattr("compression.running.step_cache.DISK_BYTES_PER_S", 1e12)  # tiny: worth keeping
    cache = StepCache(tmp_path / "steps", ("m", "d"))
    first, again = (ran(folders, tmp_path / name, report=lambda progress: None, cache=cache,
                        recipe=Recipe(steps=STEPS[2:]))[0] for name in ("a", "b"))
    assert (first.cached_steps, again.cached_steps) == (0, 1)


@pytest.mark.slow
def test_a_run_whose_file_disagrees_with_its_model_fails(folders, tmp_path, untimed, monkeypatch):
    export = running.export_onnx

    def another(model, signature, path):
        other = zoo.build("deepfm", load_dataset(folders[1]).signature, {}, seed=1)
        return export(other.eval() if path.parent.name == "model" else model, signature, path)

    monkeypatch.setattr(running, "export_onnx", another)
    with pytest.raises(ExportError, match="disagrees with torch"):
        ran(folders, tmp_path, report=lambda progress: None, recipe=Recipe(steps=STEPS[2:]))


@pytest.mark.slow
def test_a_result_says_that_layers_were_compared_alone(folders, tmp_path, untimed, monkeypatch):
    monkeypatch.setattr(running, "check_parity", lambda *given, **options: Parity(0.06, 2e-6, 12))
    result = ran(folders, tmp_path, report=lambda progress: None, recipe=Recipe())[0]
    found = {one.metric: (one.value, one.n) for one in result.measurements if "parity" in one.metric}
    assert found == {"parity_error": (0.06, 12), "layer_parity_error": (2e-6, 12)}


def test_warnings_of_the_data_are_passed_on(tmp_path, untimed):
    write_data(tmp_path, [[*row[:2], f"{row[2]}!", *row[3:]] for row in click_rows()], file="test.csv")
    write_data(tmp_path, files={"train": "clicks.csv", "test": "test.csv"}, split={"kind": "random"})
    dataset = load_dataset(tmp_path)
    module = zoo.build("lr", dataset.signature, {}, seed=0)
    save_model(tmp_path / "m", LoadedModel(module, dataset.signature, dataset.vocabularies, "lr", module.config))
    seen: list[Progress] = []
    ran((tmp_path / "m", tmp_path), tmp_path / "out", report=seen.append, recipe=Recipe())
    assert [one.message[:4] for one in seen if one.stage == WARNING] == ["100%"]


@pytest.mark.slow
def test_scores_are_kept_with_the_user_and_the_label_of_each_row(folders, tmp_path, untimed):
    result, files = ran(folders, tmp_path, report=lambda progress: None, recipe=Recipe())
    rows = load_dataset(folders[1]).splits["test"]
    kept = np.load(files["scores.npz"])
    assert kept["user"].tolist() == rows.user.tolist() and kept["label"].tolist() == rows.label.tolist()
    memory = next(item for item in result.measurements if item.metric == "resident_bytes")
    assert memory.n == min(512, len(rows)) and memory.threads == TARGET.threads


@pytest.mark.slow
def test_ratings_are_measured_as_chances_in_a_run_and_in_the_first_look(tmp_path, untimed, monkeypatch):
    model, data = made(tmp_path, output_form="rating")
    loaded = load_model(model)
    dataset = load_dataset(data, signature=loaded.signature, vocabularies=loaded.vocabularies)
    rows = dataset.splits["test"]
    with torch.no_grad():
        ratings = loaded.module.eval()({name: torch.from_numpy(values) for name, values in rows.inputs.items()})
    expected = as_chances(ratings.numpy(), loaded.signature, dataset.description)
    assert np.abs(expected - ratings.numpy()).max() > 0.1  # no probabilities by luck

    _, files = ran((model, data), tmp_path / "out", report=lambda progress: None, recipe=Recipe())
    kept = np.load(files["scores.npz"])
    assert kept["model"] == pytest.approx(expected, abs=1e-5) == kept["baseline"]

    monkeypatch.setattr(looking, "regression_scores", lambda *given: np.full(len(rows), 0.5))
    look = first_look(model, data, scratch=tmp_path / "scratch", report=lambda progress: None)
    loss = -np.mean(np.where(rows.label > 0.5, np.log(expected), np.log1p(-expected)))
    assert look.problem == "" and look.lines[0].find("logloss").value == pytest.approx(loss, abs=1e-5)


def test_a_reference_model_is_trained_with_what_was_asked_and_keeps_its_checkpoint(folders, tmp_path, monkeypatch):
    given, real = [], reference.train

    def noted(model: nn.Module, dataset, params, **options):
        given.append(options | {"params": params})
        return real(model, dataset, params, **options)

    monkeypatch.setattr(reference, "train", noted)
    spec = TrainSpec(data="d", architecture="lr", training={"epochs": 1}, seed=5)
    _, _, notes = train_reference(spec, data_folder=folders[1], folder=tmp_path, report=print)
    (asked,) = given
    assert (asked["seed"], asked["task"], asked["params"].epochs, asked["report"]) == (5, "ctr", 1, print)
    assert asked["checkpoint"].parent == tmp_path and asked["checkpoint"].exists()
    look = notes["first_look"]
    assert [line.name for line in look.lines] == ["This model", "Constant", "Logistic regression"] and look.rows
    assert f"{look.lines[0].find('auc').value:.4f}" in notes["test_quality"]


def test_what_computes_a_step_decides_whether_the_cache_may_give_it(monkeypatch):
    here = cache_origin("m", "d", code="c")
    room = "compression.running.machine"
    for place, changed in (("torch.get_num_threads", lambda: 99), (f"{room}._processor", lambda: "x"),
                           (f"{room}.compute_device", lambda: "other")):
        with monkeypatch.context() as patch:
            patch.setattr(place, changed)
            assert cache_origin("m", "d", code="c") != here, place
    assert cache_origin("m", "d", code="c") == here
