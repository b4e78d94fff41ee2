"""The bundle's script gives lists under a mask the length they had when the model was measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compression.data.encode import load_dataset
from compression.export.bundle.files import read_bundle, write_bundle
from compression.export.onnx import Exported
from compression.spec.records import Recipe, Result, RunSpec
from compression.spec.signature import Input, Signature

DESCRIPTION = """\
version: 1
name: d
files: {all: rows.csv}
label: {column: label}
split: {kind: random}
columns: [{name: label, role: label}, {name: ids, role: multi}, {name: mask, role: multi}]
"""


def length_model(path: Path) -> Exported:
    """A model whose score is how long its lists are, filled or not."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "l"]) for name in ("ids", "mask")]
    nodes = [helper.make_node("Add", ["ids", "mask"], ["sum"]), helper.make_node("Mul", ["sum", "zero"], ["zeros"]),
             helper.make_node("Add", ["zeros", "one"], ["ones"]), helper.make_node("ReduceSum", ["ones", "last"], [
                 "length"], keepdims=0), helper.make_node("Cast", ["length"], ["score"], to=TensorProto.FLOAT)]
    constants = [numpy_helper.from_array(np.array(value, np.int64), name)
                 for name, value in (("zero", 0), ("one", 1), ("last", [1]))]
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])
    graph = helper.make_graph(nodes, "length", inputs, [score], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return Exported.of(path)


@pytest.mark.parametrize(("fixed_length", "length"), [(False, 3.0), (True, 9.0)])
def test_they_are_as_long_as_the_longest_unless_the_file_reads_one_length(fixed_length, length, tmp_path):
    lists = [" ".join("x" * place) for place in range(1, 4)] * 10
    rows = [f"{k % 2},{row},{' '.join('1' * len(row.split()))}" for k, row in enumerate(lists)]
    (tmp_path / "rows.csv").write_text("\n".join(["label,ids,mask", *rows]) + "\n")
    (tmp_path / "data.yaml").write_text(DESCRIPTION)
    both = {"kind": "multi", "max_length": 9, "cardinality": 2, "fixed_length": fixed_length}
    signature = Signature(inputs=(Input(name="ids", column="ids", **both),
                                  Input(name="mask", column="mask", ids="as-is", length_of="ids", **both)))
    dataset = load_dataset(tmp_path, signature=signature, vocabularies={"ids": ["x"]})
    assert {values.shape[1] for values in dataset.splits["test"].inputs.values()} == {length}  # as it is measured
    path, _ = write_bundle(tmp_path / "bundle.zip", exported=length_model(tmp_path / "model.onnx"), signature=signature,
                           vocabularies=dataset.vocabularies, recipe="version: 1\n", architecture="a",
                           result=Result(spec=RunSpec(model="m", data="d", recipe=Recipe(name="r")), baseline=(),
                                         measurements=()), description=dataset.description)
    bundle, _ = read_bundle(path, tmp_path / "bundle")
    script = bundle / "predict.py"
    for n_rows in ("4096", "9"):  # nine rows of 18 places are asked in parts of four
        script.write_text(script.read_text().replace("4096", n_rows))
        done = subprocess.run([sys.executable, script, tmp_path / "rows.csv"], capture_output=True, text=True)
        assert [float(line) for line in done.stdout.split()] == [length] * len(rows), done.stderr
