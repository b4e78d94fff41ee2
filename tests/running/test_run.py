"""The one way through the engine, on a tiny model and the same records the app uses."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from compression import __main__ as command_line
from compression.data.description import dump_description, load_description
from compression.data.encode import load_dataset
from compression.models import zoo
from compression.models.files import load_model, save_model
from compression.models.folder import LoadedModel
from compression.running.first_look import first_look
from compression.running.run import apply_recipe, run
from compression.spec.data_description import Split
from compression.spec.errors import RecipeError
from compression.spec.records import Measurement, Progress, Recipe, Result, RunSpec, Step, Target
from compression.testing.tiny import write_tiny_data
from tests.data.write import click_rows, write_data

TARGET = Target(batch_sizes=(8,))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of an untrained tiny DeepFM and of its dataset."""
    data, model = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("model")
    write_tiny_data(data)
    dataset = load_dataset(data)
    module = zoo.build("deepfm", dataset.signature, {}, seed=0)
    save_model(model, LoadedModel(module, dataset.signature, dataset.vocabularies, "deepfm", module.config))
    return model, data


def run_recipe(folders: tuple[Path, Path], out: Path, *steps: Step) -> tuple[Result, dict[str, Path], list[Progress]]:
    seen: list[Progress] = []
    spec = RunSpec(model="m", data="d", recipe=Recipe(name="tried", steps=steps), target=TARGET)
    result, files = run(spec, model_folder=folders[0], data_folder=folders[1], folder=out, report=seen.append)
    return result, files, seen


def value(measurements: tuple[Measurement, ...], metric: str) -> Measurement:
    return next(item for item in measurements if item.metric == metric)


def test_an_empty_recipe_reproduces_the_baseline(folders: tuple[Path, Path], tmp_path: Path) -> None:
    result, _, _ = run_recipe(folders, tmp_path)
    auc = value(result.measurements, "auc")
    assert auc.value == value(result.baseline, "auc").value
    assert auc.difference == 0
    assert value(result.measurements, "size_bytes").value == value(result.baseline, "size_bytes").value
    assert result.changes == ()


@pytest.mark.slow
def test_int8_rows_make_the_file_smaller_and_the_stages_are_told(folders: tuple[Path, Path], tmp_path: Path) -> None:
    result, files, seen = run_recipe(folders, tmp_path, Step(method="embed.quantize_rows", params={"n_bits": 8}))
    assert value(result.measurements, "size_bytes").value < value(result.baseline, "size_bytes").value
    assert {"load", "apply", "export", "check parity", "measure latency", "bundle"} <= {item.stage for item in seen}
    scores = np.load(files["scores.npz"])
    assert len(scores["model"]) == len(scores["baseline"]) == len(scores["label"])
    assert set(result.files) >= {"model.onnx", "recipe.yaml", "signature.json", "predict.py"}


