"""Exact 8-bit products, by the fast way where the CPU has one; how far a graph is rewritten."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compression.export import bundle
from compression.runtimes import options as runtime_options
from compression.runtimes.onnxruntime import open_session
from compression.runtimes.options import EXACT_PRODUCTS, LEVELS, PRODUCTS, session_options
from compression.spec.records import GraphOptimization


@pytest.mark.parametrize("overflow", [True, False])
def test_slow_products_are_taken_only_where_fast_ones_overflow(monkeypatch, overflow):
    monkeypatch.setattr(runtime_options, "products_overflow", lambda: overflow)
    options = session_options()
    key, value = EXACT_PRODUCTS
    if overflow:
        assert options.get_session_config_entry(key) == value
    else:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry(key)


@pytest.mark.parametrize("n_rows", [1, 5, 64])
def test_the_largest_8_bit_products_are_exact(n_rows):
    random = np.random.default_rng(0)
    weight = np.where(random.random((113, 24)) < 0.9, 127, -127).astype(np.int8)
    given = random.integers(250, 256, (n_rows, 113)).astype(np.uint8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "products",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["batch", 113])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["batch", 24])], [numpy_helper.from_array(weight, "w")])
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(file, session_options(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": given})[0], given.astype(int) @ weight.astype(int))


def relu_of_gemm() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])], "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.ones((4, 3), np.float32), "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


@pytest.mark.parametrize(("level", "ran"), [("none", ["Gemm", "Relu"]), ("basic", ["Gemm", "Relu"]),
                                            ("extended", ["FusedGemm"]), ("all", ["FusedGemm"])])
def test_a_level_says_how_far_the_graph_is_rewritten(level, ran, tmp_path):
    (tmp_path / "model.onnx").write_bytes(relu_of_gemm())
    options = session_options(graph_optimization=level)
    options.optimized_model_filepath = str(tmp_path / "ran.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), options, providers=["CPUExecutionProvider"])
    assert [node.op_type for node in onnx.load(tmp_path / "ran.onnx").graph.node] == ran
    session = open_session(tmp_path / "model.onnx", graph_optimization=level).runtime
    assert session.get_session_options().graph_optimization_level == options.graph_optimization_level


def test_the_shipped_script_knows_the_same_levels():
    script = ast.parse(Path(bundle.__file__).with_name("predict.py").read_text("utf-8"))
    told = {node.targets[0].id: node.value for node in script.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
    assert ast.literal_eval(told["LEVELS"]) == LEVELS
    assert set(LEVELS) == set(get_args(GraphOptimization))
    assert ast.literal_eval(told["PRODUCTS"]) == PRODUCTS
