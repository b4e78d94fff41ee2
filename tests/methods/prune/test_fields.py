"""Field pruning: what says nothing goes first, the file reads fewer inputs, and what stays is exact."""

from __future__ import annotations

import copy
import csv
import json
import subprocess
import sys
import zipfile

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from compression.data.batches import to_device
from compression.data.dataset import Dataset, Rows
from compression.data.encode import load_dataset
from compression.export.onnx import export_onnx
from compression.export.parity import check_parity
from compression.models import zoo
from compression.models.constant_inputs import drop_input, mean_rows, tables_of, without_columns
from compression.models.files import save_model
from compression.models.folder import LoadedModel
from compression.models.snapshot import read_snapshot, write_snapshot
from compression.models.structure import leaves, read_signature
from compression.observe.importance import permutation_importance
from compression.running.run import run
from compression.spec.records import Recipe, RunSpec, Step, Target
from compression.spec.signature import Signature
from compression.testing.steps import apply, apply_all, logits, ordered_dataset
from compression.testing.tiny import TINY_CONFIG, tiny_model, write_tiny_data

KEY = "prune.fields"


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def deaf(dataset):
    """A trained model in which every genre has the same vectors, so that genres say nothing."""
    model = tiny_model("deepfm", dataset, trained=True)
    with torch.no_grad():
        for table in (model.tables.genres, model.first_order.genres):
            table.weight[:] = table.weight[1]
    return model


