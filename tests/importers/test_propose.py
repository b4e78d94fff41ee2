"""What an uploaded ONNX file reads is looked at in the sandbox, and columns are proposed for it."""

from __future__ import annotations

import pickle

import pytest
import torch

from compression.data.description import make_description
from compression.importers.binding.proposal import ModelInput, propose
from compression.importers.sandbox.process import look_in_sandbox
from compression.spec.errors import ModelError
from tests.importers.graphs import Columns, export, files_of

DATA = make_description({
    "name": "a", "files": {"all": "a.csv"}, "header": False, "label": {"column": "column_5"},
    "split": {"kind": "random"},
    "columns": [{"name": "column_1", "role": "category"}, {"name": "column_2", "role": "category"},
                {"name": "column_3", "role": "number"}, {"name": "column_4", "role": "number"},
                {"name": "column_5", "role": "label"}]})


def test_inputs_are_read_with_the_rows_of_their_tables(tmp_path):
    arguments = {"cat": torch.zeros(3, 2, dtype=torch.int64), "dense": torch.zeros(3, 2)}
    path = export(Columns(sizes=(31, 41)), arguments, tmp_path / "model.onnx")
    cat, dense = look_in_sandbox(files_of(path)).inputs
    assert (cat.name, cat.dtype, cat.width, cat.rows) == ("cat", "int64", 2, {0: 31, 1: 41})
    assert (dense.name, dense.dtype, dense.width) == ("dense", "float32", 2)


def test_a_broken_file_is_a_sentence(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\0no graph at all\xff")
    with pytest.raises(ModelError, match=r"model\.onnx is not a whole ONNX file"):
        look_in_sandbox({"model.onnx": tmp_path / "model.onnx"})


def test_columns_without_telling_names_are_proposed_by_the_size_of_the_tables():
    inputs = [ModelInput("who", "int64", None, {None: 500}), ModelInput("what", "int64", None, {None: 300}),
              ModelInput("x", "float32", 2, {})]
    assert propose(inputs, DATA, largest={"column_1": 299, "column_2": 499}) == {
        "who": ["column_2"], "what": ["column_1"], "x": ["column_3", "column_4"]}
    assert propose(inputs, DATA, largest={"column_1": 299, "column_2": 299}) == {"x": ["column_3", "column_4"]}


@pytest.mark.security
def test_a_look_refuses_what_an_import_refuses_and_runs_nothing(tmp_path):
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return canary.touch, ()

    (tmp_path / "model.onnx").write_bytes(pickle.dumps(Payload()))
    (tmp_path / "model.pth").write_bytes(pickle.dumps(Payload()))
    for name in ("model.onnx", "model.pth"):
        with pytest.raises(ModelError, match="is a pickle"):
            look_in_sandbox({name: tmp_path / name})
    assert not canary.exists()
