"""A graph on the command line is bound as the page proposes; what somebody says counts more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compression.cli import main as command_line
from compression.data.encode import load_dataset
from compression.export.onnx import export_onnx
from compression.testing.tiny import tiny_model, write_tiny_data

pytestmark = pytest.mark.slow  # each reads its file in the sandbox, twice


def two_heads(path: Path) -> Path:
    """A model that reads "visitor" and "film" and gives two scores: of the sum of both rows, and of its opposite."""
    tables = [numpy_helper.from_array(np.linspace(-1, 1, rows, dtype=np.float32)[:, None], name)
              for name, rows in (("visitors", 30), ("films", 40))]
    nodes = [helper.make_node(operator, read, [made]) for operator, read, made in (
        ("Gather", ["visitors", "visitor"], "a"), ("Gather", ["films", "film"], "b"), ("Add", ["a", "b"], "wide"),
        ("Squeeze", ["wide", "last"], "clicked"), ("Neg", ["clicked"], "bought"))]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n"]) for name in ("visitor", "film")]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("clicked", "bought")]
    last = numpy_helper.from_array(np.array([1]), "last")
    graph = helper.make_graph(nodes, "heads", inputs, outputs, [*tables, last])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.fixture
def inspected(tmp_path, capsys):
    """What `inspect` says of the model in words or as JSON, given further words."""
    write_tiny_data(tmp_path / "data")
    model = two_heads(tmp_path / "model.onnx")

    def inspect(*words: str, status: int = 0, bound: str = "") -> str:
        capsys.readouterr()
        assert command_line.main(["inspect", str(model), "--data", str(tmp_path / "data"), *words]) == status
        printed = capsys.readouterr()
        assert bound in printed.err and ("Proposed" in printed.err) is bool(bound)
        return printed.out if status == 0 else printed.err

    return inspect


def columns(said: str) -> list[str]:
    return [one["column"] for one in json.loads(said)["signature"]["inputs"]]


def test_the_output_is_asked_for_and_can_be_said(inspected):
    bound = "Proposed: visitor reads 'user', film reads 'item'."
    assert "several outputs that may be the score: clicked, bought" in inspected(status=2, bound=bound)
    assert columns(inspected("--output", "bought", "--json", bound=bound)) == ["user", "item"]
    assert "the score may be: clicked, bought" in inspected("--output", "sold", status=2, bound=bound)


def test_a_binding_beside_the_file_counts_more_than_what_would_be_proposed(inspected, tmp_path):
    given = {"output": "bought", "inputs": {"visitor": {"column": "item", "ids": "as-is"},
                                            "film": {"column": "user", "ids": "as-is"}}}
    (tmp_path / "binding.json").write_text(json.dumps(given))
    assert columns(inspected("--json")) == ["item", "user"]


def test_the_output_that_is_said_leaves_the_rest_of_a_binding_as_it_is(inspected, tmp_path):
    given = {"inputs": {"visitor": {"column": "item", "ids": "as-is"}, "film": {"column": "user", "ids": "as-is"}}}
    (tmp_path / "binding.json").write_text(json.dumps(given))
    assert columns(inspected("--output", "clicked", "--json")) == ["item", "user"]


def test_an_output_in_a_binding_goes_with_proposed_columns(inspected, tmp_path):
    (tmp_path / "binding.json").write_text(json.dumps({"output": "bought"}))
    assert columns(inspected("--json", bound="visitor reads 'user'")) == ["user", "item"]


def test_what_recpress_exported_comes_back_with_its_own_vocabularies(tmp_path, capsys):
    """Its vocabularies are of train alone: built anew from all rows, they would number ids otherwise."""
    write_tiny_data(tmp_path / "data", rows=400)
    dataset = load_dataset(tmp_path / "data")
    model = tiny_model("lr", dataset)
    out = tmp_path / "out"
    out.mkdir()
    export_onnx(model, dataset.signature, out / "model.onnx")
    (out / "signature.json").write_text(json.dumps({"signature": dataset.signature.model_dump(mode="json")}))
    (out / "vocabularies.json").write_text(json.dumps(dataset.vocabularies))
    assert command_line.main(["inspect", str(out / "model.onnx"), "--data", str(tmp_path / "data"), "--json"]) == 0
    printed = capsys.readouterr()
    signature = json.loads(printed.out)["signature"]["inputs"]
    assert [one["cardinality"] for one in signature] == [one.cardinality for one in dataset.signature.inputs]
    assert "Proposed" not in printed.err