def test_an_input_the_model_does_not_listen_to_has_importance_zero_and_goes_first(deaf, dataset):
    rows = to_device(dataset.splits["valid"])
    importance = {name: permutation_importance(deaf, rows, name, generator=torch.Generator().manual_seed(0),
                                               n_repeats=5) for name in rows.inputs}
    assert abs(importance["genres"]) < 1e-8 and min(importance["user"], importance["item"]) > 0.01
    given = apply(KEY, deaf, dataset)
    assert given.model.dropped_inputs == ("genres",)
    full = (dataset.splits["test"].inputs["genres"] != 0).any(1)  # a row without any genre gave zeros before
    before, after = logits(deaf, dataset)[full], logits(given.model, dataset)[full]
    torch.testing.assert_close(after, before, atol=2e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", TINY_CONFIG)
@pytest.mark.parametrize("n_fields", [1, 3])
def test_the_exported_file_has_fewer_inputs_and_agrees_with_torch(architecture, n_fields, dataset, tmp_path):
    model = tiny_model(architecture, dataset, trained=True)
    pruned = apply(KEY, model, dataset, n_fields=n_fields, max_rows=200).model
    path = export_onnx(pruned, dataset.signature, tmp_path / "model.onnx").path
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    assert names == [item.name for item in read_signature(pruned, dataset.signature).inputs]
    assert len(names) == 4 - n_fields and not set(names) & set(pruned.dropped_inputs)
    assert check_parity(pruned, dataset.signature, path, dataset.splits["test"], target=Target()).error < 1e-5
    rows = {name: torch.from_numpy(dataset.splits["test"].inputs[name]) for name in names}
    assert torch.equal(pruned(rows), logits(pruned, dataset))  # the batch need not hold what is not read


def test_a_dropped_input_becomes_its_mean_and_its_table_one_row(dataset):
    model = tiny_model("fm", dataset, trained=True)
    given = apply(KEY, model, dataset, n_fields=1, among="tables", judged_by="mean")
    (name,) = given.model.dropped_inputs
    ids = torch.from_numpy(dataset.splits["train"].inputs[name])
    row = given.model.get_submodule(f"tables.{name}").row
    if ids.dim() == 1:
        torch.testing.assert_close(row, model.get_submodule(f"tables.{name}")(ids).mean(0))
    assert f"tables.{name}" not in given.model.table_inputs
    saved = sum(change.bytes_before - change.bytes_after for change in given.changes)
    n_rows = dataset.signature.input(name).cardinality
    assert saved == 4 * (n_rows - 1) * (row.numel() + 1)  # the table and its column of first-order weights


@pytest.mark.parametrize("architecture", TINY_CONFIG)
@pytest.mark.parametrize("n_fields", [1, 2])
def test_what_is_left_is_the_model_with_every_id_at_the_mean(architecture, n_fields, dataset):
    """Columns of the first dense layer go with the field, and the scores are those of the constant all the same."""
    model = tiny_model(architecture, dataset, trained=True)
    pruned = apply(KEY, model, dataset, n_fields=n_fields, among="tables").model
    reference, full = copy.deepcopy(model), np.ones(len(dataset.splits["test"]), bool)
    for name in pruned.dropped_inputs:
        item, ids = dataset.signature.input(name), torch.from_numpy(dataset.splits["train"].inputs[name])
        for path, row in mean_rows(model, tables_of(model, item), ids).items():
            reference.get_submodule(path).weight.data[:] = row
        if item.kind == "multi":
            full = (dataset.splits["test"].inputs[name] != 0).any(1)
    torch.testing.assert_close(logits(pruned, dataset)[full], logits(reference, dataset)[full], atol=2e-5, rtol=0)
    if architecture in ("deepfm", "widedeep", "dcnv2"):
        assert pruned.mlp[0].in_features == model.mlp[0].in_features - 4 * n_fields
        assert ("tables." + pruned.dropped_inputs[0] in dict(leaves(pruned))) == (architecture != "widedeep")


def test_a_layer_without_the_columns_of_a_constant_computes_the_same():
    linear, x, constant = nn.Linear(7, 3), torch.randn(5, 7), torch.tensor([0.5, -2.0])
    x[:, 2:4] = constant
    narrow = without_columns(linear, 2, constant)
    assert narrow.in_features == 5
    torch.testing.assert_close(narrow(x[:, [0, 1, 4, 5, 6]]), linear(x))


def test_numbers_leave_the_bottom_of_a_dlrm_one_by_one(dataset):
    age = dataset.signature.input("age")
    signature = Signature(inputs=(*dataset.signature.inputs, age.model_copy(update={"name": "other"})))
    splits = {name: Rows(rows.inputs | {"other": rows.inputs["age"][::-1].copy() + 1}, rows.label, rows.user)
              for name, rows in dataset.splits.items()}
    both = Dataset(dataset.description, signature, dataset.vocabularies, splits)
    model = tiny_model("dlrm", both)
    one = copy.deepcopy(model)
    drop_input(one, signature.input("other"), {}, 1.0)
    assert one.numbers == ("age",) and one.bottom[0].in_features == 1
    splits["test"].inputs["other"][:] = 1
    torch.testing.assert_close(logits(one, both), logits(model, both), atol=1e-6, rtol=0)


def test_a_limit_on_the_loss_ends_the_dropping(dataset):
    model = tiny_model("deepfm", dataset, trained=True)
    assert len(apply(KEY, model, dataset, n_fields=64).model.dropped_inputs) == 3  # one always stays
    few = apply(KEY, model, dataset, n_fields=64, max_rise=0.01).model
    assert len(getattr(few, "dropped_inputs", ())) < 3


@pytest.mark.slow
def test_inputs_go_in_two_steps_after_rows_were_pruned_and_live_through_training_and_the_cache(dataset, tmp_path):
    model = tiny_model("deepfm", dataset, trained=True)
    steps = [("embed.prune_rows", {"min_rows": 2, "keep": 0.3}), (KEY, {}), (KEY, {}),
             ("train.fine_tune", {"epochs": 1, "batch_size": 256})]
    result = apply_all(model, dataset, *steps)
    assert len(set(result.dropped_inputs)) == 2
    assert write_snapshot(tmp_path / "kept", result, {})
    read = read_snapshot(tmp_path / "kept")[0]
    assert read.dropped_inputs == result.dropped_inputs
    assert torch.equal(logits(read, dataset), logits(result, dataset))
    path = export_onnx(read, dataset.signature, tmp_path / "model.onnx").path
    assert check_parity(read, dataset.signature, path, dataset.splits["test"], target=Target()).error < 1e-5


@pytest.mark.slow
def test_a_run_measures_and_bundles_a_file_that_asks_for_no_dropped_column(tmp_path):
    data, stored = write_tiny_data(tmp_path / "data"), tmp_path / "model"
    loaded = load_dataset(data)
    module = zoo.build("deepfm", loaded.signature, TINY_CONFIG["deepfm"], seed=0)
    save_model(stored, LoadedModel(module, loaded.signature, loaded.vocabularies, "deepfm", module.config))
    spec = RunSpec(model="m", data="d", target=Target(batch_sizes=(8,)),
                   recipe=Recipe(name="fewer", steps=(Step(method=KEY, params={"n_fields": 2}),)))
    result, files = run(spec, model_folder=stored, data_folder=data, folder=tmp_path / "run",
                        report=lambda progress: None)
    assert {"auc", "size_bytes", "latency_ratio"} <= {item.metric for item in result.measurements}
    with zipfile.ZipFile(files["bundle.zip"]) as bundle:
        bundle.extractall(tmp_path / "bundle")
    inputs = json.loads((tmp_path / "bundle" / "signature.json").read_text())["signature"]["inputs"]
    columns = {item["column"] for item in inputs}
    assert len(columns) == 2
    card = (tmp_path / "bundle" / "README.md").read_text()
    asked = ", ".join(f"`{item['column']}`" for item in inputs)
    assert f"It reads {asked}." in card
    with (data / "clicks.csv").open(newline="") as file, (tmp_path / "rows.csv").open("w", newline="") as out:
        rows = list(csv.DictReader(file))[-300:]
        writer = csv.DictWriter(out, sorted(columns), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    printed = subprocess.run([sys.executable, tmp_path / "bundle" / "predict.py", tmp_path / "rows.csv"],
                             capture_output=True, text=True, check=True).stdout
    np.testing.assert_allclose(np.array(printed.split(), float), np.load(files["scores.npz"])["model"], atol=1e-5)
