"""Exact 8-bit products, by the fast way where the CPU has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import compression
from compression import runtime_options
from compression.runtime_options import EXACT_PRODUCTS, PRODUCTS, session_options


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


def test_the_shipped_script_asks_with_the_same_product():
    script = Path(compression.__file__).with_name("export") / "predict.py"
    assert f'PRODUCTS = "{PRODUCTS}"' in script.read_text(encoding="utf-8")
