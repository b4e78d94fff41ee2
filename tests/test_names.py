"""Columns and layers may be called anything: from the file through training, export and bundle to predict.py."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings

import numpy as np
import onnx
import polars as pl
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from compression.data.description import dump_description, make_description
from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.models.structure import leaves
from compression.models.zoo.fields import safe_keys
from compression.running.reference import train_reference
from compression.running.run import run
from compression.spec.names import attribute_name, free_name
from compression.spec.records import Recipe, RunSpec, Step, Target, TrainSpec
from compression.spec.signature import Input, Signature

ODD = ("class", "from", "None", "class_", "user's age", 'size "L"', "a.b", "a_b", "a/b", "a\\b", "a b", "score",
       "score_1", "emoji😀",
       "日本語", "x" * 200, "keys", "forward", "weight", "input_0", "input_1", "0", "val_0", "{x}", "%s", "-", "_x",
       "tables.user.weight", "model.tables.user.weight", "batch", "a=b,c", "a[0]", "a+")
KINDS = ("category", "number", "multi")


def described(folder, names, rows=300):
    """A dataset whose columns have these names, of each kind in turn."""
    draw = np.random.default_rng(0)
    made = {"category": lambda: draw.choice(["a", "b", "c"], rows), "number": lambda: draw.normal(size=rows).round(3),
            "multi": lambda: ["|".join(draw.choice(["p", "q", "r"], 2)) for _ in range(rows)]}
    kinds = {name: KINDS[place % 3] for place, name in enumerate(names)}
    label = draw.integers(0, 2, rows)
    pl.DataFrame({"label": label, **{name: made[kind]() for name, kind in kinds.items()}}).write_csv(folder / "x.csv")
    columns = [{"name": "label", "role": "label"},
               *({"name": name, "role": kind, "separator": "|"} for name, kind in kinds.items())]
    description = make_description({"name": "odd", "files": {"all": "x.csv"}, "label": {"column": "label"},
                                    "columns": columns, "split": {"kind": "random", "valid": 0.2, "test": 0.2}})
    (folder / "data.yaml").write_text(dump_description(description), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_columns_of_any_name_are_trained_exported_bundled_and_scored(tmp_path):
    data = described(tmp_path, ODD)
    spec = TrainSpec(data="d", architecture="lr", training={"epochs": 1})
    model, _, _ = train_reference(spec, data_folder=data, folder=tmp_path / "m", report=lambda progress: None)
    recipe = Recipe(steps=(Step(method="embed.quantize_rows", params={"min_rows": 1}),))
    _, files = run(RunSpec(model="m", data="d", recipe=recipe, target=Target(batch_sizes=(4,))), model_folder=model,
                   data_folder=data, folder=tmp_path / "r", report=lambda progress: None, time_layers=None)
    shutil.unpack_archive(files["bundle.zip"], tmp_path / "bundle")
    graph = onnx.load(tmp_path / "bundle" / "model.onnx", load_external_data=False).graph
    assert [value.name for value in graph.input] == list(ODD) and graph.output[0].name == "score_2"
    done = subprocess.run([sys.executable, str(tmp_path / "bundle" / "predict.py"), str(data / "x.csv")],
                          capture_output=True, text=True)
    scores = np.array(done.stdout.split(), float)
    test = np.random.default_rng(0).permutation(300) >= 240  # the split's draw
    np.testing.assert_allclose(scores[test], np.load(files["scores.npz"])["model"], atol=1e-5)


def table_upload(folder, table="emb.class.weight", given="ids"):
    """An ONNX file: a row of the table for each id, its sum the logit."""
    folder.mkdir()
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    nodes = [helper.make_node("Gather", [table, given], ["row"]),
             helper.make_node("ReduceSum", ["row", "axes"], ["sum"], keepdims=0),
             helper.make_node("Sigmoid", ["sum"], ["out"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(given, TensorProto.INT64, ["n"])],
                              [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n"])],
                              [numpy_helper.from_array(rows, table), numpy_helper.from_array(np.array([1]), "axes")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "m.onnx")
    return {"m.onnx": folder / "m.onnx"}, rows


@pytest.mark.slow
@pytest.mark.parametrize(("table", "given"), [
    ("emb.class.weight", "ids"), ("class", "def"), ('emb."a".weight', "it's"), ("None.weight", "from"),
    ("emb.weight", "score"), ("score", "ids")])
def test_an_onnx_file_with_any_names_is_read_and_written_again(table, given, tmp_path):
    files, rows = table_upload(tmp_path / "upload", table, given)
    description = read_upload(files, tmp_path / "imported", binding=None)
    loaded = load_model(tmp_path / "imported")
    assert loaded.module is not None and not description.notes
    assert [type(leaf) for _, leaf in leaves(loaded.module)] == [nn.Embedding]
    ids = torch.arange(5)
    torch.testing.assert_close(loaded.module({given: ids}), torch.from_numpy(rows.sum(1)))
    assert loaded.signature.output == ("score_1" if given == "score" else "score")


def test_a_torch_program_with_a_layer_named_class_is_read(tmp_path):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("class", nn.Embedding(5, 3))

        def forward(self, ids):
            return getattr(self, "class")(ids).sum(-1)

    model = Named()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = ({0: torch.export.Dim.DYNAMIC},)
        program = torch.export.export(model.eval(), (torch.arange(5),), dynamic_shapes=axes)
        torch.export.save(program, tmp_path / "m.pt2")
    read_upload({"m.pt2": tmp_path / "m.pt2"}, tmp_path / "imported", binding=None)
    found = load_model(tmp_path / "imported")
    (name,) = [item.name for item in found.signature.inputs]
    torch.testing.assert_close(found.module({name: torch.arange(5)}), model(torch.arange(5)))


def test_keys_of_tables_are_words_that_code_can_be_written_with_and_all_differ():
    names = (*ODD, "field_7_a_b", "class__")
    inputs = [Input(name=name, kind="category", column=name, cardinality=2) for name in names]
    keys = list(safe_keys(Signature(inputs=inputs)).values())
    assert len(set(keys)) == len(keys) and all(attribute_name(key) == key and key.isidentifier() for key in keys)


@pytest.mark.parametrize(("text", "name"), [("class", "class_"), ("a", "a"), ('a"b', "a_b"), ("a.b", "a_b"),
                                            ("é", "é")])
def test_an_attribute_name(text, name):
    assert attribute_name(text) == name


def test_a_free_name():
    assert free_name("a", ["b"]) == "a" and free_name("a", ["a", "a_1"]) == "a_2"


def test_the_output_of_a_signature_never_has_the_name_of_an_input():
    item = Input(name="score", kind="number", column="score", dtype="float32")
    assert Signature(inputs=(item,)).output == "score_1"
    assert Signature.model_validate({"inputs": [item.model_dump()]}).output == "score_1"
    assert Signature(inputs=(item.model_copy(update={"name": "x"}),)).output == "score"
