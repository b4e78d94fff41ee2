"""Every interpreted operator gives what ONNX Runtime gives, and is still there after another export."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from compression.models.onnx.graph import OnnxModel
from compression.models.onnx.operators import OPERATORS
from compression.models.onnx.values import Unsupported
from compression.runtimes.onnxruntime import open_session

N = helper.make_node
UNARY = ["Relu", "Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Erf", "Softplus", "Softsign", "Floor", "Ceil", "Round", "Sin",
         "Cos", "Sign", "Mish", "HardSwish", "Gelu", "LeakyRelu", "Elu", "Selu", "ThresholdedRelu", "HardSigmoid",
         "LpNormalization", "Softmax", "LogSoftmax", "Identity", "Dropout", "Flatten", "Transpose"]
POSITIVE = ["Sqrt", "Log", "Reciprocal"]
BINARY = ["Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Sum"]
COMPARISONS = ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"]
REDUCTIONS = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare",
              "ReduceLogSumExp", "ReduceProd"]
ROWS = 6


def both(nodes, constants: dict, tmp_path) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a graph from x (batch, 4) to y, by our reading and by ONNX Runtime."""
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    nodes = [*nodes, N("Shape", ["x"], ["rows"], start=0, end=1), N("Concat", ["rows", "rest"], ["whole"], axis=0),
             N("Reshape", ["y", "whole"], ["flat"]), N("ReduceMean", ["flat", "last"], ["mean"], keepdims=0),
             N("Sigmoid", ["mean"], ["score"])]
    stored += [numpy_helper.from_array(np.array([-1]), "rest"), numpy_helper.from_array(np.array([1]), "last")]
    graph = helper.make_graph(nodes, "one", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
                              [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    x = np.random.default_rng(0).uniform(0.2, 2, (ROWS, 4)).astype(np.float32)
    x[1] *= -1 if "Sqrt" not in str(nodes[0].op_type) and nodes[0].op_type not in POSITIVE else 1
    with torch.no_grad():
        ours = torch.sigmoid(OnnxModel(model, {}).eval()({"x": torch.from_numpy(x)})).numpy()
    return ours, open_session(path).score({"x": x})


def agree(nodes, constants, tmp_path) -> None:
    ours, theirs = both(nodes, constants, tmp_path)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert len(np.unique(theirs)) > 1, "a graph whose scores are all equal proves nothing"


@pytest.mark.parametrize("kind", UNARY + POSITIVE)
def test_functions_of_one_value_agree(kind, tmp_path):
    if kind == "Transpose":
        agree([N(kind, ["x"], ["t"], perm=[1, 0]), N(kind, ["t"], ["y"], perm=[1, 0])], {}, tmp_path)
    else:
        agree([N(kind, ["x"], ["z"]), N("Mul", ["x", "x"], ["q"]), N("Add", ["z", "q"], ["y"])], {}, tmp_path)


@pytest.mark.parametrize("kind", BINARY)
def test_functions_of_two_values_agree(kind, tmp_path):
    agree([N(kind, ["x", "c"], ["y"])], {"c": np.array([0.5, -1, 2, 3], np.float32)}, tmp_path)


@pytest.mark.parametrize("kind", COMPARISONS)
def test_comparisons_agree_as_masks(kind, tmp_path):
    nodes = [N(kind, ["x", "c"], ["m"]), N("Not", ["m"], ["n"]), N("Or", ["m", "n"], ["o"]),
             N("And", ["o", "m"], ["a"]), N("Xor", ["a", "n"], ["b"]), N("Where", ["b", "x", "c"], ["w"]),
             N("Where", ["m", "x", "w"], ["y"])]
    agree(nodes, {"c": np.array([0.5, 1, 1.5, 1], np.float32)}, tmp_path)


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("keep", [0, 1])
def test_reductions_agree(kind, keep, tmp_path):
    agree([N(kind, ["x", "axes"], ["y"], keepdims=keep)], {"axes": np.array([1])}, tmp_path)


GRAPHS = {
    "pow": ([N("Pow", ["x", "c"], ["y"])], {"c": np.float32(2)}),
    "mod": ([N("Mod", ["x", "c"], ["y"], fmod=1)], {"c": np.float32(0.3)}),
    "clip": ([N("Clip", ["x", "lo", "hi"], ["y"])], {"lo": np.float32(0.4), "hi": np.float32(1.1)}),
    "clip from below": ([N("Clip", ["x", "lo"], ["y"])], {"lo": np.float32(0.4)}),
    "cast": ([N("Cast", ["x"], ["i"], to=7), N("Cast", ["i"], ["f"], to=1), N("CastLike", ["f", "x"], ["g"]),
              N("Add", ["g", "x"], ["y"])], {}),
    "slice": ([N("Slice", ["x", "a", "b", "ax", "st"], ["y"])],
              {"a": np.array([0]), "b": np.array([2**62]), "ax": np.array([1]), "st": np.array([2])}),
    "slice of the end": ([N("Slice", ["x", "a", "b", "ax"], ["y"])],
                         {"a": np.array([-2]), "b": np.array([2**31 - 1]), "ax": np.array([1])}),
    "split": ([N("Split", ["x"], ["p", "q"], axis=1, num_outputs=2), N("Mul", ["p", "q"], ["y"])], {}),
    "split by sizes": ([N("Split", ["x", "s"], ["p", "q"], axis=1), N("Mul", ["p", "q"], ["y"])],
                       {"s": np.array([1, 3])}),
    "concat": ([N("Concat", ["x", "x"], ["y"], axis=-1)], {}),
    "gather columns": ([N("Gather", ["x", "i"], ["y"], axis=1)], {"i": np.array([3, 0, -1])}),
    "gather one column": ([N("Gather", ["x", "i"], ["y"], axis=1)], {"i": np.array(2)}),
    "gather elements": ([N("Cast", ["x"], ["n"], to=7), N("Abs", ["n"], ["i"]), N("GatherElements", ["x", "i"], ["y"],
                                                                                  axis=1)], {}),
    "expand": ([N("Unsqueeze", ["x", "one"], ["u"]), N("Shape", ["x"], ["s"]), N("Slice", ["s", "z", "o"], ["b"]),
                N("Concat", ["b", "c"], ["t"], axis=0), N("Expand", ["u", "t"], ["y"])],
               {"one": np.array([1]), "z": np.array([0]), "o": np.array([1]), "c": np.array([3, 4])}),
    "pad": ([N("Pad", ["x", "w", "v"], ["y"])], {"w": np.array([0, 1, 0, 2]), "v": np.float32(0.5)}),
    "tile": ([N("Tile", ["x", "r"], ["y"])], {"r": np.array([1, 2])}),
    "squeeze": ([N("Unsqueeze", ["x", "a"], ["u"]), N("Squeeze", ["u", "a"], ["y"])], {"a": np.array([2, 0])}),
    "constant of shape": ([N("Shape", ["x"], ["s"]), N("ConstantOfShape", ["s"], ["c"], value=numpy_helper.from_array(
        np.array([2], np.float32))), N("Add", ["x", "c"], ["y"])], {}),
    "range": ([N("Range", ["a", "b", "c"], ["r"]), N("Cast", ["r"], ["f"], to=1), N("Mul", ["x", "f"], ["y"])],
              {"a": np.array(0), "b": np.array(4), "c": np.array(1)}),
    "trilu": ([N("Unsqueeze", ["x", "a"], ["u"]), N("MatMul", ["v", "u"], ["m"]), N("Trilu", ["m"], ["y"], upper=0)],
              {"a": np.array([1]), "v": np.ones((4, 1), np.float32)}),
    "gather places": ([N("Transpose", ["x"], ["t"], perm=[1, 0]), N("GatherND", ["t", "p"], ["c"]),
                       N("Transpose", ["c"], ["y"], perm=[1, 0])], {"p": np.array([[3], [0]])}),
    "a shape with a part that stays": ([N("Shape", ["x"], ["s"]), N("Slice", ["s", "z", "one"], ["b"]),
                                        N("Concat", ["b", "m"], ["t"], axis=0), N("Shape", ["t"], ["n"]),
                                        N("ConstantOfShape", ["n"], ["k"], value=numpy_helper.from_array(
                                            np.array([1]))), N("Mul", ["k", "m"], ["f"]),
                                        N("Equal", ["t", "f"], ["e"]), N("Where", ["e", "k", "t"], ["w"]),
                                        N("Expand", ["x", "w"], ["y"])],
                                       {"z": np.array([0]), "one": np.array([1]), "m": np.array([-1])}),
    "one hot": ([N("Cast", ["x"], ["n"], to=7), N("Abs", ["n"], ["i"]), N("OneHot", ["i", "d", "v"], ["h"]),
                 N("Unsqueeze", ["x", "a"], ["u"]), N("MatMul", ["u", "h"], ["y"])],
                {"d": np.array(3), "v": np.array([0.5, 2], np.float32), "a": np.array([1])}),
    "cumulative sum": ([N("CumSum", ["x", "a"], ["y"])], {"a": np.array(1)}),
    "top k": ([N("TopK", ["x", "k"], ["y", "places"], axis=1)], {"k": np.array([2])}),
    "arg max": ([N("ArgMax", ["x"], ["p"], axis=1, keepdims=1), N("GatherElements", ["x", "p"], ["y"], axis=1)], {}),
    "einsum": ([N("Einsum", ["x", "w"], ["y"], equation="bi,ij->bj")],
               {"w": np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)}),
    "matrix product of two inputs": ([N("Unsqueeze", ["x", "a"], ["u"]), N("Transpose", ["u"], ["t"], perm=[0, 2, 1]),
                                      N("MatMul", ["t", "u"], ["y"])], {"a": np.array([1])}),
    "gemm with factors": ([N("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=2.0, transB=1)],
                          {"w": np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32),
                           "b": np.ones(3, np.float32)}),
    "is nan": ([N("IsNaN", ["x"], ["n"]), N("Where", ["n", "c", "x"], ["y"])], {"c": np.float32(0)}),
    "shape arithmetic": ([N("Shape", ["x"], ["s"]), N("Gather", ["s", "one"], ["w"]), N("Mul", ["w", "two"], ["d"]),
                          N("Div", ["d", "two"], ["e"]), N("Unsqueeze", ["e", "z"], ["f"]), N("Size", ["x"], ["n"]),
                          N("Div", ["n", "w"], ["r"]), N("Unsqueeze", ["r", "z"], ["g"]),
                          N("Concat", ["g", "f"], ["t"], axis=0), N("Reshape", ["x", "t"], ["y"])],
                         {"one": np.array(1), "two": np.array(2), "z": np.array([0])}),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_agree(name, tmp_path):
    agree(*GRAPHS[name], tmp_path)


def test_nearly_every_operator_of_the_table_is_tried_here():
    tried = {*UNARY, *POSITIVE, *BINARY, *COMPARISONS, *REDUCTIONS, "Not", "And", "Or", "Xor", "Where", "Shape"}
    tried |= {node.op_type for nodes, _ in GRAPHS.values() for node in nodes}
    elsewhere = {"BatchNormalization", "LayerNormalization", "GRU", "LSTM"}  # tried as leaves
    elsewhere |= {"Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"}  # in test_onnx_windows.py
    assert set(OPERATORS) - tried <= elsewhere


@pytest.mark.parametrize(("nodes", "constants", "sentence"), [
    ([N("CumSum", ["x", "a"], ["y"], reverse=1)], {"a": np.array(1)}, "operator CumSum .* it is exclusive or reversed"),
    ([N("Slice", ["x", "b", "a", "ax", "st"], ["y"])],
     {"a": np.array([-9]), "b": np.array([3]), "ax": np.array([1]), "st": np.array([-1])}, "it walks backwards"),
    ([N("Hardmax", ["x"], ["y"])], {}, r"operator Hardmax \(node 'y'\) is not among the \d+ that can be read"),
])
def test_what_can_t_be_read_is_named_with_its_node(nodes, constants, sentence, tmp_path):
    with pytest.raises(Unsupported, match=sentence):
        both(nodes, constants, tmp_path)
