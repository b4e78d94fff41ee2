"""Small ONNX files written by hand, for tests of what is read off a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save_graph(path: Path, nodes, inputs: dict, tensors: dict, *, output: str = "score", microsoft: bool = False,
               external: bool = False, shape: list | None = None) -> Path:
    """Write a graph with inputs name → (element type, shape); `external` puts tensors from 64 bytes on beside it."""
    stored = [value if isinstance(value, TensorProto) else numpy_helper.from_array(np.ascontiguousarray(value), name)
              for name, value in tensors.items()]
    graph = helper.make_graph(
        nodes, "hand", [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)], stored)
    opsets = [helper.make_opsetid("", 21)] + ([helper.make_opsetid("com.microsoft", 1)] if microsoft else [])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if external:
        onnx.save(model, path, save_as_external_data=True, location=path.name + ".data", size_threshold=64)
    else:
        onnx.save(model, path)
    return path


def ids_input(*shape) -> dict:
    return {"ids": (TensorProto.INT64, list(shape) or ["batch"])}


def table_file(path: Path, table: np.ndarray, *, external: bool = True) -> Path:
    """score = sigmoid of the sum of a row of a float table (V, D)."""
    nodes = [helper.make_node("Gather", ["table", "ids"], ["row"]),
             helper.make_node("ReduceSum", ["row", "axes"], ["sum"], keepdims=0),
             helper.make_node("Sigmoid", ["sum"], ["score"])]
    return save_graph(path, nodes, ids_input(), {"table": table, "axes": np.array([1])}, external=external)