@pytest.mark.slow
def test_the_bundle_s_bytes_are_those_of_the_files_that_serving_needs(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    small, files, _ = run_recipe(folders, tmp_path / "small", Step(method="embed.quantize_rows", params={"n_bits": 4}))
    plain, whole, _ = run_recipe(folders, tmp_path / "plain")
    for result, written in ((small, files), (plain, whole)):
        with zipfile.ZipFile(written["bundle.zip"]) as archive:
            held = {entry.filename: entry.file_size for entry in archive.infolist()}
            card = archive.read("README.md").decode()
        counted = {"model.onnx", "model.onnx.data", "signature.json", "vocabularies.json", "predict.py", "cells.py",
                   "text_file.py", "json_text.py", "text_form.py"}
        assert set(held) - counted == {"recipe.yaml", "measurements.json", "README.md", "SHA256SUMS"}
        expected = sum(size for name, size in held.items() if name in counted)
        assert value(result.measurements, "bundle_bytes").value == expected
        assert expected > value(result.measurements, "size_bytes").value + held["vocabularies.json"]
        assert f"| Bundle size (B) | {expected:,} |" in card
    assert value(small.baseline, "bundle_bytes") == value(plain.measurements, "bundle_bytes")
    assert value(small.baseline, "bundle_bytes") == value(plain.baseline, "bundle_bytes")


def test_a_broken_recipe_is_refused_with_its_step(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"Step 1: n_bits of embed.quantize_rows must be one of .*; got 7"):
        run_recipe(folders, tmp_path, Step(method="embed.quantize_rows", params={"n_bits": 7}))


@pytest.mark.slow
def test_the_command_line_runs_a_recipe_and_checks_its_bundle(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("version: 1\nname: small\nsteps:\n  - method: embed.quantize_rows\n    params: {n_bits: 4}\n")
    model, data = map(str, folders)
    words = ["run", "--model", model, "--data", data, "--recipe", str(recipe), "--out", str(tmp_path / "out")]
    assert command_line.main([*words, "--batch-sizes", "4", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    auc = next(item for item in answer["measurements"] if item["metric"] == "auc")
    assert command_line.main(["bundle", answer["written"]["bundle.zip"], "--data", data, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["measured_again"]
    assert next(item for item in again if item["metric"] == "auc")["value"] == auc["value"]


def test_the_command_line_warns_of_test_values_that_train_does_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path, [[*row[:2], f"{row[2]}!", *row[3:]] for row in click_rows()], file="test.csv")
    write_data(tmp_path, files={"train": "clicks.csv", "test": "test.csv"}, split={"kind": "random"})
    words = ["train", "--data", str(tmp_path), "--architecture", "lr", "--set", "epochs=1"]
    assert command_line.main([*words, "--out", str(tmp_path / "out"), "--json"]) == 0
    assert capsys.readouterr().err.startswith("Warning: 100% of the test values of 'item' are unknown to the model")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["samples", "nothing"], "There is no sample 'nothing'"),
        (["inspect", "absent.onnx"], "There is no model at absent.onnx"),
        (["train", "--data", ".", "--architecture", "bert", "--out", "x"], "There is no architecture 'bert'"),
        (["train", "--data", "absent", "--out", "x"], "There is no data.yaml in absent"),
    ],
)
def test_the_command_line_ends_a_mistake_with_one_line_and_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line.main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


@pytest.fixture(scope="module")
def test_rows_alone(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same model, and its dataset with every row in the test split."""
    data = write_tiny_data(tmp_path_factory.mktemp("test-only"), rows=300)
    described = load_description(data)
    files = {"test": described.files["all"]}
    described = described.model_copy(update={"files": files, "split": Split(kind="given")})
    (data / "data.yaml").write_text(dump_description(described))
    return folders[0], data


def test_without_training_rows_steps_that_need_counts_say_so_and_others_work(test_rows_alone, tmp_path):
    loaded = load_model(test_rows_alone[0])
    dataset = load_dataset(test_rows_alone[1], signature=loaded.signature, vocabularies=loaded.vocabularies)
    recipe = Recipe(steps=(Step(method="embed.prune_rows", params={"keep": 0.5, "min_rows": 2}),
                           Step(method="embed.mixed_precision", params={"min_rows": 2}),
                           Step(method="embed.hash", params={"keep": 0.5, "min_rows": 2})))
    outcome = apply_recipe(loaded, recipe, dataset, folder=tmp_path, report=lambda progress: None)
    reasons = {one.reason for one in outcome.skipped if one.step < 2 and "user" in one.module}
    assert reasons == {"how often its rows occur in training is not known"}
    assert {one.step for one in outcome.changes} == {2}


@pytest.mark.parametrize("method", ["train.fine_tune", "quantize.static", "prune.taylor", "prune.fields"])
def test_without_training_rows_a_step_that_learns_is_refused_with_a_sentence(test_rows_alone, tmp_path, method):
    with pytest.raises(RecipeError, match=r"Step 1 \(.*\) learns from training rows, and tiny has test rows alone"):
        run_recipe(test_rows_alone, tmp_path, Step(method=method))


@pytest.mark.slow
def test_without_training_rows_the_first_look_leaves_out_the_regression(test_rows_alone, tmp_path):
    model, data = test_rows_alone
    found = first_look(model, data, scratch=tmp_path, report=lambda progress: None)
    assert [line.name for line in found.lines] == ["This model", "Constant"] and found.rows == 300 and not found.problem
